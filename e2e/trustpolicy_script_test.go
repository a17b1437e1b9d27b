package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fakeIAM is an account's IAM and STS, as far as the script of trust-policy
// uses them. See https://docs.aws.amazon.com/IAM/latest/APIReference/.
type fakeIAM struct {
	account string

	mu        sync.Mutex
	calls     []string            // the operations that change something
	providers map[string][]string // ARN to client IDs
	roles     map[string]string   // name to trust policy
}

// list returns the values of a list in AWS's query protocol.
func list(form url.Values, name string) (values []string) {
	for i := 1; form.Has(fmt.Sprintf("%s.member.%d", name, i)); i++ {
		values = append(values, form.Get(fmt.Sprintf("%s.member.%d", name, i)))
	}
	return values
}

func (f *fakeIAM) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = r.ParseForm()
	operation := r.PostForm.Get("Action")
	arn, role := r.PostForm.Get("OpenIDConnectProviderArn"), r.PostForm.Get("RoleName")
	_, hasProvider := f.providers[arn]
	_, hasRole := f.roles[role]
	if !strings.HasPrefix(operation, "Get") {
		f.calls = append(f.calls, operation)
	}
	fail := func(code string) {
		w.WriteHeader(http.StatusConflict)
		fmt.Fprintf(w, `<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>no</Message></Error></ErrorResponse>`, code)
	}
	answer := func(result string) {
		fmt.Fprintf(w, `<%[1]sResponse><%[1]sResult>%[2]s</%[1]sResult></%[1]sResponse>`, operation, result)
	}
	describe := func() {
		answer(fmt.Sprintf(`<Role><RoleName>%s</RoleName><Arn>arn:aws:iam::%s:role/%s</Arn><Path>/</Path><RoleId>AROAEXAMPLE</RoleId><CreateDate>2026-01-01T00:00:00Z</CreateDate><AssumeRolePolicyDocument>%s</AssumeRolePolicyDocument></Role>`,
			role, f.account, role, url.QueryEscape(f.roles[role])))
	}
	switch operation {
	case "GetCallerIdentity":
		answer("<Account>" + f.account + "</Account>")
	case "GetOpenIDConnectProvider":
		if !hasProvider {
			fail("NoSuchEntity")
			return
		}
		answer("")
	case "CreateOpenIDConnectProvider":
		arn = providerARN(r.PostForm.Get("Url"))
		if _, ok := f.providers[arn]; ok {
			fail("EntityAlreadyExists")
			return
		}
		f.providers[arn] = list(r.PostForm, "ClientIDList")
		answer("<OpenIDConnectProviderArn>" + arn + "</OpenIDConnectProviderArn>")
	case "AddClientIDToOpenIDConnectProvider":
		if id := r.PostForm.Get("ClientID"); !slices.Contains(f.providers[arn], id) {
			f.providers[arn] = append(f.providers[arn], id)
		}
		answer("")
	case "GetRole":
		if !hasRole {
			fail("NoSuchEntity")
			return
		}
		describe()
	case "CreateRole":
		if hasRole {
			fail("EntityAlreadyExists")
			return
		}
		f.roles[role] = r.PostForm.Get("AssumeRolePolicyDocument")
		describe()
	case "UpdateAssumeRolePolicy":
		f.roles[role] = r.PostForm.Get("PolicyDocument")
		answer("")
	default:
		fail("InvalidAction")
	}
}

// The script does the same with each AWS CLI on this machine, and can be run
// again: for a new account, for one that has all, and for one that has a
// provider with another audience and a role with another policy. In another
// account it does nothing.
func TestScriptOnTheAWSCLI(t *testing.T) {
	command, err := buildCommand()
	require.NoError(t, err)
	sh, err := exec.LookPath("sh")
	require.NoError(t, err)
	for version, program := range awsPrograms(t) {
		for _, name := range []string{"an audience of hostile characters"} { // each takes some 30 runs of the CLI, half a minute
			test := formatCases[name]
			t.Run(version+", "+name, func(t *testing.T) {
				args := append([]string{"trust-policy", "--account", "123456789012"}, test.args...)
				script := runCommand(t, nil, command, append(args, "--format", "aws-cli")...)
				policy := runCommand(t, nil, command, args...)
				iam := &fakeIAM{account: "123456789012", providers: map[string][]string{}, roles: map[string]string{}}
				server := httptest.NewServer(iam)
				defer server.Close()
				iam.mu.Lock() // but for while the script runs
				defer iam.mu.Unlock()
				runScript := scriptRunner(t, sh, program, server.URL, script)
				run := func() (string, error) {
					iam.mu.Unlock()
					defer iam.mu.Lock()
					return runScript()
				}

				want := map[string][]string{}
				for url, audiences := range test.want.providers {
					want[providerARN(url)] = audiences
				}
				for range 2 {
					out, err := run()
					if err != nil && strings.Contains(out, "ThumbprintList") {
						t.Logf("%s is of before June 2024, when IAM began to do without a thumbprint: the provider is made without it", version)
						for arn, audiences := range want {
							iam.providers[arn] = slices.Clone(audiences)
						}
						out, err = run()
					}
					require.NoError(t, err, out)
					assert.Contains(t, out, "arn:aws:iam::123456789012:role/"+test.want.roleName)
					assert.Equal(t, want, iam.providers)
					require.Contains(t, iam.roles, test.want.roleName)
					assert.JSONEq(t, policy, iam.roles[test.want.roleName])
				}
				assert.Len(t, iam.roles, 1)

				for arn, audiences := range want {
					iam.providers[arn] = []string{"other"}
					want[arn] = append([]string{"other"}, audiences...)
				}
				iam.roles[test.want.roleName] = `{"Version": "2012-10-17", "Statement": []}`
				out, err := run()
				require.NoError(t, err, out)
				assert.Equal(t, want, iam.providers)
				assert.JSONEq(t, policy, iam.roles[test.want.roleName])
				assert.Contains(t, out, "this trust policy of it is replaced", "the old one is shown")

				iam.account, iam.calls = "999999999999", nil
				out, err = run()
				assert.Error(t, err)
				assert.Contains(t, out, "999999999999")
				assert.Empty(t, iam.calls, "nothing is changed in another account")
			})
		}
	}
}

// scriptRunner returns a function that runs the script with an AWS CLI that is
// led to a server on loopback. Debian's is older than AWS_ENDPOINT_URL, so it is
// told by a flag.
func scriptRunner(t *testing.T, sh, program, endpoint, script string) func() (string, error) {
	folder := t.TempDir()
	file := filepath.Join(folder, "script")
	require.NoError(t, os.WriteFile(file, []byte(script), 0o600))
	bin := filepath.Join(folder, "bin")
	require.NoError(t, os.Mkdir(bin, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(bin, "aws"), []byte("#!/bin/sh\nexec "+program+" --endpoint-url "+endpoint+" \"$@\"\n"), 0o700))
	return func() (string, error) {
		run := exec.CommandContext(t.Context(), sh, file)
		run.Dir = folder
		run.Env = []string{
			"PATH=" + bin + string(os.PathListSeparator) + os.Getenv("PATH"), "HOME=" + folder,
			"AWS_ACCESS_KEY_ID=AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY=example", "AWS_REGION=us-east-1", "AWS_DEFAULT_REGION=us-east-1",
			"AWS_CONFIG_FILE=" + os.DevNull, "AWS_SHARED_CREDENTIALS_FILE=" + os.DevNull, "AWS_EC2_METADATA_DISABLED=true",
		}
		out, err := run.CombinedOutput()
		assert.NoFileExists(t, filepath.Join(folder, "pwned"))
		return string(out), err
	}
}
