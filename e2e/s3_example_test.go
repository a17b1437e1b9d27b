package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/e2e/internal/vercelfn"
	"github.com/vercelaws/vercelaws/oidc"
)

// call sends a request to an instance as Vercel would, and decodes its answer.
func call(t *testing.T, fn *vercelfn.Function, method, target, token, body string) (status int, out map[string]any) {
	t.Helper()
	req, err := http.NewRequestWithContext(within(t, patience), method, "https://demo.vercel.app"+target, strings.NewReader(body))
	require.NoError(t, err)
	if token != "" {
		req.Header.Set(oidc.Header, token)
	}
	res, err := (&http.Client{Transport: fn}).Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	require.Equal(t, "application/json", res.Header.Get("Content-Type"))
	require.NoError(t, json.NewDecoder(res.Body).Decode(&out))
	return res.StatusCode, out
}

// TestExampleS3 runs examples/s3, as Vercel builds it, behind Vercel's bridge
// against MinIO.
func TestExampleS3(t *testing.T) {
	e := buildExample(t, "s3")
	const bucket = "example"
	ctx := within(t, patience)
	owner := s3.New(s3.Options{Region: "us-east-1", BaseEndpoint: aws.String(store.URL), Credentials: credentials.NewStaticCredentialsProvider(store.User, store.Password, "")})
	_, err := owner.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(bucket)})
	require.NoError(t, err)
	for i := range 120 { // more than a page
		_, err := owner.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String(fmt.Sprintf("%03d.txt", i)), Body: strings.NewReader("x")})
		require.NoError(t, err)
	}
	fn := e.start(t, "api/objects", map[string]string{"BUCKET": bucket, "BUCKET_REGION": "us-east-1", "AWS_ROLE_ARN": store.RoleARN},
		"AWS_REGION=eu-west-1", // the function's own, as Vercel sets it
		"AWS_ENDPOINT_URL_STS="+store.URL, "AWS_ENDPOINT_URL_S3="+store.URL)

	t.Run("without a token", func(t *testing.T) {
		status, out := call(t, fn, "GET", "/api/objects", "", "")
		assert.Equal(t, http.StatusServiceUnavailable, status)
		assert.Equal(t, map[string]any{"error": "the server has no AWS identity"}, out, "the details are in the log")
		assert.Contains(t, fn.Log(), "enable OIDC in the Vercel project's settings")
	})
	t.Run("pages", func(t *testing.T) {
		keys := map[string]bool{}
		page, pages := "", 0
		for {
			status, out := call(t, fn, "GET", "/api/objects?page="+url.QueryEscape(page), issuer.Mint(), "")
			require.Equal(t, http.StatusOK, status, fn.Log())
			for _, o := range out["objects"].([]any) {
				keys[o.(map[string]any)["key"].(string)] = true
			}
			pages++
			if page = out["next"].(string); page == "" {
				break
			}
		}
		assert.Len(t, keys, 120)
		assert.Equal(t, 2, pages)
	})
	t.Run("prefix", func(t *testing.T) {
		_, out := call(t, fn, "GET", "/api/objects?prefix=01", issuer.Mint(), "")
		assert.Len(t, out["objects"], 10)
	})
	t.Run("upload", func(t *testing.T) {
		status, out := call(t, fn, "POST", "/api/objects", issuer.Mint(), `{"name":"harbour.txt","type":"text/plain"}`)
		require.Equal(t, http.StatusOK, status, fn.Log())
		put := func(body string) int {
			req, err := http.NewRequestWithContext(ctx, out["method"].(string), out["url"].(string), bytes.NewReader([]byte(body)))
			require.NoError(t, err)
			for name, value := range out["headers"].(map[string]any) {
				req.Header.Set(name, value.(string))
			}
			res, err := http.DefaultClient.Do(req)
			require.NoError(t, err)
			defer res.Body.Close()
			return res.StatusCode
		}
		require.Equal(t, http.StatusOK, put("the harbour at dawn"))
		got, err := owner.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(bucket), Key: aws.String("uploads/harbour.txt")})
		require.NoError(t, err)
		defer got.Body.Close()
		body, err := io.ReadAll(got.Body)
		require.NoError(t, err)
		assert.Equal(t, "the harbour at dawn", string(body))

		out["url"] = strings.Replace(out["url"].(string), "harbour.txt", "other.txt", 1)
		assert.Equal(t, http.StatusForbidden, put("x"), "the URL is for that file alone")
	})
	t.Run("no URL that ends sooner", func(t *testing.T) {
		s := newServices(t, 3*time.Minute)
		fn := e.start(t, "api/objects", map[string]string{"BUCKET": bucket, "BUCKET_REGION": "us-east-1", "AWS_ROLE_ARN": dbRole},
			"AWS_REGION=eu-west-1", "AWS_ENDPOINT_URL_STS="+s.sts.URL, "AWS_ENDPOINT_URL_S3="+store.URL)
		status, out := call(t, fn, "POST", "/api/objects", issuer.Mint(), `{"name":"harbour.txt","type":"text/plain"}`)
		assert.Equal(t, http.StatusServiceUnavailable, status)
		assert.Equal(t, map[string]any{"error": "the server's AWS identity is about to end"}, out)
	})
	t.Run("a page that nobody answered", func(t *testing.T) {
		status, out := call(t, fn, "GET", "/api/objects?page=x", issuer.Mint(), "")
		assert.Equal(t, http.StatusBadRequest, status)
		assert.Equal(t, map[string]any{"error": "page is not one that was answered before"}, out)
	})
	t.Run("credentials that S3 rejects", func(t *testing.T) {
		s := newServices(t, time.Hour)
		keys := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, err := s.sts.Verify(r); err != nil {
				w.WriteHeader(http.StatusBadRequest)
				fmt.Fprint(w, "<Error><Code>InvalidToken</Code><Message>The provided token is malformed or otherwise invalid.</Message></Error>")
				return
			}
			fmt.Fprint(w, "<ListBucketResult><Contents><Key>snow.jpg</Key></Contents></ListBucketResult>")
		}))
		t.Cleanup(keys.Close)
		fn := e.start(t, "api/objects", map[string]string{"BUCKET": bucket, "BUCKET_REGION": "us-east-1", "AWS_ROLE_ARN": dbRole},
			"AWS_REGION=eu-west-1", "AWS_ENDPOINT_URL_STS="+s.sts.URL, "AWS_ENDPOINT_URL_S3="+keys.URL)
		status, _ := call(t, fn, "GET", "/api/objects", issuer.Mint(), "")
		require.Equal(t, http.StatusOK, status, fn.Log())
		s.sts.RevokeAll()
		status, out := call(t, fn, "GET", "/api/objects?page=x", issuer.Mint(), "")
		assert.Equal(t, http.StatusServiceUnavailable, status)
		assert.Equal(t, map[string]any{"error": "the storage rejected the server's AWS credentials"}, out)
		assert.EventuallyWithT(t, func(c *assert.CollectT) {
			status, _ := call(t, fn, "GET", "/api/objects", issuer.Mint(), "")
			assert.Equal(c, http.StatusOK, status, "the credentials were replaced")
		}, patience, 20*time.Millisecond)
	})
	t.Run("the README's requests", func(t *testing.T) {
		out := e.try(t, fn)
		assert.Contains(t, out, `{"next":"","objects":[]}`)
		assert.Contains(t, out, `"method":"PUT"`)
	})
	t.Run("a variable is missing", func(t *testing.T) {
		fn := e.start(t, "api/objects", map[string]string{"BUCKET": "", "BUCKET_REGION": "us-east-1", "AWS_ROLE_ARN": store.RoleARN})
		status, _ := call(t, fn, "GET", "/api/objects", issuer.Mint(), "")
		assert.Equal(t, http.StatusInternalServerError, status)
		assert.Contains(t, fn.Log(), "the environment variable BUCKET is not set")
	})
	t.Run("bad requests", func(t *testing.T) {
		for _, body := range []string{"", "[]", `{"name":"../x","type":"a/b"}`, `{"name":"..","type":"a/b"}`, `{"name":"x"}`} {
			status, out := call(t, fn, "POST", "/api/objects", issuer.Mint(), body)
			assert.Equal(t, http.StatusBadRequest, status, body)
			assert.NotEmpty(t, out["error"])
		}
		status, _ := call(t, fn, "DELETE", "/api/objects", issuer.Mint(), "")
		assert.Equal(t, http.StatusMethodNotAllowed, status)
	})
}
