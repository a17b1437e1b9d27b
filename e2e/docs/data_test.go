package docs

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/trustpolicy"
)

// TestPolicies reads every JSON block as the trust policy that it is, or is a
// part of, and has it admit a production token of the project web and no
// development token.
func TestPolicies(t *testing.T) {
	for _, b := range blocksOf(t, "json") {
		text := b.text
		for _, part := range []struct{ begins, before, after string }{
			{`"StringEquals"`, `"Condition": {`, "}"},
			{`"Condition"`, `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity",
				"Principal": {"Federated": "arn:aws:iam::123456789012:oidc-provider/oidc.vercel.com/acme"},`, "}]}"},
		} {
			if strings.HasPrefix(text, part.begins) {
				text = part.before + text + part.after
			}
		}
		require.True(t, json.Valid([]byte(text)), b.at())
		document, err := trustpolicy.Parse([]byte(text))
		require.NoError(t, err, b.at())
		for _, warning := range document.Warnings() {
			assert.LessOrEqual(t, warning.Severity, trustpolicy.Medium, "%s: %v", b.at(), warning)
		}
		audience := "https://vercel.com/acme"
		if strings.Contains(text, "https://sts.amazonaws.com") {
			audience = "https://sts.amazonaws.com"
		}
		for environment, allowed := range map[string]bool{"production": true, "development": false} {
			issuer := trustpolicy.TeamIssuer("acme")
			keys := trustpolicy.ConditionContext(issuer, trustpolicy.Subject("acme", "web", environment), []string{audience})
			keys["sts:RoleSessionName"] = []string{"customer-7f3a"} // of the guides
			result := document.Evaluate(trustpolicy.Request{
				ProviderARN: trustpolicy.ProviderARN("", "123456789012", issuer),
				Context:     keys,
			})
			assert.Equal(t, allowed, result.Allowed(), "%s, %s: %s", b.at(), environment, result)
		}
	}
}

// TestProfiles has the SDK read every ini block as the shared config file.
func TestProfiles(t *testing.T) {
	for _, b := range blocksOf(t, "ini") {
		path := filepath.Join(t.TempDir(), "config")
		require.NoError(t, os.WriteFile(path, []byte(b.text), 0o600))
		profile, err := config.LoadSharedConfigProfile(t.Context(), "vercel", func(o *config.LoadSharedConfigOptions) {
			o.ConfigFiles, o.CredentialsFiles = []string{path}, []string{}
		})
		require.NoError(t, err, b.at())
		assert.NotEmpty(t, profile.Region, b.at())
		assert.True(t, strings.HasPrefix(profile.CredentialProcess, "vercelaws credential-process --role-arn arn:"), b.at())
	}
}
