package vercelaws

import (
	"context"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func roleNumber(i int) string { return fmt.Sprintf("arn:aws:iam::%012d:role/web", i) }

func fakeProviders(s *fakeSTS) *Providers {
	return NewProviders(func(_ string, o *Options) { o.Client = s })
}

// Two hundred requests of one role are one STS call, and each role has its own
// provider and options.
func TestProvidersGiveARoleItsProvider(t *testing.T) {
	isolate(t)
	s := newFakeSTS()
	providers := NewProviders(
		func(_ string, o *Options) { o.Client = s },
		func(roleARN string, o *Options) { o.RoleSessionName = "for-" + roleARN[13:25] })
	ctx := fromRequest(mint(t, "a"))
	var all sync.WaitGroup
	for i := range 200 {
		all.Add(1)
		go func() {
			defer all.Done()
			_, err := providers.For(roleNumber(i % 2)).Retrieve(ctx)
			assert.NoError(t, err)
		}()
	}
	all.Wait()
	require.Equal(t, 2, s.count())
	for _, in := range s.inputs {
		assert.Equal(t, "for-"+aws.ToString(in.RoleArn)[13:25], aws.ToString(in.RoleSessionName))
	}
	assert.Same(t, providers.For(roleNumber(0)), providers.For(roleNumber(0)))
	assert.NotSame(t, providers.For(roleNumber(0)), providers.For(roleNumber(1)))

	_, err := fakeProviders(s).For("web").Retrieve(ctx)
	require.ErrorAs(t, err, new(*ConfigError))
}

// Ten thousand roles are kept, at a few KiB each.
func TestTenThousandRoles(t *testing.T) {
	isolate(t)
	s := newFakeSTS()
	providers := fakeProviders(s)
	ctx := fromRequest(mint(t, "a"))
	size := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	retrieve := func() {
		places := make(chan struct{}, 16)
		for i := range maxProviders {
			places <- struct{}{}
			go func() {
				_, err := providers.For(roleNumber(i)).Retrieve(ctx)
				assert.NoError(t, err)
				<-places
			}()
		}
		for range cap(places) {
			places <- struct{}{}
		}
	}
	before := size()
	retrieve()
	require.Equal(t, maxProviders, s.count())
	s.mu.Lock()
	s.calls, s.tokens, s.inputs, s.given = nil, nil, nil, map[string]time.Time{}
	s.mu.Unlock()
	each := (size() - before) / maxProviders
	t.Logf("%d bytes a role", each)
	assert.Less(t, each, int64(12<<10))
	retrieve()
	assert.Zero(t, s.count(), "all are kept")
}

// Of more roles than are kept the one not asked for longest goes, unless somebody
// holds its provider.
func TestWhichRolesAreKept(t *testing.T) {
	isolate(t)
	providers := fakeProviders(newFakeSTS())
	held := providers.For(roleNumber(-1))
	providers.For(roleNumber(0))
	providers.For(roleNumber(1))
	providers.For(roleNumber(0))
	for i := range maxProviders - 1 {
		providers.For(roleNumber(1_000_000 + i))
	}
	kept := func(i int) bool {
		providers.mu.Lock()
		defer providers.mu.Unlock()
		return providers.known[roleNumber(i)] != nil
	}
	assert.True(t, kept(0))
	assert.False(t, kept(1))
	assert.False(t, kept(-1))
	assert.Same(t, held, providers.For(roleNumber(-1)), "there never are two")
	for i := range 3 * maxProviders {
		providers.For(roleNumber(2_000_000 + i))
	}
	assert.Eventually(t, func() bool {
		runtime.GC()
		providers.mu.Lock()
		defer providers.mu.Unlock()
		return providers.recent.Len() == maxProviders && len(providers.known) == maxProviders && len(providers.held) <= maxProviders+1
	}, 10*time.Second, 10*time.Millisecond, "what is not kept is gone")
	runtime.KeepAlive(held)
}

// An option function may take its time, panic, and ask for another role.
func TestOptionsOfARoleRunOutsideLocks(t *testing.T) {
	isolate(t)
	var providers *Providers
	inside := make(chan struct{})
	leave := make(chan struct{})
	providers = NewProviders(func(roleARN string, _ *Options) {
		switch roleARN {
		case roleNumber(1):
			close(inside)
			<-leave
		case roleNumber(2):
			panic("broken")
		case roleNumber(3):
			providers.For(roleNumber(4))
		}
	})
	done := make(chan *aws.CredentialsCache)
	go func() { done <- providers.For(roleNumber(1)) }()
	<-inside
	providers.For(roleNumber(0))
	assert.Panics(t, func() { providers.For(roleNumber(2)) })
	providers.For(roleNumber(3))
	close(leave)
	assert.Same(t, <-done, providers.For(roleNumber(1)))
}

// All roles share the connections: 500 that are fetched 16 at a time make some 16
// handshakes.
func TestRolesShareConnections(t *testing.T) {
	isolate(t)
	cleanAWS(t)
	var conns atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>%s</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`,
			time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	server.StartTLS()
	defer server.Close()
	bundle := filepath.Join(t.TempDir(), "roots.pem")
	require.NoError(t, os.WriteFile(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	t.Setenv("AWS_CA_BUNDLE", bundle)
	t.Setenv("AWS_ENDPOINT_URL_STS", server.URL)

	providers := NewProviders()
	ctx, cancel := context.WithTimeout(fromRequest(mint(t, "a")), time.Minute)
	defer cancel()
	places := make(chan struct{}, 16)
	for i := range 500 {
		places <- struct{}{}
		go func() {
			_, err := providers.For(roleNumber(i)).Retrieve(ctx)
			assert.NoError(t, err)
			<-places
		}()
	}
	for range cap(places) {
		places <- struct{}{}
	}
	assert.LessOrEqual(t, conns.Load(), int64(24), "some sixteen: a busy machine may cost a few")
}
