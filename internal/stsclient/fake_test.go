package stsclient

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/internal/http1"
	"github.com/vercelaws/vercelaws/internal/memnet"
)

const (
	role    = "arn:aws:iam::123456789012:role/web"
	here    = "us-east-1"
	there   = "us-west-2"
	success = `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult>
<Credentials><AccessKeyId>%s</AccessKeyId><SecretAccessKey>secret</SecretAccessKey><SessionToken>session</SessionToken><Expiration>2100-01-01T00:00:00Z</Expiration></Credentials>
</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`
)

// region is the STS of one region, in memory.
type region struct {
	name     string
	requests atomic.Int64
	answer   atomic.Pointer[http.HandlerFunc]
	listener *memnet.Listener
	server   *http.Server
}

func newRegion(name string, answer http.HandlerFunc) *region {
	r := &region{name: name, listener: memnet.Listen(name)}
	r.answer.Store(&answer)
	r.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		r.requests.Add(1)
		_ = request.ParseForm() // so that the server notices when the client leaves
		(*r.answer.Load())(w, request)
	})}
	go func() { _ = r.server.Serve(r.listener) }()
	return r
}

func (r *region) close() {
	r.server.Close()
	r.listener.Close()
}

// override makes a Client call the region that its options name.
func override(regions ...*region) func(*sts.Options) {
	return func(o *sts.Options) {
		for _, r := range regions {
			if r.name == o.Region {
				o.BaseEndpoint = aws.String("http://" + r.name)
				o.HTTPClient = &http.Client{Transport: http1.New(nil, r.listener.DialContext)}
				return
			}
		}
		panic("no region " + o.Region)
	}
}

// Answers of a region.
func succeeds(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, success, r.Host) }
func hangs(_ http.ResponseWriter, r *http.Request)    { <-r.Context().Done() }
func resets(http.ResponseWriter, *http.Request)       { panic(http.ErrAbortHandler) }

func answers(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
}

func says(status int, code string) http.HandlerFunc {
	return answers(status, "<ErrorResponse><Error><Code>"+code+"</Code><Message>so it is</Message></Error></ErrorResponse>")
}

// noKey is STS's answer if it could not fetch the issuer's keys.
func noKey(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(400)
	fmt.Fprint(w, "<ErrorResponse><Error><Type>Sender</Type><Code>InvalidIdentityToken</Code><Message>Couldn't retrieve verification key from your identity provider,  please reference AssumeRoleWithWebIdentity documentation for requirements</Message></Error></ErrorResponse>")
}

// switches answers with status 101 and leaves the connection open.
func switches(w http.ResponseWriter, r *http.Request) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
	_, _ = c.Read(make([]byte, 1)) // until the client leaves
	c.Close()
}

func after(d time.Duration, then http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(d):
			then(w, r)
		case <-r.Context().Done():
		}
	}
}

// faults are answers that are faults; see IsFault.
var faults = map[string]http.HandlerFunc{
	"500":             answers(500, ""),
	"503 with a code": says(503, "ServiceUnavailable"),
	"throttled":       says(400, "Throttling"),
	"429":             says(429, "Slow"),
	"408":             says(408, "Late"),
	"no keys":         says(400, "IDPCommunicationError"),
	"no key":          noKey,
	"disabled":        says(403, "RegionDisabledException"),
	"not opted in":    says(403, "OptInRequired"),
	"switches":        switches,
	"reset":           resets,
	"empty 403":       answers(403, ""),
	"page":            answers(403, "<html><body>gateway &nbsp;"),
	"garbage":         answers(200, "<html><body>gateway &nbsp;"),
	"nothing":         answers(200, ""),
	"no access key":   answers(200, strings.Replace(success, "%s", "", 1)),
	"truncated":       answers(200, success[:len(success)/2]),
	"redirect": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(http.StatusTemporaryRedirect)
	},
}

func assume(ctx context.Context, c interface {
	AssumeRoleWithWebIdentity(context.Context, *sts.AssumeRoleWithWebIdentityInput, ...func(*sts.Options)) (*sts.AssumeRoleWithWebIdentityOutput, error)
}, optFns ...func(*sts.Options)) (accessKeyID string, err error) {
	out, err := c.AssumeRoleWithWebIdentity(ctx, &sts.AssumeRoleWithWebIdentityInput{
		RoleArn: aws.String(role), RoleSessionName: aws.String("session"), WebIdentityToken: aws.String("a.b.c"),
	}, optFns...)
	if err != nil {
		return "", err
	}
	return aws.ToString(out.Credentials.AccessKeyId), nil
}

// once is for a client that makes one attempt.
func once(o *sts.Options) { o.Retryer = aws.NopRetryer{} }

func requireNotReached(t *testing.T, r *region) {
	t.Helper()
	require.Zero(t, r.requests.Load(), "requests to %s", r.name)
}
