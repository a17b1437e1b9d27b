package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/e2e/internal/process"
	"github.com/vercelaws/vercelaws/e2e/internal/vercelbuild"
	"github.com/vercelaws/vercelaws/e2e/internal/vercelfn"
	"github.com/vercelaws/vercelaws/ststest"
)

// startDynamoDB starts dynalite, a DynamoDB that keeps its tables in memory.
func startDynamoDB(t *testing.T) (address string) {
	t.Helper()
	tools, err := vercelbuild.Tools(t.Context())
	require.NoError(t, err)
	port := freePort(t)
	cmd := exec.Command("node", filepath.Join(tools, ".bin", "dynalite"), "--host", "127.0.0.1", "--port", port, "--createTableMs", "0")
	server, err := process.Start(cmd)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Stop(syscall.SIGKILL)) })
	address = net.JoinHostPort("127.0.0.1", port)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	require.NoError(t, server.WaitUntil(ctx, func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	}))
	return "http://" + address
}

// verified passes on to target what a session of sts has signed for role, and
// answers the rest as DynamoDB does: dynalite itself verifies no signature.
func verified(t *testing.T, sts *ststest.Server, role, target string) string {
	t.Helper()
	u, err := url.Parse(target)
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(u)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, err := sts.Verify(r)
		var refused *ststest.Error
		switch {
		case errors.As(err, &refused):
		case err != nil:
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		case session.RoleARN != role:
			refused = &ststest.Error{Status: http.StatusBadRequest, Code: "AccessDeniedException", Message: "the role may not"}
		default:
			proxy.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		w.WriteHeader(refused.Status)
		fmt.Fprintf(w, `{"__type":"com.amazon.coral.service#%s","message":%q}`, refused.Code, refused.Message)
	}))
	t.Cleanup(front.Close)
	return front.URL
}

// TestExampleDynamoDB runs examples/dynamodb, as Vercel builds it, behind
// Vercel's bridge against dynalite, with the signatures verified before it.
func TestExampleDynamoDB(t *testing.T) {
	e := buildExample(t, "dynamodb")
	real := startDynamoDB(t)
	s := newServices(t, time.Hour)
	endpoint := verified(t, s.sts, dbRole, real)
	owner := dynamodb.New(dynamodb.Options{Region: dbRegion, BaseEndpoint: aws.String(real), Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "owner", "")})
	for name, keys := range map[string][]string{"counts": {"page", "year"}, "plain": {"id"}} {
		in := &dynamodb.CreateTableInput{TableName: aws.String(name), BillingMode: types.BillingModePayPerRequest}
		for i, key := range keys {
			in.AttributeDefinitions = append(in.AttributeDefinitions, types.AttributeDefinition{AttributeName: aws.String(key), AttributeType: types.ScalarAttributeTypeS})
			in.KeySchema = append(in.KeySchema, types.KeySchemaElement{AttributeName: aws.String(key), KeyType: []types.KeyType{types.KeyTypeHash, types.KeyTypeRange}[i]})
		}
		_, err := owner.CreateTable(t.Context(), in)
		require.NoError(t, err)
		require.NoError(t, dynamodb.NewTableExistsWaiter(owner).Wait(t.Context(), &dynamodb.DescribeTableInput{TableName: aws.String(name)}, 30*time.Second))
	}
	start := func(t *testing.T, more ...string) *vercelfn.Function {
		return e.start(t, "api/items", map[string]string{
			"AWS_ROLE_ARN": dbRole, "AWS_REGION": dbRegion, "DYNAMODB_TABLE_NAME": "counts",
			"DYNAMODB_TABLE_PARTITION_KEY": "page", "DYNAMODB_TABLE_SORT_KEY": "year",
		}, append([]string{"AWS_ENDPOINT_URL_STS=" + s.sts.URL, "AWS_ENDPOINT_URL_DYNAMODB=" + endpoint}, more...)...)
	}
	t.Run("the README's requests", func(t *testing.T) {
		assert.Equal(t, "{\"count\":1}\n{\"count\":1}\n", e.try(t, start(t)))
	})
	t.Run("counts", func(t *testing.T) {
		fn := start(t)
		status, _ := call(t, fn, "GET", "/api/items?key=about&sort=2026", issuer.Mint(), "")
		assert.Equal(t, http.StatusNotFound, status)
		for n := range 3 {
			status, out := call(t, fn, "POST", "/api/items?key=about&sort=2026", issuer.Mint(), "")
			require.Equal(t, http.StatusOK, status, fn.Log())
			assert.EqualValues(t, n+1, out["count"])
		}
		_, out := call(t, fn, "GET", "/api/items?key=about&sort=2026", issuer.Mint(), "")
		assert.EqualValues(t, 3, out["count"])
	})
	t.Run("a second resource's table without a sort key", func(t *testing.T) {
		fn := start(t, "RESOURCE_PREFIX=STORAGE2_", "STORAGE2_AWS_ROLE_ARN="+dbRole, "STORAGE2_AWS_REGION="+dbRegion,
			"STORAGE2_DYNAMODB_TABLE_NAME=plain", "STORAGE2_DYNAMODB_TABLE_PARTITION_KEY=id")
		status, out := call(t, fn, "POST", "/api/items?key=home", issuer.Mint(), "")
		require.Equal(t, http.StatusOK, status, fn.Log())
		assert.EqualValues(t, 1, out["count"])
	})
	for _, c := range []struct {
		name, change, target string
		status               int
		logged               string
	}{
		{"another role", "AWS_ROLE_ARN=arn:aws:iam::123456789012:role/none", "?key=a&sort=b", http.StatusServiceUnavailable, "AccessDenied"},
		{"no such table", "DYNAMODB_TABLE_NAME=none", "?key=a&sort=b", http.StatusBadGateway, "ResourceNotFoundException"},
		{"no table name", "DYNAMODB_TABLE_NAME=", "?key=a&sort=b", http.StatusInternalServerError, "the environment variable DYNAMODB_TABLE_NAME is not set"},
		{"a prefix that nothing has", "RESOURCE_PREFIX=STORAGE3_", "?key=a&sort=b", http.StatusInternalServerError, "the environment variable STORAGE3_AWS_ROLE_ARN is not set"},
		{"no key", "", "?sort=b", http.StatusBadRequest, "the query has no key"},
		{"no sort", "", "?key=a", http.StatusBadRequest, "the query has no sort"},
		{"nobody listens", "AWS_ENDPOINT_URL_DYNAMODB=http://127.0.0.1:1", "?key=a&sort=b", http.StatusBadGateway, "connection refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			fn := start(t, c.change)
			status, _ := call(t, fn, "GET", "/api/items"+c.target, issuer.Mint(), "")
			assert.Equal(t, c.status, status, fn.Log())
			assert.Contains(t, fn.Log(), c.logged)
		})
	}
	t.Run("without a token", func(t *testing.T) {
		status, _ := call(t, start(t), "GET", "/api/items?key=a&sort=b", "", "")
		assert.Equal(t, http.StatusServiceUnavailable, status)
	})
}
