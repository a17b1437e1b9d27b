package stsclient

import (
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func roleNumber(i int) string { return fmt.Sprintf("arn:aws:iam::123456789012:role/web-%d", i) }

func bundleOf(t *testing.T, s *server) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "roots.pem")
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600))
	return file
}

// Two thousand clients that are used 16 at a time make 16 handshakes.
func TestClientsShareConnections(t *testing.T) {
	s := newServer(t)
	go func() {
		for range s.seen { //nolint:revive // the requests are of no interest
		}
	}()
	setenv(t, map[string]string{"AWS_ENDPOINT_URL_STS": s.URL, "AWS_CA_BUNDLE": bundleOf(t, s)})
	const clients, atATime = 2000, 16
	places := make(chan struct{}, atATime)
	var all sync.WaitGroup
	for i := range clients {
		places <- struct{}{}
		all.Add(1)
		go func() {
			defer all.Done()
			_, err := assumeRole(t, New(Options{RoleARN: roleNumber(i)}))
			assert.NoError(t, err)
			<-places
		}()
	}
	all.Wait()
	// On a busy machine net/http now and then closes a connection, if its writing
	// goroutine had to wait for 50 ms.
	assert.LessOrEqual(t, s.conns.Load(), int64(2*atATime))
}

func TestAClientIsSmall(t *testing.T) {
	s := newServer(t)
	setenv(t, map[string]string{"AWS_CA_BUNDLE": bundleOf(t, s)})
	const clients = 1000
	kept := make([]*Client, clients)
	size := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := size()
	for i := range kept {
		kept[i] = New(Options{RoleARN: testRole})
		_, err := kept[i].Regions()
		require.NoError(t, err)
	}
	assert.Less(t, (size()-before)/clients, int64(1024), "bytes a client")
	runtime.KeepAlive(kept)
}

func TestWhichClientsAreShared(t *testing.T) {
	first := func(o Options) *sts.Client {
		clients, err := New(o).Regions()
		require.NoError(t, err)
		return clients[0]
	}
	setenv(t, map[string]string{"AWS_REGION": "eu-central-1"})
	a := first(Options{RoleARN: roleNumber(1)})
	assert.Same(t, a, first(Options{RoleARN: roleNumber(2)}))
	assert.NotSame(t, a, first(Options{RoleARN: testRole, FallbackRegion: "eu-west-1"}))
	assert.NotSame(t, a, first(Options{RoleARN: testRole, Override: func(*sts.Options) {}}))
	assert.Same(t, a.Options().HTTPClient, first(Options{RoleARN: testRole, FallbackRegion: "eu-west-1"}).Options().HTTPClient)
	t.Setenv("AWS_REGION", "eu-west-1")
	assert.NotSame(t, a, first(Options{RoleARN: testRole}), "the environment is read as it is")
	t.Setenv("AWS_RETRY_MODE", "adaptive")
	b := first(Options{RoleARN: testRole})
	assert.NotSame(t, b, first(Options{RoleARN: testRole}), "each has its own rate")
	t.Setenv("AWS_RETRY_MODE", "")
	for i := range 100 {
		t.Setenv("AWS_SDK_UA_APP_ID", fmt.Sprint(i))
		first(Options{RoleARN: testRole})
	}
	assert.LessOrEqual(t, len(built.of), 64)
}

func TestEndpointKey(t *testing.T) {
	for want, vars := range map[string]map[string]string{
		"eu-central-1":                 {"AWS_REGION": "eu-central-1"},
		"eu-central-1 FIPS dual-stack": {"AWS_REGION": "eu-central-1", "AWS_USE_FIPS_ENDPOINT": "true", "AWS_USE_DUALSTACK_ENDPOINT": "true"},
		"127.0.0.1:9000":               {"AWS_REGION": "eu-central-1", "AWS_ENDPOINT_URL_STS": "http://user:password@127.0.0.1:9000/path"},
	} {
		setenv(t, vars)
		for i := range 2 {
			got, err := New(Options{RoleARN: roleNumber(i)}).EndpointKey()
			require.NoError(t, err)
			assert.Equal(t, want, got)
		}
	}
	t.Setenv("AWS_RETRY_MODE", "none")
	_, err := New(Options{RoleARN: testRole}).EndpointKey()
	require.Error(t, err)
}

// After an outage of any length a fault is tried again, as before.
func TestAnOutageUsesUpNoRetries(t *testing.T) {
	for _, mode := range []string{"standard", "adaptive"} {
		setenv(t, map[string]string{"AWS_RETRY_MODE": mode})
		clients, err := New(Options{RoleARN: testRole}).Regions()
		require.NoError(t, err)
		retryer := clients[0].Options().Retryer
		for range 10_000 {
			_, err := retryer.GetRetryToken(t.Context(), errFault)
			require.NoError(t, err)
		}
		assert.True(t, retryer.IsErrorRetryable(errFault))
		assert.Equal(t, retry.DefaultMaxAttempts, retryer.MaxAttempts())
	}
}

var errFault = &smithyhttp.RequestSendError{Err: io.ErrUnexpectedEOF}

// The SDK asks STS of a region, whatever partition the role is in.
func TestSTSIsAskedInTheRolesPartition(t *testing.T) {
	for name, test := range map[string]struct {
		role     string
		vars     map[string]string
		region   string
		not      string
		endpoint string
	}{
		"GovCloud on Vercel": {"arn:aws-us-gov:iam::123456789012:role/web", map[string]string{"AWS_REGION": "us-east-1"}, "us-gov-west-1", "us-east-1", "https://sts.us-gov-west-1.amazonaws.com"},
		"China on Vercel":    {"arn:aws-cn:iam::123456789012:role/web", map[string]string{"AWS_REGION": "us-east-1"}, "cn-northwest-1", "us-east-1", "https://sts.cn-northwest-1.amazonaws.com.cn"},
		"its own region":     {"arn:aws-us-gov:iam::123456789012:role/web", map[string]string{"AWS_REGION": "us-gov-east-1"}, "us-gov-east-1", "", "https://sts.us-gov-east-1.amazonaws.com"},
		"AWS from GovCloud":  {testRole, map[string]string{"AWS_REGION": "us-gov-west-1"}, "us-east-1", "us-gov-west-1", "https://sts.us-east-1.amazonaws.com"},
		"an endpoint is set": {"arn:aws-us-gov:iam::123456789012:role/web", map[string]string{"AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL_STS": "http://sts.test"}, "us-east-1", "", "http://sts.test"},
		"another store":      {"arn:minio:iam:::role/x", map[string]string{"AWS_REGION": "cn-north-1"}, "cn-north-1", "", "https://sts.cn-north-1.amazonaws.com.cn"},
		"a region to come":   {"arn:aws-us-gov:iam::123456789012:role/web", map[string]string{"AWS_REGION": "moon-east-1"}, "moon-east-1", "", "https://sts.moon-east-1.amazonaws.com"},
	} {
		t.Run(name, func(t *testing.T) {
			setenv(t, test.vars)
			s, err := Resolve(Options{RoleARN: test.role})
			require.NoError(t, err)
			assert.Equal(t, test.region, s.Region.Value)
			assert.Equal(t, test.not, s.Elsewhere.Value)
			assert.Equal(t, test.endpoint, s.Endpoint.Value)
			if test.not != "" {
				assert.Equal(t, "AWS_REGION", s.Elsewhere.From)
				assert.Empty(t, s.Region.From)
			}
		})
	}
	setenv(t, map[string]string{"AWS_REGION": "us-east-1"})
	_, err := Resolve(Options{RoleARN: "arn:aws-us-gov:iam::123456789012:role/web", FallbackRegion: "us-gov-east-1"})
	require.NoError(t, err, "of the role's partition")
}

// A middlebox answers 101 for a while. Each call ends, and the first one after
// it succeeds.
func TestNothingThatAnAnswerDoesOutlivesIt(t *testing.T) {
	var broken atomic.Bool
	broken.Store(true)
	s := newServer(t)
	healthy := s.Config.Handler
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if broken.Load() {
			switches(w, r)
			return
		}
		healthy.ServeHTTP(w, r)
	})
	c := s.client(t)
	for range 5 {
		_, err := assumeRole(t, c)
		require.ErrorContains(t, err, "status 101")
	}
	broken.Store(false)
	_, err := assumeRole(t, c)
	require.NoError(t, err)
}
