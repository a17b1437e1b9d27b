package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/examples/guides/internal/loopback"
	"github.com/vercelaws/vercelaws/oidc"
)

func TestTheVariableDecides(t *testing.T) {
	a := loopback.Start(t, http.NotFoundHandler())
	// The profile of a developer's machine: keys of another role.
	const developer = "arn:aws:iam::123456789012:role/developer"
	a.AddRole(t, developer)
	keys, err := vercelaws.NewProvider(developer).Retrieve(oidc.ContextWithToken(t.Context(), a.Issuer.Mint()))
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "credentials")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, "[default]\naws_access_key_id=%s\naws_secret_access_key=%s\naws_session_token=%s\n",
		keys.AccessKeyID, keys.SecretAccessKey, keys.SessionToken), 0o600))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
	t.Setenv("VERCEL_OIDC_TOKEN", a.Issuer.Mint())

	who, err := whoAmI(t.Context())
	require.NoError(t, err)
	assert.Contains(t, who, "assumed-role/web/")

	a.STS.RemoveRole(loopback.RoleARN)
	_, err = whoAmI(t.Context())
	var refused *vercelaws.AssumeRoleError
	require.ErrorAs(t, err, &refused, "a broken role is not hidden by the profile")

	t.Setenv("AWS_ROLE_ARN", "")
	who, err = whoAmI(t.Context())
	require.NoError(t, err)
	assert.Contains(t, who, "assumed-role/developer/")
}
