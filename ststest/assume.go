package ststest

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vercelaws/vercelaws/trustpolicy"
)

// Regular expressions are compiled at their first use, so that importing this
// package costs a program nothing at its start.
var (
	sessionName = lazy(`^[\w+=,.@-]{2,64}$`)
	roleForm    = lazy(`^arn:(aws[a-z-]*):iam::(\d{12}):role/(?:.+/)?([^/]+)$`)
)

func lazy(pattern string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(pattern) })
}

// roleParts are the parts of a role's ARN. See
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html.
func roleParts(arn string) (partition, account, name string, ok bool) {
	parts := roleForm().FindStringSubmatch(arn)
	if parts == nil {
		return "", "", "", false
	}
	return parts[1], parts[2], parts[3], true
}

// assumeRoleWithWebIdentity is the action of that name. See
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html.
func (s *Server) assumeRoleWithWebIdentity(ctx context.Context, form url.Values, fault Fault) (*roleAnswer, error) {
	if err := validate(form); err != nil {
		return nil, err
	}
	switch token := form.Get("WebIdentityToken"); {
	case len(token) < 4 || len(token) > 20_000:
		return nil, invalid("webIdentityToken", "Member must have length between 4 and 20000")
	case form.Has("ProviderId"): // it is for OAuth 2.0 access tokens alone
		return nil, refuse("ValidationError", "ProviderId must not be specified for OpenID Connect ID tokens")
	}
	claims, err := s.verifyToken(ctx, form.Get("WebIdentityToken"))
	if err != nil {
		return nil, err
	}
	role, providerARN, err := s.trusted(form.Get("RoleArn"), form.Get("RoleSessionName"), claims)
	if err != nil {
		return nil, err
	}
	life, err := lifetime(form, role, fault)
	if err != nil {
		return nil, err
	}
	session := s.open(role, form.Get("RoleSessionName"), life, Session{Subject: claims.Subject})
	return session.answer("AssumeRoleWithWebIdentity", fault, roleResult{
		SubjectFromWebIdentityToken: claims.Subject,
		Audience:                    strings.Join(claims.Audience, ","),
		Provider:                    providerARN,
	}), nil
}

// seconds is the requested duration, or zero.
func seconds(form url.Values) time.Duration {
	n, _ := strconv.Atoi(form.Get("DurationSeconds")) // validate has checked it
	return time.Duration(n) * time.Second
}

// lifetime is how long the credentials of a role live. It is an error if the
// requested duration is longer than the role allows.
func lifetime(form url.Values, r *role, fault Fault) (time.Duration, error) {
	longest := cmp.Or(r.MaxSessionDuration, time.Hour)
	life := cmp.Or(seconds(form), min(time.Hour, longest))
	if life > longest {
		return 0, refuse("ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	}
	return cmp.Or(fault.Lifetime, life), nil
}

func invalid(field, constraint string) error {
	return refuse("ValidationError", "1 validation error detected: Value at '%s' failed to satisfy constraint: %s", field, constraint)
}

// validate checks the parameters that the actions have in common, as far as that
// is possible without the server's roles and providers.
func validate(form url.Values) error {
	role := form.Get("RoleArn")
	partition, account, _, ok := roleParts(role)
	switch {
	case len(role) < 20 || len(role) > 2048:
		return invalid("roleArn", "Member must have length between 20 and 2048")
	case !ok:
		return refuse("ValidationError", "%s is invalid", role)
	case !sessionName().MatchString(form.Get("RoleSessionName")):
		return invalid("roleSessionName", `Member must satisfy regular expression pattern: [\w+=,.@-]* and have length between 2 and 64`)
	}
	if value := form.Get("DurationSeconds"); value != "" {
		seconds, err := strconv.Atoi(value)
		if err != nil || seconds < 900 || seconds > 43_200 {
			return invalid("durationSeconds", "Member must have value between 900 and 43200")
		}
	}
	return validatePolicies(form, partition, account)
}

// trusted returns the role if its trust policy admits the token. As with AWS, the
// error is the same if there is no such role.
func (s *Server) trusted(arn, session string, claims *claims) (*role, string, error) {
	denied := forbidden("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")
	partition, account, _, _ := roleParts(arn)
	providerARN := trustpolicy.ProviderARN(partition, account, claims.Issuer)
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.roles[arn]
	if r == nil {
		s.refusal = nil
		return nil, "", denied
	}
	keys := trustpolicy.ConditionContext(claims.Issuer, claims.Subject, claims.Audience)
	keys["sts:RoleSessionName"] = []string{session}
	result := r.policy.Evaluate(trustpolicy.Request{ProviderARN: providerARN, Context: keys})
	if !result.Allowed() {
		s.refusal = &result
		return nil, "", denied
	}
	return r, providerARN, nil
}

// open completes session, which holds what is particular to the call, with
// credentials of the role.
func (s *Server) open(r *role, name string, life time.Duration, session Session) Session {
	partition, account, roleName, _ := roleParts(r.ARN)
	secretAccessKey, sessionToken := random(40), base64.StdEncoding.EncodeToString([]byte(random(180)))
	session.AccessKeyID = "ASIA" + random(16)
	session.secret = func() (string, string) { return secretAccessKey, sessionToken }
	session.RoleARN = r.ARN
	session.Name = name
	session.AssumedRoleARN = "arn:" + partition + ":sts::" + account + ":assumed-role/" + roleName + "/" + name
	session.Account = account
	session.Expires = s.options.Now().Add(life).UTC().Truncate(time.Second)
	session.role = r
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions[session.AccessKeyID] = &session
	return session
}

// random returns n characters of [A-Z2-7].
func random(n int) string {
	out := ""
	for len(out) < n {
		out += rand.Text()
	}
	return out[:n]
}
