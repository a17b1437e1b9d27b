package failure_test

import (
	"context"
	"errors"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/stretchr/testify/assert"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/cmd/vercelaws/internal/failure"
	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/oidc/oidctest"
)

// client is an STS client that fails.
type client struct{ err error }

func (c client) AssumeRoleWithWebIdentity(context.Context, *sts.AssumeRoleWithWebIdentityInput, ...func(*sts.Options)) (*sts.AssumeRoleWithWebIdentityOutput, error) {
	return nil, c.err
}

// What STS says reads the same here and in the library, but for the command's
// names of things.
func TestOf(t *testing.T) {
	issuer := oidctest.NewServer()
	defer issuer.Close()
	const role = "arn:aws:iam::123456789012:role/web"
	code := func(code, message string) error { return &smithy.GenericAPIError{Code: code, Message: message} }
	for name, test := range map[string]struct {
		role        string
		err         error
		words, todo string
		refused     bool
	}{
		"refused":      {role, code("AccessDenied", "no"), `STS refuses: AccessDenied, "no"`, "vercelaws doctor --help", true},
		"keys":         {role, code("InvalidIdentityToken", "Couldn't retrieve verification key from your identity provider"), "STS fails: InvalidIdentityToken", "try again", false},
		"throttled":    {role, code("Throttling", "slow"), "STS fails: Throttling", "try again", false},
		"a region":     {role, code("RegionDisabledException", "off"), "STS refuses: RegionDisabledException", "--fallback-region", true},
		"a parameter":  {role, code("ValidationError", "bad"), "STS refuses: ValidationError", "--session-name", true},
		"MinIO":        {role, code("InvalidParameterValue", "no such role"), `STS refuses: InvalidParameterValue, "no such role"`, "the message of STS says", true},
		"no answer":    {role, errors.New("no route"), "STS does not answer as it should", "AWS_ENDPOINT_URL_STS", false},
		"a bad role":   {"web", nil, `the role ARN "web" does not begin with`, "", false},
		"without role": {"", nil, "give --role-arn", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			p := vercelaws.NewProvider(test.role, func(o *vercelaws.Options) { o.Client = client{test.err} })
			_, err := p.Retrieve(oidc.ContextWithToken(t.Context(), issuer.Mint()))
			f := failure.Of(err)
			assert.Contains(t, f.Words, test.words)
			assert.Contains(t, f.ToDo, test.todo)
			assert.Equal(t, test.refused, f.Refused)
			assert.NotContains(t, f.Error(), "Options.")
		})
	}
}
