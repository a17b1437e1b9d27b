package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/oidc/oidctest"
	"github.com/vercelaws/vercelaws/ststest"
)

// awsProgram returns the AWS CLI. make awscli installs it.
func awsProgram(t *testing.T) string {
	path, err := exec.LookPath("aws")
	if err != nil {
		t.Skip("the AWS CLI is not installed, so credential-process is not tried with it: run make awscli")
	}
	return path
}

// profile writes a config file whose profile web gets its credentials from the
// command, and returns the variables that lead a tool there.
func profile(t *testing.T, roleARN, token, stsURL string) []string {
	command, err := buildCommand()
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "config")
	require.NoError(t, os.WriteFile(file, []byte("[profile web]\nregion = us-east-1\ncredential_process = "+command+" credential-process --role-arn "+roleARN+"\n"), 0o600))
	return []string{
		"AWS_CONFIG_FILE=" + file,
		"AWS_SHARED_CREDENTIALS_FILE=" + os.DevNull,
		"AWS_PROFILE=web",
		"AWS_ENDPOINT_URL_STS=" + stsURL,
		"VERCEL_OIDC_TOKEN=" + token,
	}
}

// The AWS CLI gets its credentials from credential-process, and AWS takes it
// for the deployment.
func TestAWSCLIThroughCredentialProcess(t *testing.T) {
	aws := awsProgram(t)
	const roleARN = "arn:aws:iam::" + ststest.Account + ":role/web"
	server := startSTS(t, "development", []string{roleARN})
	token := issuer.Mint(func(c *oidctest.Claims) { c.Environment = "development" })

	// Debian's AWS CLI is older than AWS_ENDPOINT_URL_STS, so it is told.
	out := runCommand(t, profile(t, roleARN, token, server.URL), aws, "sts", "get-caller-identity", "--endpoint-url", server.URL, "--output", "json")
	var identity struct{ Account, Arn string }
	require.NoError(t, json.Unmarshal([]byte(out), &identity))
	assert.Equal(t, ststest.Account, identity.Account)
	assert.Equal(t, "arn:aws:sts::"+ststest.Account+":assumed-role/web/vercel-web-development", identity.Arn)
	assert.Equal(t, 1, server.Calls("AssumeRoleWithWebIdentity"))
}

// Twenty AWS CLIs at once, whose profile has --cache, ask STS once.
func TestAWSCLIsShareCredentials(t *testing.T) {
	aws := awsProgram(t)
	server := startSTS(t, "production", []string{servedRole})
	environ := append(profile(t, servedRole+" --cache", issuer.Mint(), server.URL), "HOME="+t.TempDir())
	var wg sync.WaitGroup
	for range 20 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			out := runCommand(t, environ, aws, "sts", "get-caller-identity", "--endpoint-url", server.URL, "--query", "Arn", "--output", "text")
			assert.Equal(t, "arn:aws:sts::"+ststest.Account+":assumed-role/served/vercel-web-production\n", out)
		}()
	}
	wg.Wait()
	assert.Equal(t, 1, server.Calls("AssumeRoleWithWebIdentity"))
	assert.Equal(t, 20, server.Calls("GetCallerIdentity"))
}

// The AWS CLI lists the objects of a real S3, with credentials of a real STS:
// once through credential-process, once in exec's environment.
func TestAWSCLIListsObjects(t *testing.T) {
	aws := awsProgram(t)
	command, err := buildCommand()
	require.NoError(t, err)
	environ := profile(t, store.RoleARN, issuer.Mint(), store.URL)
	list := []string{"s3api", "list-objects-v2", "--bucket", photos, "--endpoint-url", store.URL, "--output", "json", "--query", "Contents[].Key"}

	for name, run := range map[string]func() string{
		"credential-process": func() string { return runCommand(t, environ, aws, list...) },
		"exec": func() string {
			args := append([]string{"exec", "--role-arn", store.RoleARN, "--", aws}, list...)
			return runCommand(t, append(environ, "AWS_REGION=us-east-1"), command, args...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			var keys []string
			require.NoError(t, json.Unmarshal([]byte(run()), &keys))
			assert.Equal(t, photoKeys, keys)
		})
	}
}
