//go:build go1.25

package model

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"
)

// issued is credentials that STS gave.
type issued struct {
	end    time.Time
	at     time.Duration // of the world
	offset time.Duration // of the wall clock when they were given
	secret string
}

// stsServer is an STS with its client.
type stsServer struct {
	server
	life     time.Duration
	sdk      bool   // whether clients reach it through the SDK, which dates its answers
	audience string // of the tokens that the role admits
	client   stscreds.AssumeRoleWithWebIdentityAPIClient

	given      map[string]issued // guarded by mu like what follows
	identified bool              // it has accepted a token of its subject's that came with a request
}

func (w *world) newSTS(name string, life time.Duration, sdk bool) *stsServer {
	s := &stsServer{server: server{w: w, name: name, since: -time.Hour}, life: life, sdk: sdk, audience: vercelAudience, given: map[string]issued{}}
	if sdk {
		s.client = sts.New(sts.Options{Region: "us-east-1", Credentials: aws.AnonymousCredentials{}, HTTPClient: transport{s}})
	} else {
		s.client = &plainClient{s}
	}
	return s
}

func (s *stsServer) credentials(key string) (issued, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.given[key]
	return c, ok
}

// newest is the key that s gave last.
func (s *stsServer) newest() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.key(len(s.given) - 1)
}

func (s *stsServer) key(n int) string { return fmt.Sprintf("ASIA%s%04d", strings.ToUpper(s.name), n) }

// answer is an answer of STS, by whatever road.
type answer struct {
	status        int
	code, message string
	garbage       bool
	creds         *types.Credentials
}

// ask is one request to STS. An empty token is not looked at.
func (s *stsServer) ask(ctx context.Context, role, raw string) (answer, error) {
	role = strings.TrimPrefix(role, roleARN(""))
	if raw != "" {
		s.inspect(ctx, role, raw)
	}
	r, f, err := s.meet(ctx, role, raw)
	if err != nil {
		return answer{}, err
	}
	a, o := s.answer(f, role, raw)
	s.end(r, o)
	return a, nil
}

// inspect is what is promised of the tokens that STS sees.
func (s *stsServer) inspect(ctx context.Context, role, raw string) {
	s.w.inspect(&s.server, raw)
	t, came := s.w.origin(raw)
	request := requestLeaf()
	own, _ := request.Read(ctx)
	chosen, isOwn := request.Request.Given(ctx), own.Raw() == came
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case t.chosen && !(chosen && isOwn):
		s.w.problem("%s: a token that a caller chose was lent to another", s.name)
	case chosen && !isOwn:
		s.w.problem("%s: another token stands in for the one that the caller chose", s.name)
	case s.identified && role == s.name && !isOwn && !t.same():
		s.w.problem("%s: a token of another identity than the one accepted last was borrowed", s.name)
	}
}

func (s *stsServer) answer(f fault, role, raw string) (answer, outcome) {
	switch f {
	case unavailable:
		return answer{status: 503, code: "ServiceUnavailable", message: "try later"}, faulted
	case throttles:
		return answer{status: 400, code: "Throttling", message: "rate exceeded"}, faulted
	case answersGarbage:
		return answer{garbage: true, message: "<html>" + raw}, faulted
	case empty:
		return answer{creds: &types.Credentials{}}, faulted
	case expiredOnArrival:
		if offset() < 0 && !s.sdk { // to a client that is not told STS's clock they live
			return answer{creds: s.issue(-time.Minute)}, served
		}
		if s.sdk {
			// To the SDK it is a success, and it is counted as a fault only when the
			// operation has ended: one that waits may begin in between.
			return answer{creds: s.issue(-time.Minute)}, faulted
		}
		return answer{creds: s.issue(-time.Minute)}, faulted
	}
	said := answer{status: 403, code: "AccessDenied", message: "no"}
	t, genuine := s.w.made(raw)
	if genuine && t.audience != s.audience {
		s.w.problem("%s: STS was shown a token with audience %s", s.name, t.audience)
	}
	genuine = genuine && !t.forged && t.project == cmp.Or(s.party, project) && t.audience == s.audience
	switch {
	case f == refuses:
	case f == badPolicy:
		said = answer{status: 400, code: "MalformedPolicyDocument", message: "no"}
	case f == echoes:
		said = answer{status: 400, code: "InvalidIdentityToken", message: "no: " + raw}
	case raw == "" || genuine && s.w.stsNow().Before(t.end.Add(5*time.Minute)):
		if raw != "" && !t.chosen && role == s.name && offset() == 0 {
			s.mu.Lock()
			s.identified = true
			s.mu.Unlock()
		}
		return answer{creds: s.issue(s.life)}, served
	case genuine:
		said = answer{status: 400, code: "ExpiredTokenException", message: "expired"}
	}
	return said, refused
}

func (s *stsServer) issue(life time.Duration) *types.Credentials {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.given)
	key := s.key(n)
	c := issued{end: s.w.stsNow().Add(life).Truncate(time.Second), at: s.w.elapsed(), offset: offset(), secret: fmt.Sprintf("the+secret+key+of+%s+%d", s.name, n)}
	s.given[key] = c
	session := fmt.Sprintf("the/session/token/of/%s/%d", s.name, n)
	s.w.mu.Lock()
	s.w.secrets = append(s.w.secrets, c.secret, session)
	s.w.mu.Unlock()
	return &types.Credentials{AccessKeyId: &key, SecretAccessKey: &c.secret, SessionToken: &session, Expiration: &c.end}
}

// plainClient is a client that a user wrote.
type plainClient struct{ s *stsServer }

func (c *plainClient) AssumeRoleWithWebIdentity(ctx context.Context, in *sts.AssumeRoleWithWebIdentityInput, _ ...func(*sts.Options)) (*sts.AssumeRoleWithWebIdentityOutput, error) {
	a, err := c.s.ask(ctx, aws.ToString(in.RoleArn), aws.ToString(in.WebIdentityToken))
	switch {
	case err != nil:
		return nil, err
	case a.garbage:
		return nil, &smithy.OperationError{ServiceID: "STS", OperationName: "AssumeRoleWithWebIdentity", Err: &smithy.DeserializationError{Err: errors.New("no XML"), Snapshot: []byte(a.message)}}
	case a.code != "":
		return nil, &smithy.GenericAPIError{Code: a.code, Message: a.message}
	case aws.ToString(a.creds.AccessKeyId) == "":
		return nil, nil
	}
	return &sts.AssumeRoleWithWebIdentityOutput{Credentials: a.creds}, nil
}

// transport is what the SDK's client sends its requests to.
type transport struct{ s *stsServer }

func (t transport) Do(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	a, err := t.s.ask(r.Context(), form.Get("RoleArn"), form.Get("WebIdentityToken"))
	if err != nil {
		return nil, err
	}
	status, text := http.StatusOK, ""
	switch {
	case a.garbage:
		text = a.message
	case a.code != "":
		status = a.status
		text = fmt.Sprintf(`<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error><RequestId>1</RequestId></ErrorResponse>`, a.code, a.message)
	case a.creds.AccessKeyId == nil:
		text = `<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`
	default:
		text = fmt.Sprintf(`<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>%s</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><SessionToken>%s</SessionToken><Expiration>%s</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`,
			*a.creds.AccessKeyId, *a.creds.SecretAccessKey, *a.creds.SessionToken, a.creds.Expiration.UTC().Format(time.RFC3339))
	}
	return &http.Response{
		StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Content-Type": {"text/xml"}, "Date": {t.s.w.stsNow().UTC().Format(http.TimeFormat)}},
		Body:   io.NopCloser(strings.NewReader(text)), ContentLength: int64(len(text)),
	}, nil
}
