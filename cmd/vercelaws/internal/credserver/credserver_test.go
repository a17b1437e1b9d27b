package credserver

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var expiry = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

func someCredentials(context.Context) (aws.Credentials, error) {
	return aws.Credentials{AccessKeyID: "ASIAEXAMPLE", SecretAccessKey: "secret", SessionToken: "session", Expires: expiry, CanExpire: true}, nil
}

func start(t *testing.T, retrieve Retrieve) (s *Server, uri, token string) {
	s, err := Start(Options{Roles: map[string]Retrieve{"/credentials": retrieve}})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	for _, variable := range s.Environ("/credentials") {
		switch name, value, _ := strings.Cut(variable, "="); name {
		case "AWS_CONTAINER_CREDENTIALS_FULL_URI":
			uri = value
		case "AWS_CONTAINER_AUTHORIZATION_TOKEN":
			token = value
		}
	}
	require.NotEmpty(t, token)
	return s, uri, token
}

// The Go SDK's own client of the protocol gets the credentials, and their end.
func TestServesTheSDK(t *testing.T) {
	_, uri, token := start(t, someCredentials)
	client := endpointcreds.New(uri, func(o *endpointcreds.Options) { o.AuthorizationToken = token })
	got, err := client.Retrieve(t.Context())
	require.NoError(t, err)
	want, _ := someCredentials(t.Context())
	want.Source = endpointcreds.ProviderName
	assert.Equal(t, want, got)
}

// Who does not ask as the protocol says, with the token, gets nothing.
func TestRefuses(t *testing.T) {
	asked := false
	s, uri, token := start(t, func(ctx context.Context) (aws.Credentials, error) {
		asked = true
		return someCredentials(ctx)
	})
	_, port, err := net.SplitHostPort(s.host)
	require.NoError(t, err)
	for name, test := range map[string]struct {
		change func(r *http.Request)
		status int
	}{
		"no token":             {func(r *http.Request) { r.Header.Del("Authorization") }, http.StatusUnauthorized},
		"empty token":          {func(r *http.Request) { r.Header.Set("Authorization", "") }, http.StatusUnauthorized},
		"another token":        {func(r *http.Request) { r.Header.Set("Authorization", strings.ToLower(token)) }, http.StatusUnauthorized},
		"the token's start":    {func(r *http.Request) { r.Header.Set("Authorization", token[:25]) }, http.StatusUnauthorized},
		"a longer token":       {func(r *http.Request) { r.Header.Set("Authorization", token+"A") }, http.StatusUnauthorized},
		"Bearer":               {func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }, http.StatusUnauthorized},
		"two tokens":           {func(r *http.Request) { r.Header.Add("Authorization", token) }, http.StatusUnauthorized},
		"token in the query":   {func(r *http.Request) { r.URL.RawQuery = "Authorization=" + token; r.Header.Del("Authorization") }, http.StatusNotFound},
		"root":                 {func(r *http.Request) { r.URL.Path = "/" }, http.StatusNotFound},
		"another path":         {func(r *http.Request) { r.URL.Path = "/credentials/" }, http.StatusNotFound},
		"an encoded path":      {func(r *http.Request) { r.URL.RawPath = "/%63redentials" }, http.StatusNotFound},
		"a path with dots":     {func(r *http.Request) { r.URL.Path = "/x/../credentials" }, http.StatusNotFound},
		"a rebound name":       {func(r *http.Request) { r.Host = "attacker.example:" + port }, http.StatusMisdirectedRequest},
		"another loopback":     {func(r *http.Request) { r.Host = "localhost:" + port }, http.StatusMisdirectedRequest},
		"the host, no port":    {func(r *http.Request) { r.Host = "127.0.0.1" }, http.StatusMisdirectedRequest},
		"POST":                 {func(r *http.Request) { r.Method = http.MethodPost }, http.StatusMethodNotAllowed},
		"a preflight question": {func(r *http.Request) { r.Method = http.MethodOptions }, http.StatusMethodNotAllowed},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, uri, nil)
			require.NoError(t, err)
			r.Header.Set("Authorization", token)
			test.change(r)
			response, err := http.DefaultClient.Do(r)
			require.NoError(t, err)
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			assert.Equal(t, test.status, response.StatusCode)
			assert.Empty(t, response.Header.Get("Access-Control-Allow-Origin"))
			for _, secret := range []string{"ASIAEXAMPLE", "secret", "session", token} {
				assert.NotContains(t, string(body), secret)
			}
		})
	}
	assert.False(t, asked, "the credentials were fetched for a stranger")
}

// Why there are no credentials reaches the one who asks.
func TestFailureIsExplained(t *testing.T) {
	_, uri, token := start(t, func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{}, errors.New("VERCEL_OIDC_TOKEN: token expired 2h ago")
	})
	client := endpointcreds.New(uri, func(o *endpointcreds.Options) { o.AuthorizationToken = token; o.Retryer = aws.NopRetryer{} })
	_, err := client.Retrieve(t.Context())
	assert.ErrorContains(t, err, "token expired 2h ago")
}

// The answer is never kept by what stands between.
func TestAnswerIsNotStored(t *testing.T) {
	_, uri, token := start(t, someCredentials)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, uri, nil)
	require.NoError(t, err)
	r.Header.Set("Authorization", token)
	response, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer response.Body.Close()
	assert.Equal(t, "no-store", response.Header.Get("Cache-Control"))
	var fields map[string]string
	require.NoError(t, json.NewDecoder(response.Body).Decode(&fields))
	assert.Equal(t, map[string]string{"AccessKeyId": "ASIAEXAMPLE", "SecretAccessKey": "secret", "Token": "session", "Expiration": "2030-01-02T03:04:05Z"}, fields)
}

func TestEachServerHasItsOwnToken(t *testing.T) {
	_, a, tokenA := start(t, someCredentials)
	_, b, tokenB := start(t, someCredentials)
	assert.NotEqual(t, tokenA, tokenB)
	assert.NotEqual(t, a, b)
}

// Many callers at once are all answered, also while none of them gets credentials.
func TestManyCallersAtOnce(t *testing.T) {
	const callers = 500
	arrived, release := make(chan struct{}, callers), make(chan struct{})
	_, uri, token := start(t, func(ctx context.Context) (aws.Credentials, error) {
		arrived <- struct{}{}
		<-release
		return someCredentials(ctx)
	})
	answers := callAtOnce(t, uri, token, callers, nil)
	for range callers {
		<-arrived // all wait for STS at the same time
	}
	close(release)
	for range callers {
		assert.NoError(t, <-answers)
	}
}

// callAtOnce has callers ask, each once and on its own connection. Dial opens it, or
// net/http if dial is nil.
func callAtOnce(t *testing.T, uri, token string, callers int, dial func(ctx context.Context, network, address string) (net.Conn, error)) <-chan error {
	answers := make(chan error, callers)
	for range callers {
		go func() {
			client := endpointcreds.New(uri, func(o *endpointcreds.Options) {
				o.AuthorizationToken = token
				o.Retryer = aws.NopRetryer{}
				o.HTTPClient = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: dial}}
			})
			_, err := client.Retrieve(t.Context())
			answers <- err
		}()
	}
	return answers
}

// meet connects to l, and returns both ends.
func meet(t *testing.T, l *pendingListener) (client net.Conn, accepted *conn) {
	client, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { client.Close() })
	c, err := l.Accept()
	require.NoError(t, err)
	return client, c.(*conn)
}

func listenWithRoomFor(t *testing.T, limit int) *pendingListener {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	return newPendingListener(listener, limit)
}

// Connections that say nothing make room for others, in the order in which they
// came. One that has shown the token stays.
func TestSilentConnectionsMakeRoom(t *testing.T) {
	l := listenWithRoomFor(t, 2)
	readOn := func(c *conn) { go func() { _, _ = io.Copy(io.Discard, c) }() }
	first, known := meet(t, l)
	second, silent := meet(t, l)
	readOn(silent)
	known.settle()
	third, half := meet(t, l) // instead of the first, which needs no room any more
	readOn(half)
	_, err := io.WriteString(third, "GET ")
	require.NoError(t, err)
	fourth, _ := meet(t, l) // instead of the second
	meet(t, l)              // instead of the third
	for _, closed := range []net.Conn{second, third} {
		_, err := closed.Read(make([]byte, 1))
		assert.Error(t, err, "it was closed")
		assert.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	}
	assertOpen(t, first)
	assertOpen(t, fourth)
}

// A connection that this process has not read yet keeps its place.
func TestABusyServerIsNotTheClientsFault(t *testing.T) {
	l := listenWithRoomFor(t, 1)
	_, waiting := meet(t, l)
	client, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer client.Close()
	next := make(chan error)
	go func() {
		_, err := l.Accept()
		next <- err
	}()
	select {
	case <-next:
		t.Error("the first connection had to go")
	case <-time.After(2 * pendingTime):
		waiting.settle()
		require.NoError(t, <-next)
	}
	assertOpen(t, waiting)
}

// The token counts even if the time is up when somebody needs the place.
func TestTheTokenOutlivesTheTime(t *testing.T) {
	l := listenWithRoomFor(t, 1)
	for range 20 { // because select takes either of two
		_, c := meet(t, l)
		c.time.Reset(0)
		c.settle()
		_, next := meet(t, l)
		assertOpen(t, c)
		next.settle()
	}
}

func assertOpen(t *testing.T, c net.Conn) {
	t.Helper()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(10*time.Millisecond)))
	_, err := c.Read(make([]byte, 1))
	assert.ErrorIs(t, err, os.ErrDeadlineExceeded, "it is open")
}

// A connection that its client closed gives up its place at once.
func TestClosedConnectionsMakeRoom(t *testing.T) {
	l := listenWithRoomFor(t, 1)
	for range 3 {
		_, c := meet(t, l)
		require.NoError(t, c.Close())
	}
}

func TestRolesHaveTheirPaths(t *testing.T) {
	give := func(id string) Retrieve {
		return func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: id, SecretAccessKey: "secret", SessionToken: "session", Expires: expiry, CanExpire: true}, nil
		}
	}
	s, err := Start(Options{Token: "0123456789abcdef", Roles: map[string]Retrieve{"/1/web": give("A"), "/1/jobs/web": give("B")}})
	require.NoError(t, err)
	defer s.Close()
	for path, want := range map[string]string{"/1/web": "A", "/1/jobs/web": "B", "/1": "", "/1/web/": "", "/": ""} {
		client := endpointcreds.New("http://"+s.host+path, func(o *endpointcreds.Options) {
			o.AuthorizationToken = "0123456789abcdef"
			o.Retryer = aws.NopRetryer{}
		})
		got, err := client.Retrieve(t.Context())
		assert.Equal(t, want == "", err != nil, path)
		assert.Equal(t, want, got.AccessKeyID, path)
	}
}
