package setup

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/trustpolicy"
)

// specs are what the formats are tried with. The audience is as hostile as
// package trustpolicy lets it be.
var specs = map[string]trustpolicy.Spec{
	"strict":  {AccountID: "123456789012", Teams: []string{"acme"}, Projects: []string{"web"}, Environments: []string{"production"}},
	"global":  {AccountID: "123456789012", Global: true, Teams: []string{"acme", "acme-inc"}, Projects: []string{"web"}, Environments: []string{"production", "preview"}},
	"teams":   {AccountID: "123456789012", Partition: "aws-us-gov", Teams: []string{"acme", "acme-inc"}, Projects: []string{"*"}, Environments: []string{"production"}},
	"hostile": {AccountID: "123456789012", Teams: []string{"acme", "acme-inc"}, Projects: []string{"web"}, Environments: []string{"production"}, Audience: "https://x/';touch>pwned;'`id`%{if}<&>\\"},
}

func TestProviders(t *testing.T) {
	s, err := New(specs["teams"], "")
	require.NoError(t, err)
	assert.Equal(t, []Provider{
		{"arn:aws-us-gov:iam::123456789012:oidc-provider/oidc.vercel.com/acme", "https://oidc.vercel.com/acme", []string{"https://vercel.com/acme"}},
		{"arn:aws-us-gov:iam::123456789012:oidc-provider/oidc.vercel.com/acme-inc", "https://oidc.vercel.com/acme-inc", []string{"https://vercel.com/acme-inc"}},
	}, s.Providers)
	assert.Equal(t, "vercel-acme", s.RoleName)

	s, err = New(specs["global"], "mine")
	require.NoError(t, err)
	assert.Equal(t, []Provider{
		{"arn:aws:iam::123456789012:oidc-provider/oidc.vercel.com", "https://oidc.vercel.com", []string{"https://vercel.com/acme", "https://vercel.com/acme-inc"}},
	}, s.Providers)
	assert.Equal(t, "mine", s.RoleName)
}

func TestRoleName(t *testing.T) {
	spec := specs["strict"]
	for _, name := range []string{"a b", "a/b", "ä", "$(id)", strings.Repeat("a", 65)} {
		_, err := New(spec, name)
		assert.ErrorContains(t, err, "role name", name)
	}
	spec.Projects = []string{strings.Repeat("p", 100)}
	s, err := New(spec, "")
	require.NoError(t, err)
	assert.Len(t, s.RoleName, 64)
}

// The template is one that CloudFormation's own model reads; the parsers of
// that and of Terraform are heavy, and are in the module e2e.
func TestCloudFormation(t *testing.T) {
	for name, spec := range each(t) {
		t.Run(name, func(t *testing.T) {
			var template struct {
				Resources map[string]struct {
					Type       string
					Properties struct {
						URL                      string   `json:"Url"`
						ClientIDList             []string `json:"ClientIdList"`
						RoleName                 string
						AssumeRolePolicyDocument json.RawMessage
					}
				}
			}
			require.NoError(t, json.Unmarshal([]byte(spec.cloudFormation()), &template))
			require.Len(t, template.Resources, len(spec.Providers)+1)
			policy := string(template.Resources["VercelRole"].Properties.AssumeRolePolicyDocument)
			arns := map[string]string{}
			for i, p := range spec.Providers {
				label := numbered("VercelProvider", i)
				assert.Equal(t, "AWS::IAM::OIDCProvider", template.Resources[label].Type)
				assert.Equal(t, p.URL, template.Resources[label].Properties.URL)
				assert.Equal(t, p.Audiences, template.Resources[label].Properties.ClientIDList)
				assert.Contains(t, policy, `"Ref": "`+label+`"`)
				assert.NotContains(t, policy, p.ARN+`"`)
				arns[label] = p.ARN
			}
			var document map[string]any
			require.NoError(t, json.Unmarshal([]byte(policy), &document))
			resolve(document, arns)
			resolved, err := json.Marshal(document)
			require.NoError(t, err)
			assert.JSONEq(t, spec.Policy.String(), string(resolved))
		})
	}
}

// resolve replaces references by what they refer to.
func resolve(v map[string]any, values map[string]string) {
	for key, field := range v {
		switch field := field.(type) {
		case map[string]any:
			if name, ok := field["Ref"].(string); ok && values[name] != "" {
				v[key] = values[name]
				continue
			}
			resolve(field, values)
		case []any:
			for _, item := range field {
				if item, ok := item.(map[string]any); ok {
					resolve(item, values)
				}
			}
		}
	}
}

// The script is run with an aws that records its arguments: each must arrive
// whole, whatever is in it.
func TestAWSCLI(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil || runtime.GOOS == "windows" { // a port of sh there reads arguments its own way
		t.Skip("there is no POSIX shell")
	}
	for name, spec := range each(t) {
		for what, get := range map[string]string{
			"nothing there":    "echo 'An error occurred (NoSuchEntity) when calling' >&2; exit 254",
			"everything there": "exit 0",
			"denied":           "echo 'An error occurred (AccessDenied) when calling' >&2; exit 254",
			"another account":  "exit 0",
		} {
			t.Run(name+", "+what, func(t *testing.T) {
				folder := t.TempDir()
				script := filepath.Join(folder, "script")
				require.NoError(t, os.WriteFile(script, []byte(spec.awsCLI()), 0o600))
				account := spec.AccountID
				if what == "another account" {
					account = "999999999999"
				}
				fake := "#!/bin/sh\ncase $2 in get-caller-identity) echo " + account + "; exit ;; get-*) " + get + " ;; esac\n" +
					"printf '%s\\0' \"$@\" >>\"$RECORD\"\nprintf '\\n\\0' >>\"$RECORD\"\n"
				require.NoError(t, os.WriteFile(filepath.Join(folder, "aws"), []byte(fake), 0o700))
				run := exec.Command(sh, script)
				run.Dir = folder
				record := filepath.Join(folder, "record")
				run.Env = append(os.Environ(), "PATH="+folder+string(os.PathListSeparator)+os.Getenv("PATH"), "RECORD="+record)
				out, err := run.CombinedOutput()
				assert.NoFileExists(t, filepath.Join(folder, "pwned"))
				switch what {
				case "denied":
					assert.Error(t, err)
					assert.Contains(t, string(out), "AccessDenied")
					assert.NoFileExists(t, record, "nothing is made where AWS does not say what there is")
				case "another account":
					assert.Error(t, err)
					assert.Contains(t, string(out), "999999999999")
					assert.NoFileExists(t, record)
				case "nothing there":
					// The script ends in a get of what it has made.
					recorded, err := os.ReadFile(record)
					require.NoError(t, err)
					assert.Equal(t, awsCalls(spec, false), string(recorded))
				default:
					require.NoError(t, err, string(out))
					recorded, err := os.ReadFile(record)
					require.NoError(t, err)
					assert.Equal(t, awsCalls(spec, true), string(recorded))
				}
			})
		}
	}
}

// awsCalls are the recorded calls that the script should make.
func awsCalls(s Setup, present bool) string {
	var b strings.Builder
	call := func(operation string, parameters map[string]any, more ...string) {
		text, err := json.Marshal(parameters)
		if err != nil {
			panic(err)
		}
		args := append([]string{"iam", operation, "--cli-input-json", string(text)}, more...)
		b.WriteString(strings.Join(append(args, "\n\x00"), "\x00"))
	}
	for _, p := range s.Providers {
		if !present {
			call("create-open-id-connect-provider", map[string]any{"Url": p.URL, "ClientIDList": p.Audiences})
			continue
		}
		for _, audience := range p.Audiences {
			call("add-client-id-to-open-id-connect-provider", map[string]any{"OpenIDConnectProviderArn": p.ARN, "ClientID": audience})
		}
	}
	role := map[string]any{"RoleName": s.RoleName}
	if present {
		call("update-assume-role-policy", role, "--policy-document", s.Policy.String())
	} else {
		call("create-role", role, "--assume-role-policy-document", s.Policy.String())
	}
	return b.String()
}

// What exists already is left to whoever made it.
func TestProviderExists(t *testing.T) {
	for name, s := range each(t) {
		s.ProviderExists = true
		assert.NotContains(t, s.cloudFormation(), "OIDCProvider", name)
		assert.NotContains(t, s.cloudFormation(), `"Ref"`, name)
		assert.NotContains(t, s.terraform(), `resource "aws_iam_openid_connect_provider"`, name)
		assert.Contains(t, s.terraform(), "data.aws_iam_openid_connect_provider.vercel.arn", name)
	}
}

// CloudFormation would put a secret of the account in the place of some texts.
func TestDynamicReferencesAreRefused(t *testing.T) {
	for _, audience := range []string{"{{resolve:secretsmanager:web}}", "https://x/{{resolve:ssm:a:1}}"} {
		spec := specs["strict"]
		spec.Audience = audience
		_, err := New(spec, "")
		assert.ErrorContains(t, err, "CloudFormation", audience)
	}
	spec := specs["strict"]
	spec.BaseIssuer = "https://x/{{resolve:ssm:a:1}}"
	_, err := New(spec, "")
	assert.ErrorContains(t, err, "issuer")
}

// A token's claims give the policy that admits it.
func TestSpecOf(t *testing.T) {
	for name, test := range map[string]struct {
		issuer, subject, audience string
		want                      trustpolicy.Spec
	}{
		"team":   {"https://oidc.vercel.com/acme", "owner:acme:project:web:environment:preview", "https://vercel.com/acme", trustpolicy.Spec{}},
		"global": {"https://oidc.vercel.com", "owner:acme:project:web:environment:preview", "https://vercel.com/acme", trustpolicy.Spec{Global: true}},
		"exchanged": {"https://oidc.vercel.com/acme", "owner:acme:project:web:environment:preview", "https://sts.amazonaws.com",
			trustpolicy.Spec{Audience: "https://sts.amazonaws.com"}},
		"test": {"http://127.0.0.1:1/acme", "owner:acme:project:web:environment:preview", "https://vercel.com/acme",
			trustpolicy.Spec{BaseIssuer: "http://127.0.0.1:1"}},
	} {
		t.Run(name, func(t *testing.T) {
			test.want.Teams, test.want.Projects, test.want.Environments = []string{"acme"}, []string{"web"}, []string{"preview"}
			spec, ok := SpecOf(test.issuer, test.subject, []string{test.audience})
			require.True(t, ok)
			assert.Equal(t, test.want, spec)

			spec.AccountID = "123456789012"
			policy, err := trustpolicy.Build(spec)
			require.NoError(t, err)
			assert.True(t, policy.Evaluate(trustpolicy.Request{
				ProviderARN: trustpolicy.ProviderARN("", "123456789012", test.issuer),
				Context:     trustpolicy.ConditionContext(test.issuer, test.subject, []string{test.audience}),
			}).Allowed())
		})
	}
	for _, subject := range []string{"", "repo:acme/web", "owner:acme", "owner:acme:project:web"} {
		_, ok := SpecOf("https://oidc.vercel.com/acme", subject, nil)
		assert.False(t, ok, subject)
	}
}

func each(t *testing.T) map[string]Setup {
	out := map[string]Setup{}
	for name, spec := range specs {
		s, err := New(spec, "")
		require.NoError(t, err)
		out[name] = s
	}
	return out
}
