package ststest

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/vercelaws/vercelaws/trustpolicy"
)

var sessionName = regexp.MustCompile(`^[\w+=,.@-]{2,64}$`)

// assumeRoleWithWebIdentity is the action of that name. See
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html.
func (s *Server) assumeRoleWithWebIdentity(ctx context.Context, form url.Values, fault Fault) (*assumeRoleAnswer, error) {
	if err := validate(form); err != nil {
		return nil, err
	}
	if token := form.Get("WebIdentityToken"); len(token) < 4 || len(token) > 20_000 {
		return nil, invalid("webIdentityToken", "Member must have length between 4 and 20000")
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
	session := s.open(role, form.Get("RoleSessionName"), life, func(made *Session) { made.Subject = claims.Subject })
	return &assumeRoleAnswer{
		Result: assumeRoleResult{
			SubjectFromWebIdentityToken: claims.Subject,
			Audience:                    strings.Join(claims.Audience, ","),
			Provider:                    providerARN,
			AssumedRoleUser:             assumedRoleUser{Arn: session.AssumedRoleARN, AssumedRoleID: session.userID()},
			Credentials:                 session.xml(fault),
		},
		Metadata: metadata{requestID()},
	}, nil
}

// seconds is the duration that is asked for, or zero.
func seconds(form url.Values) time.Duration {
	n, _ := strconv.Atoi(form.Get("DurationSeconds")) // validate has seen it
	return time.Duration(n) * time.Second
}

// lifetime is how long the credentials of a role live, unless it was asked for
// too much.
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

// validate checks the parameters that need no look at the account, and that the
// actions have in common.
func validate(form url.Values) error {
	role := form.Get("RoleArn")
	policy := form.Get("Policy")
	switch {
	case len(role) < 20 || len(role) > 2048:
		return invalid("roleArn", "Member must have length between 20 and 2048")
	case !strings.HasPrefix(role, "arn:") || !strings.Contains(role, ":role/"):
		return refuse("ValidationError", "%s is invalid", role)
	case !sessionName.MatchString(form.Get("RoleSessionName")):
		return invalid("roleSessionName", `Member must satisfy regular expression pattern: [\w+=,.@-]* and have length between 2 and 64`)
	case utf8.RuneCountInString(policy) > 2048:
		return &Error{Code: "PackedPolicyTooLarge", Message: "the policy is larger than 2048 characters", Status: http.StatusBadRequest}
	case policy != "" && !strings.Contains(policy, `"Statement"`):
		return refuse("MalformedPolicyDocument", "Syntax errors in policy.")
	}
	if value := form.Get("DurationSeconds"); value != "" {
		seconds, err := strconv.Atoi(value)
		if err != nil || seconds < 900 || seconds > 43_200 {
			return invalid("durationSeconds", "Member must have value between 900 and 43200")
		}
	}
	return nil
}

// trusted returns the role if its trust policy admits the token. A role that
// does not exist is refused in the same words, as by AWS.
func (s *Server) trusted(arn, session string, claims *jwt.Claims) (*role, string, error) {
	denied := &Error{Code: "AccessDenied", Message: "Not authorized to perform sts:AssumeRoleWithWebIdentity", Status: http.StatusForbidden}
	partition := "aws"
	if parts := strings.SplitN(arn, ":", 3); len(parts) == 3 {
		partition = parts[1]
	}
	providerARN := trustpolicy.ProviderARN(partition, Account, claims.Issuer)
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

// open makes credentials. What a session holds beyond those is filled in by
// fill, before anyone sees it.
func (s *Server) open(r *role, name string, life time.Duration, fill func(*Session)) *Session {
	_, path, _ := strings.Cut(r.ARN, ":role/")
	roleName := path[strings.LastIndex(path, "/")+1:]
	prefix, _, _ := strings.Cut(r.ARN, ":iam::")
	account := strings.SplitN(strings.TrimPrefix(r.ARN, prefix+":iam::"), ":", 2)[0]
	session := newSession("ASIA"+random(16), random(40), base64.StdEncoding.EncodeToString([]byte(random(180))))
	session.RoleARN = r.ARN
	session.Name = name
	session.AssumedRoleARN = prefix + ":sts::" + account + ":assumed-role/" + roleName + "/" + name
	session.Account = account
	session.Expires = s.options.Now().Add(life).UTC().Truncate(time.Second)
	session.role = r
	fill(session)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions[session.AccessKeyID] = session
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
