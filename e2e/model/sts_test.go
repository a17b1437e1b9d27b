//go:build go1.25

package model

import (
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

// fakeSTS is an STS with its client.
type fakeSTS struct {
	server
	life     time.Duration
	sdk      bool   // whether clients reach it through the SDK, which dates its answers
	audience string // of the tokens that the role admits

	given map[string]issued // guarded by mu
}

func (w *world) newSTS(name string, life time.Duration, sdk bool) *fakeSTS {
	return &fakeSTS{server: server{w: w, name: name}, life: life, sdk: sdk, audience: vercelAudience, given: map[string]issued{}}
}

func (s *fakeSTS) credentials(key string) (issued, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.given[key]
	return c, ok
}

// newest is the key that s gave last.
func (s *fakeSTS) newest() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.key(len(s.given) - 1)
}

func (s *fakeSTS) key(n int) string { return fmt.Sprintf("ASIA%s%04d", strings.ToUpper(s.name), n) }

// client is s as Options.Client.
func (s *fakeSTS) client() stscreds.AssumeRoleWithWebIdentityAPIClient {
	if !s.sdk {
		return plainClient{s}
	}
	return sts.New(sts.Options{Region: "us-east-1", Credentials: aws.AnonymousCredentials{}, HTTPClient: transport{s}})
}

// answer is an answer of STS, by whatever road.
type answer struct {
	status        int
	code, message string
	garbage       bool
	creds         *types.Credentials
}

// ask is one request to STS. An empty token is not looked at.
func (s *fakeSTS) ask(ctx context.Context, raw string) (answer, error) {
	f, err := s.meet(ctx, raw)
	if err != nil {
		return answer{}, err
	}
	switch f {
	case unavailable:
		return answer{status: 503, code: "ServiceUnavailable", message: "try later"}, nil
	case throttles:
		return answer{status: 400, code: "Throttling", message: "rate exceeded"}, nil
	case answersGarbage:
		return answer{garbage: true, message: "<html>" + raw}, nil
	case empty:
		return answer{creds: &types.Credentials{}}, nil
	case expiredOnArrival:
		return answer{creds: s.issue(-time.Minute)}, nil
	}
	said := answer{status: 403, code: "AccessDenied", message: "no"}
	t, genuine := s.w.made(raw)
	if genuine && t.audience != s.audience {
		s.w.problem("%s: STS was shown a token with audience %s", s.name, t.audience)
	}
	genuine = genuine && !t.forged && t.project == project && t.audience == s.audience
	switch {
	case f == refuses:
	case f == badPolicy:
		said = answer{status: 400, code: "MalformedPolicyDocument", message: "no"}
	case f == echoes:
		said = answer{status: 400, code: "InvalidIdentityToken", message: "no: " + raw}
	case raw == "" || genuine && s.w.stsNow().Before(t.end.Add(5*time.Minute)):
		return answer{creds: s.issue(s.life)}, nil
	case genuine:
		said = answer{status: 400, code: "ExpiredTokenException", message: "expired"}
	}
	s.note(&s.refused, s.w.elapsed())
	return said, nil
}

func (s *fakeSTS) issue(life time.Duration) *types.Credentials {
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
type plainClient struct{ s *fakeSTS }

func (c plainClient) AssumeRoleWithWebIdentity(ctx context.Context, in *sts.AssumeRoleWithWebIdentityInput, _ ...func(*sts.Options)) (*sts.AssumeRoleWithWebIdentityOutput, error) {
	a, err := c.s.ask(ctx, aws.ToString(in.WebIdentityToken))
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
type transport struct{ s *fakeSTS }

func (t transport) Do(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	a, err := t.s.ask(r.Context(), form.Get("WebIdentityToken"))
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
