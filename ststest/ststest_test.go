package ststest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/oidc/oidctest"
	"github.com/vercelaws/vercelaws/ststest"
	"github.com/vercelaws/vercelaws/trustpolicy"
)

const roleARN = "arn:aws:iam::123456789012:role/apps/web"

// setUp starts an issuer, and an STS with a role for its project web.
func setUp(t *testing.T, optFns ...func(*ststest.Options)) (*oidctest.Server, *ststest.Server) {
	t.Helper()
	t.Setenv("VERCEL_TARGET_ENV", "production")
	issuer := oidctest.NewServer()
	t.Cleanup(issuer.Close)
	server := ststest.NewServer(optFns...)
	t.Cleanup(server.Close)
	server.AddProvider(issuer.Issuer(), issuer.Audience())
	server.AddRole(ststest.Role{ARN: roleARN, TrustPolicy: trust(t, issuer, "production")})
	return issuer, server
}

func trust(t *testing.T, issuer *oidctest.Server, environments ...string) string {
	t.Helper()
	policy, err := trustpolicy.Build(trustpolicy.Spec{
		AccountID: ststest.Account, BaseIssuer: issuer.URL, Teams: []string{"acme"}, Projects: []string{"web"}, Environments: environments,
	})
	require.NoError(t, err)
	return policy.String()
}

func assume(t *testing.T, s *ststest.Server, token string, change ...func(*sts.AssumeRoleWithWebIdentityInput)) (*sts.AssumeRoleWithWebIdentityOutput, error) {
	t.Helper()
	in := &sts.AssumeRoleWithWebIdentityInput{RoleArn: aws.String(roleARN), RoleSessionName: aws.String("session"), WebIdentityToken: &token}
	for _, f := range change {
		f(in)
	}
	return s.STS(func(o *sts.Options) { o.Retryer = aws.NopRetryer{} }).AssumeRoleWithWebIdentity(t.Context(), in)
}

func static(out *sts.AssumeRoleWithWebIdentityOutput) aws.CredentialsProvider {
	c := out.Credentials
	return credentials.NewStaticCredentialsProvider(*c.AccessKeyId, *c.SecretAccessKey, *c.SessionToken)
}

func whoAmI(t *testing.T, s *ststest.Server, creds aws.CredentialsProvider) (*sts.GetCallerIdentityOutput, error) {
	t.Helper()
	return s.STS(func(o *sts.Options) { o.Credentials, o.Retryer = creds, aws.NopRetryer{} }).GetCallerIdentity(t.Context(), nil)
}

func code(t *testing.T, err error) string {
	t.Helper()
	var api smithy.APIError
	require.ErrorAs(t, err, &api)
	return api.ErrorCode()
}

func TestAssumeRole(t *testing.T) {
	issuer, server := setUp(t)
	out, err := assume(t, server, issuer.Mint())
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(*out.Credentials.AccessKeyId, "ASIA"))
	assert.WithinDuration(t, time.Now().Add(time.Hour), *out.Credentials.Expiration, time.Minute)
	assert.Equal(t, "arn:aws:sts::123456789012:assumed-role/web/session", *out.AssumedRoleUser.Arn)
	assert.Equal(t, "owner:acme:project:web:environment:production", *out.SubjectFromWebIdentityToken)
	assert.Equal(t, issuer.Audience(), *out.Audience)

	identity, err := whoAmI(t, server, static(out))
	require.NoError(t, err)
	assert.Equal(t, *out.AssumedRoleUser.Arn, *identity.Arn)
	assert.Equal(t, "123456789012", *identity.Account)
	assert.Equal(t, 1, server.Calls("AssumeRoleWithWebIdentity"))
	assert.Equal(t, 1, server.Calls("GetCallerIdentity"))
}

func TestRefusals(t *testing.T) {
	issuer, server := setUp(t)
	stranger := oidctest.NewServer()
	defer stranger.Close()
	gone := oidctest.NewServer()
	server.AddProvider(gone.Issuer(), gone.Audience())
	unreachable := gone.Mint()
	gone.Close()
	good := issuer.Mint()

	type input = sts.AssumeRoleWithWebIdentityInput
	cases := []struct {
		name, token string
		change      func(*input)
		want        string
	}{
		{"expired", issuer.Mint(func(c *oidctest.Claims) { c.Expiry = time.Now().Add(-5*time.Minute - time.Second) }), nil, "ExpiredTokenException"},
		{"garbage", "garbage", nil, "InvalidIdentityToken"},
		{"forged", issuer.MintForged(), nil, "InvalidIdentityToken"},
		{"unknown key", issuer.MintUnknownKey(), nil, "InvalidIdentityToken"},
		{"unsigned", issuer.MintUnsigned(""), nil, "InvalidIdentityToken"},
		{"unsigned with a signature", issuer.MintUnsigned("x"), nil, "InvalidIdentityToken"},
		{"tampered", oidctest.Tamper(good), nil, "InvalidIdentityToken"},
		{"cut off", good[:len(good)-10], nil, "InvalidIdentityToken"},
		{"another issuer", stranger.Mint(), nil, "InvalidIdentityToken"},
		{"another audience", issuer.Mint(func(c *oidctest.Claims) { c.Audience = "x" }), nil, "InvalidIdentityToken"},
		{"not yet valid", issuer.Mint(func(c *oidctest.Claims) { c.NotBefore = time.Now().Add(time.Hour) }), nil, "InvalidIdentityToken"},
		{"no expiry", issuer.Mint(func(c *oidctest.Claims) { c.Extra = map[string]any{"exp": nil} }), nil, "InvalidIdentityToken"},
		{"no subject", issuer.Mint(func(c *oidctest.Claims) { c.Extra = map[string]any{"sub": nil} }), nil, "InvalidIdentityToken"},
		{"issuer is down", unreachable, nil, "InvalidIdentityToken"},
		{"another environment", issuer.Mint(func(c *oidctest.Claims) { c.Environment = "preview" }), nil, "AccessDenied"},
		{"no such role", good, func(in *input) { in.RoleArn = aws.String("arn:aws:iam::123456789012:role/other") }, "AccessDenied"},
		{"role ARN", good, func(in *input) { in.RoleArn = aws.String("arn:aws:iam::123456789012:user/web") }, "ValidationError"},
		{"session name", good, func(in *input) { in.RoleSessionName = aws.String("a b") }, "ValidationError"},
		{"brief", good, func(in *input) { in.DurationSeconds = aws.Int32(899) }, "ValidationError"},
		{"long", good, func(in *input) { in.DurationSeconds = aws.Int32(43_201) }, "ValidationError"},
		{"over the role's maximum", good, func(in *input) { in.DurationSeconds = aws.Int32(3601) }, "ValidationError"},
		{"long token", strings.Repeat("x", 20_001), nil, "ValidationError"},
		{"policy", good, func(in *input) { in.Policy = aws.String("{}") }, "MalformedPolicyDocument"},
		{"long policy", good, func(in *input) { in.Policy = aws.String(strings.Repeat("x", 2049)) }, "PackedPolicyTooLarge"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if c.change == nil {
				c.change = func(*input) {}
			}
			_, err := assume(t, server, c.token, c.change)
			require.Error(t, err)
			assert.Equal(t, c.want, code(t, err), err)
			assert.NotContains(t, err.Error(), c.token)
		})
	}
	_, err := assume(t, server, good)
	assert.NoError(t, err)
}

func TestLastRefusalExplains(t *testing.T) {
	issuer, server := setUp(t)
	_, ok := server.LastRefusal()
	assert.False(t, ok)
	_, err := assume(t, server, issuer.Mint(func(c *oidctest.Claims) { c.Environment = "preview" }))
	require.Error(t, err)
	result, ok := server.LastRefusal()
	require.True(t, ok)
	assert.Contains(t, result.String(), "another environment")

	server.SetTrustPolicy(roleARN, trust(t, issuer, "production", "preview"))
	_, err = assume(t, server, issuer.Mint(func(c *oidctest.Claims) { c.Environment = "preview" }))
	assert.NoError(t, err)
}

func TestKeyRotation(t *testing.T) {
	issuer, server := setUp(t)
	before := issuer.Mint()
	issuer.RotateKey()
	for _, token := range []string{before, issuer.Mint()} {
		_, err := assume(t, server, token)
		assert.NoError(t, err)
	}
}

func TestDeadCredentials(t *testing.T) {
	clock := time.Now()
	var mu sync.Mutex
	now := func() time.Time { mu.Lock(); defer mu.Unlock(); return clock }
	issuer, server := setUp(t, func(o *ststest.Options) { o.Now = now })
	fresh := func() aws.CredentialsProvider {
		out, err := assume(t, server, issuer.Mint(func(c *oidctest.Claims) { c.Expiry = time.Now().Add(24 * time.Hour) }))
		require.NoError(t, err)
		creds := static(out)
		_, err = whoAmI(t, server, creds)
		require.NoError(t, err)
		return creds
	}
	dead := func(creds aws.CredentialsProvider, want string) {
		t.Helper()
		_, err := whoAmI(t, server, creds)
		require.Error(t, err)
		assert.Equal(t, want, code(t, err))
	}
	revoked := fresh()
	key, _ := revoked.Retrieve(t.Context())
	server.Revoke(key.AccessKeyID)
	dead(revoked, "InvalidClientTokenId")

	all := fresh()
	server.RevokeAll()
	dead(all, "InvalidClientTokenId")

	recreated := fresh()
	server.AddRole(ststest.Role{ARN: roleARN, TrustPolicy: trust(t, issuer, "production")})
	dead(recreated, "InvalidClientTokenId")

	wrong, _ := fresh().Retrieve(t.Context())
	dead(credentials.NewStaticCredentialsProvider(wrong.AccessKeyID, "wrong", wrong.SessionToken), "SignatureDoesNotMatch")
	dead(credentials.NewStaticCredentialsProvider(wrong.AccessKeyID, wrong.SecretAccessKey, "wrong"), "InvalidClientTokenId")
	dead(credentials.NewStaticCredentialsProvider("AKIAUNKNOWN", "x", ""), "InvalidClientTokenId")
	dead(aws.AnonymousCredentials{}, "MissingAuthenticationToken")

	expired := fresh()
	mu.Lock()
	clock = clock.Add(2 * time.Hour)
	mu.Unlock()
	dead(expired, "ExpiredToken")
}

func TestVerifyPresigned(t *testing.T) {
	issuer, server := setUp(t)
	out, err := assume(t, server, issuer.Mint())
	require.NoError(t, err)
	creds, _ := static(out).Retrieve(t.Context())
	presign := func(rawURL string) *http.Request {
		r, err := http.NewRequest(http.MethodGet, rawURL, nil)
		require.NoError(t, err)
		signed, _, err := v4.NewSigner().PresignHTTP(t.Context(), creds, r, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "rds-db", "us-east-1", time.Now())
		require.NoError(t, err)
		again, err := http.NewRequest(http.MethodGet, signed, nil)
		require.NoError(t, err)
		return again
	}
	session, err := server.Verify(presign("https://db.example:5432/?Action=connect&DBUser=me&X-Amz-Expires=900"))
	require.NoError(t, err)
	assert.Equal(t, roleARN, session.RoleARN)

	tampered := presign("https://db.example:5432/?Action=connect&DBUser=me&X-Amz-Expires=900")
	tampered.URL.RawQuery = strings.Replace(tampered.URL.RawQuery, "DBUser=me", "DBUser=root", 1)
	_, err = server.Verify(tampered)
	var refused *ststest.Error
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, "SignatureDoesNotMatch", refused.Code)
}

func TestFaults(t *testing.T) {
	issuer, server := setUp(t)
	token := issuer.Mint()
	for name, fault := range ststest.Down() {
		t.Run(name, func(t *testing.T) {
			server.SetFault(ststest.Always(fault))
			defer server.SetFault(nil)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			if fault.Hang || fault.Drip || fault.Endless || fault.Latency > 0 {
				ctx, cancel = context.WithTimeout(t.Context(), 200*time.Millisecond)
				defer cancel()
			}
			client := server.STS(func(o *sts.Options) { o.Retryer = aws.NopRetryer{} })
			out, err := client.AssumeRoleWithWebIdentity(ctx, &sts.AssumeRoleWithWebIdentityInput{RoleArn: aws.String(roleARN), RoleSessionName: aws.String("s1"), WebIdentityToken: &token})
			switch {
			case fault.EmptyCredentials:
				require.NoError(t, err)
				assert.Empty(t, *out.Credentials.SecretAccessKey)
			case fault.Lifetime < 0:
				require.NoError(t, err)
				assert.True(t, out.Credentials.Expiration.Before(time.Now()))
			default:
				require.Error(t, err)
				if fault.Code != "" {
					assert.Equal(t, fault.Code, code(t, err))
				}
			}
		})
	}
	_, err := assume(t, server, token)
	assert.NoError(t, err, "the faults have ended")
}

func TestEchoIsWhatACarelessServerDoes(t *testing.T) {
	issuer, server := setUp(t)
	server.SetFault(ststest.Always(ststest.Fault{EchoToken: true}))
	token := issuer.MintForged()
	_, err := assume(t, server, token)
	assert.ErrorContains(t, err, token)
}

func TestFaultsAreChosenByCall(t *testing.T) {
	issuer, server := setUp(t)
	server.SetFault(func(c ststest.Call) ststest.Fault {
		if c.N%2 == 1 {
			return ststest.Fault{Status: 503}
		}
		return ststest.Fault{}
	})
	var failed int
	for range 10 {
		if _, err := assume(t, server, issuer.Mint()); err != nil {
			failed++
		}
	}
	assert.Equal(t, 5, failed)
}

func TestCloseEndsWhatHangs(t *testing.T) {
	issuer, server := setUp(t)
	arrived := make(chan struct{})
	server.SetFault(func(ststest.Call) ststest.Fault { close(arrived); return ststest.Fault{Hang: true} })
	result := make(chan error)
	go func() {
		_, err := assume(t, server, issuer.Mint())
		result <- err
	}()
	<-arrived
	server.Close()
	assert.Error(t, <-result)
}

func TestConcurrentUse(t *testing.T) {
	issuer, server := setUp(t)
	token := issuer.Mint()
	var wg sync.WaitGroup
	for range 20 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			out, err := assume(t, server, token)
			if assert.NoError(t, err) {
				_, err = whoAmI(t, server, static(out))
				assert.NoError(t, err)
			}
		}()
	}
	wg.Wait()
	assert.Equal(t, 20, server.Calls("AssumeRoleWithWebIdentity"))
}

func TestSessionPrintsNoSecret(t *testing.T) {
	issuer, server := setUp(t)
	out, err := assume(t, server, issuer.Mint())
	require.NoError(t, err)
	session, ok := server.Session(*out.Credentials.AccessKeyId)
	require.True(t, ok)
	assert.Equal(t, *out.Credentials.SecretAccessKey, session.Credentials().SecretAccessKey)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%t", "%d"} {
		text := fmt.Sprintf(verb, session)
		assert.NotContains(t, text, *out.Credentials.SecretAccessKey)
		assert.NotContains(t, text, *out.Credentials.SessionToken)
	}
	b, err := json.Marshal(session)
	require.NoError(t, err)
	assert.NotContains(t, string(b), *out.Credentials.SecretAccessKey)
	_, ok = server.Session("ASIANONE")
	assert.False(t, ok)
}

func TestOddRequests(t *testing.T) {
	_, server := setUp(t)
	_, err := server.STS(func(o *sts.Options) { o.Retryer = aws.NopRetryer{} }).GetSessionToken(t.Context(), nil)
	assert.Equal(t, "InvalidAction", code(t, err))
	response, err := server.Client().Post(server.URL, "text/plain", strings.NewReader("%zz"))
	require.NoError(t, err)
	response.Body.Close()
	assert.Equal(t, http.StatusBadRequest, response.StatusCode)
	response, err = server.Client().Head(server.URL)
	require.NoError(t, err)
	response.Body.Close()
}
