// Package loopback is what the guides' tests have in place of Vercel and AWS: an
// issuer of tokens, an STS, and a service that checks the signature of each
// request. All of it is on loopback.
package loopback

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/oidc/oidctest"
	"github.com/vercelaws/vercelaws/ststest"
	"github.com/vercelaws/vercelaws/trustpolicy"
)

// RoleARN is the role of the program under test.
const RoleARN = "arn:aws:iam::123456789012:role/web"

// Region is where its services are.
const Region = "eu-west-1"

// Patience bounds each wait of the tests. A busy machine needs some of it.
const Patience = 30 * time.Second

// AWS is the account that a program under test uses, and Vercel's issuer.
type AWS struct {
	Issuer  *oidctest.Server
	STS     *ststest.Server
	Service *httptest.Server // every service but STS

	mu      sync.Mutex // guards what follows
	callers []ststest.Session
}

// Start starts them for the time of the test. It sets the environment to that of
// a deployment in production whose AWS endpoints are here. Service answers the
// requests with a good signature; others get 403.
func Start(t *testing.T, service http.Handler) *AWS {
	t.Helper()
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "AWS_") || strings.HasPrefix(name, "VERCEL") {
			t.Setenv(name, "") // so that it is restored
			os.Unsetenv(name)
		}
	}
	t.Setenv("VERCEL", "1")
	t.Setenv("VERCEL_ENV", "production")
	a := &AWS{Issuer: oidctest.NewServer(), STS: ststest.NewServer()}
	t.Cleanup(a.Issuer.Close)
	t.Cleanup(a.STS.Close)
	a.STS.AddProvider(a.Issuer.Issuer(), a.Issuer.Audience())
	a.AddRole(t, RoleARN)
	a.Service = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, err := a.STS.Verify(r)
		if err != nil {
			t.Log("the service refuses: ", err)
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		a.mu.Lock()
		a.callers = append(a.callers, session)
		a.mu.Unlock()
		service.ServeHTTP(w, r)
	}))
	t.Cleanup(a.Service.Close)
	t.Setenv("AWS_ROLE_ARN", RoleARN)
	t.Setenv("AWS_REGION", Region)
	t.Setenv("AWS_ENDPOINT_URL", a.Service.URL)
	t.Setenv("AWS_ENDPOINT_URL_STS", a.STS.URL)
	t.Setenv("AWS_CONFIG_FILE", os.DevNull)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	return a
}

// AddRole makes a role that admits the project in production, under conditions
// of its own beside those of a token.
func (a *AWS) AddRole(t *testing.T, arn string, conditions ...trustpolicy.Condition) {
	t.Helper()
	policy, err := trustpolicy.Build(trustpolicy.Spec{
		AccountID: strings.Split(arn, ":")[4], BaseIssuer: a.Issuer.URL,
		Teams: []string{"acme"}, Projects: []string{"web"}, Environments: []string{"production"},
	})
	if err != nil {
		t.Fatal(err)
	}
	policy.Statements[0].Conditions = append(policy.Statements[0].Conditions, conditions...)
	a.STS.AddRole(ststest.Role{ARN: arn, TrustPolicy: policy.String(), MaxSessionDuration: 12 * time.Hour})
}

// Callers are the sessions that signed the requests so far.
func (a *AWS) Callers() []ststest.Session {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.callers)
}

// Exchanged is how many tokens STS was given.
func (a *AWS) Exchanged() int { return a.STS.Calls("AssumeRoleWithWebIdentity") }

// Send sends a request as Vercel does, with a token of the deployment, and
// returns what is answered.
func (a *AWS) Send(t *testing.T, method, url string) (status int, body string) {
	t.Helper()
	return a.SendBody(t, method, url, "")
}

// SendBody is Send with a body and further headers.
func (a *AWS) SendBody(t *testing.T, method, url, content string, header ...string) (status int, body string) {
	t.Helper()
	return send(t, method, url, content, append(header, oidc.Header, a.Issuer.Mint()))
}

// Send sends a request with headers, each a name and a value, and returns what
// was answered.
func Send(t *testing.T, method, url string, header ...string) (status int, body string) {
	t.Helper()
	return send(t, method, url, "", header)
}

func send(t *testing.T, method, url, content string, header []string) (status int, body string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// Serve starts a server for the time of the test, and returns its URL.
func Serve(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// Until waits until done answers true.
func Until(t *testing.T, what string, done func() bool) {
	t.Helper()
	end := time.After(Patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("waited %v for %s", Patience, what)
		}
	}
}

// Bucket is an S3 with one bucket.
type Bucket struct {
	mu      sync.Mutex // guards objects
	objects map[string]string
}

// NewBucket returns a bucket that holds the keys, each with its name for
// content.
func NewBucket(keys ...string) *Bucket {
	b := &Bucket{objects: map[string]string{}}
	for _, key := range keys {
		b.objects[key] = key
	}
	return b
}

// Object returns an object's content.
func (b *Bucket) Object(key string) (string, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	content, ok := b.objects[key]
	return content, ok
}

// ServeHTTP answers ListObjectsV2, GetObject and PutObject. See
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html.
func (b *Bucket) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	content, found := b.objects[key]
	switch {
	case r.Method == http.MethodPut:
		b.objects[key] = string(body)
	case key == "":
		var list struct {
			XMLName  xml.Name `xml:"ListBucketResult"`
			Contents []struct{ Key, LastModified string }
		}
		for key := range b.objects {
			list.Contents = append(list.Contents, struct{ Key, LastModified string }{key, "2026-01-02T03:04:05.000Z"})
		}
		slices.SortFunc(list.Contents, func(a, b struct{ Key, LastModified string }) int { return strings.Compare(a.Key, b.Key) })
		_ = xml.NewEncoder(w).Encode(list)
	case !found:
		http.NotFound(w, r)
	default:
		fmt.Fprint(w, content)
	}
}
