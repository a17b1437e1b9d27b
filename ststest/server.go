// Package ststest is an AWS Security Token Service on loopback, for tests of
// code that assumes roles with OIDC tokens, and further roles with those. It
// verifies tokens, signatures and trust policies as STS does, answers in STS's
// protocol with its error codes, issues credentials that it can check later, and
// injects faults:
//
//	issuer := oidctest.NewServer()
//	defer issuer.Close()
//	server := ststest.NewServer()
//	defer server.Close()
//	server.AddProvider(issuer.Issuer(), issuer.Audience())
//	server.AddRole(ststest.Role{ARN: "arn:aws:iam::123456789012:role/web", TrustPolicy: policy})
//	provider := vercelaws.NewProvider("arn:aws:iam::123456789012:role/web",
//		func(o *vercelaws.Options) { o.Client = server.STS() })
//
// Its actions are AssumeRoleWithWebIdentity, AssumeRole and GetCallerIdentity.
// It refuses calls by the rules that AWS publishes, with AWS's codes. A comment in
// the code names the page of each rule. It has no support for
//
//   - Permissions. The only policies are trust policies, so every session may call
//     AssumeRole. Whether a managed policy exists is not checked.
//   - Regions. A call may be signed for any region of AWS; see [Session.Region].
//     STS is active in each.
//   - MFA, source identities and provided contexts. A call with one is refused.
//   - Session tags in a token. They are ignored.
package ststest

import (
	"cmp"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/go-jose/go-jose/v4"

	"github.com/vercelaws/vercelaws/internal/memnet"
	"github.com/vercelaws/vercelaws/trustpolicy"
)

// Account is an AWS account ID for tests that need only one.
const Account = "123456789012"

// Options are the choices of [NewServer].
type Options struct {
	// InMemory puts the server on a network in memory in place of loopback.
	// Only Client reaches it then. It is for tests with testing/synctest.
	InMemory bool

	// HTTPClient fetches the discovery documents and keys of issuers. If nil,
	// a client with a limit of 5 seconds.
	HTTPClient *http.Client

	// Regions are regions for which requests may be signed, beside those of AWS
	// that this package knows: one that AWS has opened since, or that of an
	// S3-compatible store, such as "auto".
	Regions []string

	// Now is the server's clock, which also dates its answers. If nil,
	// time.Now.
	Now func() time.Time
}

// Role is an IAM role.
type Role struct {
	ARN         string // such as "arn:aws:iam::123456789012:role/web"
	TrustPolicy string // in JSON; see package trustpolicy

	// MaxSessionDuration is the longest that the role's credentials live. If
	// zero, one hour, as in IAM. With AssumeRole it is one hour at most.
	MaxSessionDuration time.Duration
}

// Server is an STS. Its methods are safe for concurrent use.
type Server struct {
	// URL is the server's base URL, such as "http://127.0.0.1:40123". It fits
	// AWS_ENDPOINT_URL_STS.
	URL string

	options Options
	http    *httptest.Server
	client  *http.Client
	closing chan struct{}
	close   sync.Once

	mu        sync.Mutex // guards what follows
	fault     func(Call) Fault
	calls     map[string]int
	providers map[string][]string // issuer to audiences
	keys      map[string]jose.JSONWebKeySet
	roles     map[string]*role
	sessions  map[string]*Session
	refusal   *trustpolicy.Result
}

// role is a Role in the server. AddRole makes a new one, also for the same ARN. So
// a session of a deleted role has another pointer.
type role struct {
	Role
	policy *trustpolicy.Document
}

// NewServer starts an STS on a free port of 127.0.0.1. Like
// httptest.NewServer, it panics if it cannot. Call Close when done.
func NewServer(optFns ...func(*Options)) *Server {
	s := &Server{
		options: Options{
			HTTPClient: &http.Client{Timeout: 5 * time.Second},
			Now:        time.Now,
		},
		closing:   make(chan struct{}),
		calls:     map[string]int{},
		providers: map[string][]string{},
		keys:      map[string]jose.JSONWebKeySet{},
		roles:     map[string]*role{},
		sessions:  map[string]*Session{},
	}
	for _, fn := range optFns {
		fn(&s.options)
	}
	s.http, s.client, s.URL = memnet.NewServer(http.HandlerFunc(s.serve), "sts.test", s.options.InMemory)
	s.http.Start()
	return s
}

// Close stops the server. Calls that hang end.
func (s *Server) Close() {
	s.close.Do(func() {
		close(s.closing)
		s.client.CloseIdleConnections()
		s.http.CloseClientConnections()
		s.http.Close()
	})
}

// Client returns an HTTP client that reaches the server.
func (s *Server) Client() *http.Client { return s.client }

// STS returns an SDK client for the server. It signs nothing. The functions can
// change its options, the credentials for AssumeRole and GetCallerIdentity for
// example.
func (s *Server) STS(optFns ...func(*sts.Options)) *sts.Client {
	return sts.New(sts.Options{
		Region:       "us-east-1",
		BaseEndpoint: aws.String(s.URL),
		Credentials:  aws.AnonymousCredentials{},
		HTTPClient:   s.client,
	}, optFns...)
}

// AddProvider makes an IAM OIDC provider in every account, for tokens of issuer
// with one of the audiences. It replaces one for the same issuer. A role's trust
// policy must name the provider of the role's own account and partition, as in AWS
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_create_for-idp_oidc.html).
func (s *Server) AddProvider(issuer string, audiences ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.providers[issuer] = audiences
}

// AddRole makes a role. If there is one with the same ARN, that one is deleted
// first, and its credentials are rejected from then on, as in IAM. It panics if the
// trust policy does not parse.
func (s *Server) AddRole(r Role) {
	made := &role{Role: r, policy: mustParse(r.TrustPolicy)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.roles[r.ARN] = made
}

// RemoveRole deletes a role. Its credentials are rejected from then on.
func (s *Server) RemoveRole(arn string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.roles, arn)
}

// SetTrustPolicy changes the trust policy of a role. Credentials that were issued
// before stay valid. It panics if there is no such role, or if the policy does
// not parse.
func (s *Server) SetTrustPolicy(arn, policy string) {
	parsed := mustParse(policy)
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.roles[arn]
	if r == nil {
		panic("ststest: no role " + arn)
	}
	r.TrustPolicy, r.policy = policy, parsed
}

func mustParse(policy string) *trustpolicy.Document {
	d, err := trustpolicy.Parse([]byte(policy))
	if err != nil {
		panic("ststest: " + err.Error())
	}
	return d
}

// LastRefusal returns the evaluation by which a role's trust policy last refused a
// token. Real STS does not tell it.
func (s *Server) LastRefusal() (trustpolicy.Result, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refusal == nil {
		return trustpolicy.Result{}, false
	}
	return *s.refusal, true
}

// Calls returns how many calls of an action, such as "AssumeRoleWithWebIdentity",
// the server has had. Refused calls and faults count too.
func (s *Server) Calls(action string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[action]
}

// version is the only one of STS's API. See
// https://docs.aws.amazon.com/STS/latest/APIReference/CommonParameters.html.
const version = "2011-06-15"

// serve answers one HTTP request.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	form, err := readForm(r)
	call := Call{Action: form.Get("Action"), RoleARN: form.Get("RoleArn"), token: form.Get("WebIdentityToken")}
	var malformed *Error
	switch {
	case err != nil:
		malformed = refuse("MalformedInput", "the request is not a form: %v", err)
	case r.Method != http.MethodGet && r.Method != http.MethodPost: // see https://docs.aws.amazon.com/IAM/latest/UserGuide/programming.html
		malformed = refuse("InvalidAction", "STS supports GET and POST requests for all actions, not %s", r.Method)
	case call.Action == "":
		malformed = refuse("MissingAction", "The request is missing an action or a required parameter.")
	}
	if malformed != nil {
		writeError(w, s.options.Now(), "", malformed)
		return
	}
	s.mu.Lock()
	s.calls[call.Action]++
	call.N = s.calls[call.Action]
	choose := s.fault
	s.mu.Unlock()
	var fault Fault
	if choose != nil {
		fault = choose(call)
	}
	if s.play(w, r, fault, call) {
		return
	}
	var answer any
	said := form.Get("Version")
	switch action := call.Action; {
	case said == version && action == "AssumeRoleWithWebIdentity":
		answer, err = s.assumeRoleWithWebIdentity(r.Context(), form, fault)
	case said == version && action == "AssumeRole":
		answer, err = s.assumeRole(r, form, fault)
	case said == version && action == "GetCallerIdentity":
		answer, err = s.callerIdentity(r)
	default:
		err = refuse("InvalidAction", "Could not find operation %s for version %s", action, cmp.Or(said, "NO_VERSION_SPECIFIED"))
	}
	if err != nil {
		var refused *Error
		if !errors.As(err, &refused) {
			refused = &Error{Code: "InternalFailure", Message: err.Error(), Status: http.StatusInternalServerError}
		}
		writeError(w, s.options.Now(), fault.echo(call), refused)
		return
	}
	write(w, s.options.Now(), http.StatusOK, answer, fault.Truncated)
}
