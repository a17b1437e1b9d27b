//go:build go1.25

package model

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/middleware"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/oidc"
)

// words are what a service says of a request.
var words = []struct {
	code, message string
	dead          bool // they reject its credentials
}{
	{"InvalidClientTokenId", "The security token included in the request is invalid.", true},
	{"ExpiredToken", "The security token included in the request is expired", true},
	{"ExpiredTokenException", "The security token included in the request is expired", true},
	{"UnrecognizedClientException", "The security token included in the request is invalid.", true},
	{"InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.", true},
	{"InvalidToken", "The provided token is malformed or otherwise invalid.", true},
	{"AuthFailure", "AWS was not able to validate the provided access credentials", true},
	{"AuthFailure", "You do not own the image", false},
	{"AccessDenied", "not authorized, say the credentials ExpiredToken", false},
	{"RequestExpired", "Request has expired", false},
	{"SignatureDoesNotMatch", "no", false},
	{"", "", false}, // it serves the request
}

// service is an AWS service with a subject's client, which has the middleware.
type service struct {
	s      *subject
	client *sts.Client

	says     int           // index of words
	got      time.Duration // when the client had its credentials
	key      string        // of them
	requests int
	fetches  int // that the subject had begun when the service answered
}

func (s *subject) newService() *service {
	v := &service{s: s}
	v.client = sts.New(sts.Options{
		Region: "us-east-1", HTTPClient: v, Retryer: aws.NopRetryer{}, // it also tries again where the clock is wrong
		Credentials: aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
			creds, err := s.retrieve(ctx)
			v.got, v.key = s.w.elapsed(), creds.AccessKeyID
			return creds, err
		}),
		APIOptions: []func(*middleware.Stack) error{vercelaws.InvalidateDeadCredentials(s.cache)},
	})
	return v
}

// Do is the service. It answers when all that the request has begun is under
// way, so that what begins after it is of its answer.
func (v *service) Do(r *http.Request) (*http.Response, error) {
	synctest.Wait()
	v.requests++
	v.fetches = v.s.fetched()
	status := http.StatusOK
	text := `<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn</Arn><UserId>u</UserId><Account>1</Account></GetCallerIdentityResult></GetCallerIdentityResponse>`
	if said := words[v.says]; said.code != "" {
		status = http.StatusForbidden
		text = fmt.Sprintf(`<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error><RequestId>1</RequestId></ErrorResponse>`, said.code, said.message)
	}
	return &http.Response{
		StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Content-Type": {"text/xml"}, "Date": {v.s.w.stsNow().UTC().Format(http.TimeFormat)}},
		Body:   io.NopCloser(strings.NewReader(text)), ContentLength: int64(len(text)),
	}, nil
}

// hear has a client of s make a request, of which the service says words.
func (s *subject) hear(ctx context.Context, which int) {
	w := s.w
	if s.service == nil {
		s.service = s.newService()
	}
	v := s.service
	v.says, v.requests = which, 0

	before := s.fetched()
	w.mu.Lock()
	// No fetch is under way, no back-off lasts, and the rejection will be believed.
	sure := s.calls == 0 && w.elapsed()-s.asked > time.Minute && w.elapsed()-s.rejection > 10*time.Minute && w.hung == 0
	w.mu.Unlock()
	if _, err := oidc.FromRequest().Token(ctx); err != nil && requestLeaf().Request.Given(ctx) {
		sure = false // that fetch ends where nobody sees it
	}
	out, err := v.client.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	ended := w.elapsed()
	synctest.Wait()

	if err != nil {
		w.say(err.Error(), fmt.Sprintf("%#v", err))
	}
	if ended != v.got {
		w.problem("%s: a request ended %s after it had its credentials", s.name, ended-v.got)
	}
	if v.requests == 0 {
		return // it got no credentials
	}
	switch said := words[which]; {
	case v.requests > 1 || (err == nil) != (said.code == ""):
		w.problem("%s: a request that was answered with %q was sent %d times and brought %v, %v", s.name, said.code, v.requests, out, err)
	case said.dead:
		s.credentialsRejected()
		if sure && v.key == s.sts.newest() && s.fetched() == before { // others have been replaced
			w.problem("%s: nothing was refreshed after %s", s.name, said.code)
		}
	case s.fetched() != v.fetches:
		w.problem("%s: %d fetches began with %q", s.name, s.fetched()-v.fetches, said.code)
	}
}

// credentialsRejected records a rejection.
func (s *subject) credentialsRejected() {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.rejection = s.w.elapsed()
	if offset() != 0 {
		// What replaces them may come dead without that clock's telling, and
		// a rejected key is not kept beside its replacement.
		s.held = ""
	}
}
