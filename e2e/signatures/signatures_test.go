// Package signatures has clients of AWS sign requests as they always do, and
// the STS for tests check them: the SDK for Go, botocore, on which the AWS CLI
// and boto3 stand, and the SDK for JavaScript.
package signatures

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/e2e/internal/npm"
	"github.com/vercelaws/vercelaws/internal/testworld"
	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/oidc/oidctest"
	"github.com/vercelaws/vercelaws/ststest"
)

const (
	role    = "arn:aws:iam::" + ststest.Account + ":role/web"
	region  = "eu-central-1"
	bucket  = "photos"
	content = "snow"
)

// keys are names that are hard to sign.
var keys = []string{"2026/snow.jpg", "a b", "a+b", "a%2Fb", "a&b=c?d#e", "ü/ß/雪", "a//b", "(a)!*'~", "$@,;:=", "a/"}

// account is an account of AWS with one role, and a bucket that is reached with
// its credentials alone.
type account struct {
	issuer *oidctest.Server
	sts    *ststest.Server
	plain  *httptest.Server // the bucket, without TLS
	secure *httptest.Server

	mu      sync.Mutex
	objects map[string]string // path to content
	hashes  map[string]int    // how often each kind of x-amz-content-sha256 came
}

func newAccount(t *testing.T) *account {
	t.Helper()
	w := testworld.New(role, false)
	t.Cleanup(w.Close)
	a := &account{issuer: w.Issuer, sts: w.STS, objects: map[string]string{}, hashes: map[string]int{}}
	a.plain, a.secure = httptest.NewServer(a), httptest.NewTLSServer(a)
	t.Cleanup(a.plain.Close)
	t.Cleanup(a.secure.Close)
	return a
}

func (a *account) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	session, err := a.sts.Verify(r)
	if err == nil && (session.RoleARN != role || session.Service != "s3" || session.Region != region) {
		err = &ststest.Error{Code: "AccessDenied", Message: "signed for " + session.Service + " in " + session.Region, Status: http.StatusForbidden}
	}
	var refused *ststest.Error
	if errors.As(err, &refused) {
		w.WriteHeader(refused.Status)
		fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", refused.Code, refused.Message)
		return
	}
	body, readErr := io.ReadAll(r.Body)
	if err != nil || readErr != nil {
		http.Error(w, "cannot read", http.StatusInternalServerError)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	hash := r.Header.Get("X-Amz-Content-Sha256")
	if len(hash) == 64 {
		hash = "hash"
	}
	a.hashes[hash]++
	switch path := r.URL.EscapedPath(); {
	case r.Method == http.MethodPut:
		a.objects[path] = string(unchunked(r, body))
		w.Header().Set("ETag", `"1"`)
	case strings.TrimRight(path, "/") == "/"+bucket:
		fmt.Fprint(w, `<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Contents><Key>snow.jpg</Key></Contents></ListBucketResult>`)
	case r.Method == http.MethodPost:
		fmt.Fprint(w, `<DeleteResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"/>`)
	default:
		fmt.Fprint(w, a.objects[path])
	}
}

// unchunked is the object in a body that came in chunks.
func unchunked(r *http.Request, body []byte) []byte {
	if !strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-") {
		return body
	}
	var object []byte
	for {
		line, rest, _ := bytes.Cut(body, []byte("\r\n"))
		size, _, _ := strings.Cut(string(line), ";")
		n, err := strconv.ParseInt(size, 16, 32)
		if err != nil || n == 0 {
			return object
		}
		object, body = append(object, rest[:n]...), rest[n+2:]
	}
}

func (a *account) credentials(t *testing.T) (context.Context, aws.CredentialsProvider) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	provider := vercelaws.NewProvider(role, func(o *vercelaws.Options) { o.Client = a.sts.STS() })
	return oidc.ContextWithToken(ctx, a.issuer.Mint(func(c *oidctest.Claims) { c.Environment = "production" })), provider
}

// fetch gets what a presigned URL stands for.
func fetch(ctx context.Context, t *testing.T, client *http.Client, method, signed string, header http.Header, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, signed, strings.NewReader(body))
	require.NoError(t, err)
	for name, values := range header {
		if name != "Host" && name != "Content-Length" {
			r.Header[name] = values
		}
	}
	response, err := client.Do(r)
	require.NoError(t, err)
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(b)
}

func TestGo(t *testing.T) {
	a := newAccount(t)
	ctx, provider := a.credentials(t)
	for _, server := range []*httptest.Server{a.plain, a.secure} {
		scheme := server.URL[:strings.Index(server.URL, ":")]
		t.Run(scheme, func(t *testing.T) {
			client := s3.New(s3.Options{
				Region: region, BaseEndpoint: aws.String(server.URL), UsePathStyle: true, Credentials: provider, HTTPClient: server.Client(),
				RequestChecksumCalculation: aws.RequestChecksumCalculationWhenSupported, // as package config has it
			})
			presigner := s3.NewPresignClient(client)
			for _, key := range keys {
				get := &s3.GetObjectInput{Bucket: aws.String(bucket), Key: aws.String(key)}
				put := func(body io.Reader) *s3.PutObjectInput {
					return &s3.PutObjectInput{Bucket: get.Bucket, Key: get.Key, Body: body, Metadata: map[string]string{"Camera": "a  b"}}
				}
				_, err := client.PutObject(ctx, put(strings.NewReader(content+key)))
				require.NoError(t, err, key)
				out, err := client.GetObject(ctx, get)
				require.NoError(t, err, key)
				body, err := io.ReadAll(out.Body)
				require.NoError(t, err)
				assert.Equal(t, content+key, string(body))

				signed, err := presigner.PresignGetObject(ctx, get)
				require.NoError(t, err)
				status, answer := fetch(ctx, t, server.Client(), signed.Method, signed.URL, signed.SignedHeader, "")
				assert.Equal(t, 200, status, "%s: %s", key, answer)
				assert.Equal(t, content+key, answer)

				signed, err = presigner.PresignPutObject(ctx, put(nil))
				require.NoError(t, err)
				status, answer = fetch(ctx, t, server.Client(), signed.Method, signed.URL, signed.SignedHeader, "rain")
				assert.Equal(t, 200, status, "%s: %s", key, answer)
			}
			list := &s3.ListObjectsV2Input{Bucket: aws.String(bucket), Prefix: aws.String("a b+c/ü"), Delimiter: aws.String("/"), StartAfter: aws.String("&=?")}
			listed, err := client.ListObjectsV2(ctx, list)
			require.NoError(t, err)
			assert.Len(t, listed.Contents, 1)
			_, err = client.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: aws.String(bucket), Delete: &types.Delete{Objects: []types.ObjectIdentifier{{Key: aws.String("a")}}}})
			require.NoError(t, err)
			if scheme == "https" { // a body that cannot be read twice
				_, err = client.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String("stream"), Body: io.MultiReader(strings.NewReader(content)), ContentLength: aws.Int64(int64(len(content)))})
				require.NoError(t, err)
				assert.Equal(t, content, a.objects["/"+bucket+"/stream"])
			}

			other := s3.New(client.Options(), func(o *s3.Options) { o.Region = "eu-west-1" })
			_, err = other.ListObjectsV2(ctx, list)
			require.ErrorContains(t, err, "signed for s3 in eu-west-1")
		})
	}
	assert.Contains(t, a.hashes, "STREAMING-UNSIGNED-PAYLOAD-TRAILER")
	assert.Contains(t, a.hashes, "hash")
}

func TestGoSTS(t *testing.T) {
	a := newAccount(t)
	ctx, provider := a.credentials(t)
	client := a.sts.STS(func(o *sts.Options) { o.Credentials = provider })
	who, err := client.GetCallerIdentity(ctx, nil)
	require.NoError(t, err)
	signed, err := sts.NewPresignClient(client).PresignGetCallerIdentity(ctx, nil)
	require.NoError(t, err)
	status, answer := fetch(ctx, t, a.sts.Client(), signed.Method, signed.URL, signed.SignedHeader, "")
	assert.Equal(t, 200, status, answer)
	assert.Contains(t, answer, *who.Arn)

	u, err := url.Parse(signed.URL)
	require.NoError(t, err)
	query := u.Query()
	query.Set("Action", "AssumeRole")
	u.RawQuery = query.Encode()
	status, answer = fetch(ctx, t, a.sts.Client(), signed.Method, u.String(), signed.SignedHeader, "")
	assert.Equal(t, 403, status, answer)
	assert.Contains(t, answer, "SignatureDoesNotMatch")
}

// program runs a program that puts, gets, lists and presigns by a client of its
// language, and fails if one of these is not as it should be.
func program(t *testing.T, a *account, cmd *exec.Cmd) {
	t.Helper()
	ctx, provider := a.credentials(t)
	creds, err := provider.Retrieve(ctx)
	require.NoError(t, err)
	certificate := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.secure.Certificate().Raw}), 0o600))
	names := filepath.Join(t.TempDir(), "keys")
	require.NoError(t, os.WriteFile(names, []byte(strings.Join(keys, "\n")), 0o600))
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "AWS_") }),
		"AWS_ACCESS_KEY_ID="+creds.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+creds.SecretAccessKey, "AWS_SESSION_TOKEN="+creds.SessionToken,
		"AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull, "AWS_REGION="+region, "AWS_DEFAULT_REGION="+region,
		"AWS_CA_BUNDLE="+certificate, "NODE_EXTRA_CA_CERTS="+certificate, "AWS_EC2_METADATA_DISABLED=true",
		"PLAIN="+a.plain.URL, "SECURE="+a.secure.URL, "STS="+a.sts.URL, "BUCKET="+bucket, "KEYS="+names, "NO_PROXY=127.0.0.1", "no_proxy=127.0.0.1",
	)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	t.Logf("%s, payloads %v", bytes.TrimSpace(out), a.hashes)
	assert.Equal(t, 1, strings.Count(string(out), "all good"), "%s", out)
}

func TestBotocore(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not on this machine")
	}
	if out, err := exec.CommandContext(t.Context(), python, "-c", "import botocore").CombinedOutput(); err != nil {
		t.Skipf("botocore is not on this machine: %s", out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	program(t, newAccount(t), exec.CommandContext(ctx, python, filepath.Join("testdata", "botocore_client.py")))
}

func TestJavaScript(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not on this machine")
	}
	folder := npm.Install(t, "@aws-sdk/client-s3@3.1175.0", "@aws-sdk/client-sts@3.1177.0", "@aws-sdk/s3-request-presigner@3.1169.0")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	script, err := filepath.Abs(filepath.Join("testdata", "client.cjs"))
	require.NoError(t, err)
	cmd := exec.CommandContext(ctx, node, script)
	cmd.Dir = folder
	program(t, newAccount(t), cmd)
}
