package ststest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/oidc/oidctest"
	"github.com/vercelaws/vercelaws/ststest"
)

const (
	dataARN = "arn:aws:iam::210987654321:role/data"
	lastARN = "arn:aws:iam::210987654321:role/last"
)

// dataPolicy trusts a principal to assume the role with an external ID, and to
// pass tags.
func dataPolicy(principal, condition string) string {
	return `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"` + principal + `"},"Action":["sts:AssumeRole","sts:TagSession"],"Condition":` + condition + `}}`
}

// chain is the caller's session in a server that has the role data, too.
func chain(t *testing.T, policy string) (*ststest.Server, aws.CredentialsProvider) {
	t.Helper()
	issuer, server := setUp(t)
	server.AddRole(ststest.Role{ARN: dataARN, TrustPolicy: policy, MaxSessionDuration: 12 * time.Hour})
	out, err := assume(t, server, issuer.Mint())
	require.NoError(t, err)
	return server, static(out)
}

type chainInput = sts.AssumeRoleInput

func assumeNext(t *testing.T, s *ststest.Server, caller aws.CredentialsProvider, change func(*chainInput)) (*sts.AssumeRoleOutput, error) {
	t.Helper()
	in := &chainInput{RoleArn: aws.String(dataARN), RoleSessionName: aws.String("next")}
	if change != nil {
		change(in)
	}
	return s.STS(func(o *sts.Options) { o.Credentials, o.Retryer = caller, aws.NopRetryer{} }).AssumeRole(t.Context(), in)
}

func staticNext(out *sts.AssumeRoleOutput) aws.CredentialsProvider {
	c := out.Credentials
	return credentials.NewStaticCredentialsProvider(*c.AccessKeyId, *c.SecretAccessKey, *c.SessionToken)
}

func tag(key, value string) types.Tag { return types.Tag{Key: &key, Value: &value} }

func TestChain(t *testing.T) {
	server, caller := chain(t, dataPolicy(roleARN, `{"StringEquals":{"sts:ExternalId":"acme-7","aws:RequestTag/Team":"web"}}`))
	before := time.Now()
	out, err := assumeNext(t, server, caller, func(in *chainInput) {
		in.ExternalId = aws.String("acme-7")
		in.Tags = []types.Tag{tag("Team", "web"), tag("Stage", "")}
		in.TransitiveTagKeys = []string{"Team"}
		in.DurationSeconds = aws.Int32(900)
	})
	require.NoError(t, err)
	assert.Equal(t, "arn:aws:sts::210987654321:assumed-role/data/next", *out.AssumedRoleUser.Arn)
	assert.WithinDuration(t, before.Add(15*time.Minute), *out.Credentials.Expiration, 10*time.Second)
	identity, err := whoAmI(t, server, staticNext(out))
	require.NoError(t, err)
	assert.Equal(t, *out.AssumedRoleUser.Arn, *identity.Arn)
	assert.Equal(t, "210987654321", *identity.Account)

	session, ok := server.Session(*out.Credentials.AccessKeyId)
	require.True(t, ok)
	assert.Equal(t, "arn:aws:sts::123456789012:assumed-role/web/session", session.SourceARN)
	assert.Equal(t, "acme-7", session.ExternalID)
	assert.Equal(t, map[string]string{"Team": "web", "Stage": ""}, session.Tags)
	assert.Equal(t, []string{"Team"}, session.TransitiveTagKeys)
	assert.Empty(t, session.Subject)

	// The transitive tag goes on, and cannot be set anew.
	server.AddRole(ststest.Role{ARN: lastARN, TrustPolicy: dataPolicy(dataARN, `{"StringEquals":{"aws:PrincipalTag/team":"web"},"Null":{"aws:RequestTag/Team":"true"}}`)})
	last := func(tags ...types.Tag) (*sts.AssumeRoleOutput, error) {
		return assumeNext(t, server, staticNext(out), func(in *chainInput) { in.RoleArn, in.Tags = aws.String(lastARN), tags })
	}
	third, err := last()
	require.NoError(t, err)
	session, _ = server.Session(*third.Credentials.AccessKeyId)
	assert.Equal(t, map[string]string{"Team": "web"}, session.Tags)
	assert.Equal(t, []string{"Team"}, session.TransitiveTagKeys)
	_, err = last(tag("team", "ops"))
	assert.Equal(t, "InvalidParameterValue", code(t, err))
	assert.Equal(t, 3, server.Calls("AssumeRole"))
}

// TestChainPrincipals has the role data name its caller, and others.
func TestChainPrincipals(t *testing.T) {
	for principal, admitted := range map[string]bool{
		roleARN:                          true,
		"123456789012":                   true,
		"arn:aws:iam::123456789012:root": true,
		"arn:aws:sts::123456789012:assumed-role/web/session": true,
		"*":                                  true,
		"210987654321":                       false,
		"arn:aws:iam::210987654321:root":     false,
		"arn:aws:iam::123456789012:role/web": false, // without its path
		"arn:aws:iam::123456789012:user/web": false,
		"arn:aws:sts::123456789012:assumed-role/web/other": false,
	} {
		t.Run(principal, func(t *testing.T) {
			server, caller := chain(t, dataPolicy(principal, "{}"))
			_, err := assumeNext(t, server, caller, nil)
			if admitted {
				assert.NoError(t, err)
				return
			}
			assert.Equal(t, "AccessDenied", code(t, err))
		})
	}
	t.Run("another kind", func(t *testing.T) {
		policy := strings.ReplaceAll(dataPolicy("arn:aws:sts::123456789012:assumed-role/web/session", "{}"), `"AWS"`, `"Service"`)
		server, caller := chain(t, policy)
		_, err := assumeNext(t, server, caller, nil)
		assert.Equal(t, "AccessDenied", code(t, err))
	})
	t.Run("a denial", func(t *testing.T) {
		server, caller := chain(t, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"},`+
			`{"Effect":"Deny","Principal":{"AWS":"123456789012"},"Action":"sts:*","Condition":{"StringNotEquals":{"sts:ExternalId":"acme-7"}}}]}`)
		_, err := assumeNext(t, server, caller, nil)
		assert.Equal(t, "AccessDenied", code(t, err))
		_, err = assumeNext(t, server, caller, func(in *chainInput) { in.ExternalId = aws.String("acme-7") })
		assert.NoError(t, err)
	})
}

func TestChainRefusals(t *testing.T) {
	server, caller := chain(t, dataPolicy(roleARN, `{"StringEquals":{"sts:ExternalId":"acme-7"}}`))
	server.AddRole(ststest.Role{ARN: lastARN, TrustPolicy: `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"` + roleARN + `"},"Action":"sts:AssumeRole"}}`})
	keys, err := caller.Retrieve(t.Context())
	require.NoError(t, err)
	static := func(key, secret, token string) aws.CredentialsProvider {
		return credentials.NewStaticCredentialsProvider(key, secret, token)
	}
	for _, c := range []struct {
		name   string
		caller aws.CredentialsProvider
		change func(*chainInput)
		want   string
		says   string
	}{
		{"no signature", aws.AnonymousCredentials{}, nil, "MissingAuthenticationToken", ""},
		{"a key of nobody", static("ASIANOBODY", keys.SecretAccessKey, keys.SessionToken), nil, "InvalidClientTokenId", ""},
		{"another secret", static(keys.AccessKeyID, "another", keys.SessionToken), nil, "SignatureDoesNotMatch", ""},
		{"another session", static(keys.AccessKeyID, keys.SecretAccessKey, "another"), nil, "InvalidClientTokenId", ""},
		{"no external ID", caller, func(in *chainInput) { in.ExternalId = nil }, "AccessDenied", "User: arn:aws:sts::123456789012:assumed-role/web/session is not authorized to perform: sts:AssumeRole on resource: " + dataARN},
		{"another external ID", caller, func(in *chainInput) { in.ExternalId = aws.String("acme-8") }, "AccessDenied", ""},
		{"no such role", caller, func(in *chainInput) { in.RoleArn = aws.String(dataARN + "2") }, "AccessDenied", ""},
		{"itself", caller, func(in *chainInput) { in.RoleArn = aws.String(roleARN) }, "AccessDenied", ""},
		{"tags without sts:TagSession", caller, func(in *chainInput) {
			in.RoleArn, in.Tags = aws.String(lastARN), []types.Tag{tag("a", "b")}
		}, "AccessDenied", "sts:TagSession"},
		{"bad external ID", caller, func(in *chainInput) { in.ExternalId = aws.String("a b") }, "ValidationError", "externalId"},
		{"short external ID", caller, func(in *chainInput) { in.ExternalId = aws.String("a") }, "ValidationError", "externalId"},
		{"over an hour", caller, func(in *chainInput) { in.DurationSeconds = aws.Int32(3601) }, "ValidationError", "1 hour session limit for roles assumed by role chaining"},
		{"brief", caller, func(in *chainInput) { in.DurationSeconds = aws.Int32(899) }, "ValidationError", "durationSeconds"},
		{"session name", caller, func(in *chainInput) { in.RoleSessionName = aws.String("a b") }, "ValidationError", "roleSessionName"},
		{"a tag twice", caller, func(in *chainInput) { in.Tags = []types.Tag{tag("Team", "a"), tag("team", "b")} }, "InvalidParameterValue", "Duplicate"},
		{"a reserved key", caller, func(in *chainInput) { in.Tags = []types.Tag{tag("AWS:team", "b")} }, "InvalidParameterValue", "reserved"},
		{"a reserved value", caller, func(in *chainInput) { in.Tags = []types.Tag{tag("team", "aws:b")} }, "InvalidParameterValue", "reserved"},
		{"a long key", caller, func(in *chainInput) { in.Tags = []types.Tag{tag(strings.Repeat("k", 129), "")} }, "ValidationError", "tags.1.member"},
		{"a long value", caller, func(in *chainInput) { in.Tags = []types.Tag{tag("k", strings.Repeat("v", 257))} }, "ValidationError", "tags.1.member"},
		{"a value of another alphabet", caller, func(in *chainInput) { in.Tags = []types.Tag{tag("k", "a;b")} }, "ValidationError", "tags.1.member"},
		{"51 tags", caller, func(in *chainInput) {
			for i := range 51 {
				in.Tags = append(in.Tags, tag(fmt.Sprint("k", i), ""))
			}
		}, "ValidationError", "less than or equal to 50"},
		{"transitive without tag", caller, func(in *chainInput) { in.TransitiveTagKeys = []string{"Team"} }, "InvalidParameterValue", "must be included"},
		{"a source identity", caller, func(in *chainInput) { in.SourceIdentity = aws.String("me") }, "InvalidParameterValue", "SourceIdentity"},
		{"MFA", caller, func(in *chainInput) {
			in.SerialNumber, in.TokenCode = aws.String("arn:aws:iam::123456789012:mfa/me"), aws.String("123456")
		}, "InvalidParameterValue", "SerialNumber"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := assumeNext(t, server, c.caller, func(in *chainInput) {
				in.ExternalId = aws.String("acme-7")
				if c.change != nil {
					c.change(in)
				}
			})
			require.Error(t, err)
			assert.Equal(t, c.want, code(t, err), err)
			assert.ErrorContains(t, err, c.says)
		})
	}
	_, err = assumeNext(t, server, caller, func(in *chainInput) { in.ExternalId = aws.String("acme-7") })
	require.NoError(t, err)

	server.Revoke(keys.AccessKeyID)
	_, err = assumeNext(t, server, caller, nil)
	assert.Equal(t, "InvalidClientTokenId", code(t, err))
}

// TestFaultsOfOneAction breaks the second hop and not the first.
func TestFaultsOfOneAction(t *testing.T) {
	issuer, server := setUp(t)
	server.AddRole(ststest.Role{ARN: dataARN, TrustPolicy: dataPolicy(roleARN, "{}")})
	server.SetFault(func(c ststest.Call) ststest.Fault {
		if c.Action != "AssumeRole" {
			return ststest.Fault{}
		}
		assert.Equal(t, dataARN, c.RoleARN)
		return []ststest.Fault{{Status: 503}, {Lifetime: time.Minute}, {EmptyCredentials: true}, {Truncated: true}}[c.N-1]
	})
	first := func() aws.CredentialsProvider {
		out, err := assume(t, server, issuer.Mint(func(c *oidctest.Claims) { c.JTI = "another" }))
		require.NoError(t, err)
		return static(out)
	}
	_, err := assumeNext(t, server, first(), nil)
	require.Error(t, err)
	out, err := assumeNext(t, server, first(), nil)
	require.NoError(t, err)
	assert.WithinDuration(t, time.Now().Add(time.Minute), *out.Credentials.Expiration, 10*time.Second)
	out, err = assumeNext(t, server, first(), nil)
	require.NoError(t, err)
	assert.Empty(t, *out.Credentials.SecretAccessKey)
	_, err = assumeNext(t, server, first(), nil)
	assert.Error(t, err, "half an answer")
}
