package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/awslabs/goformation/v7"
	"github.com/awslabs/goformation/v7/intrinsics"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// awsSide is what a format sets up in an AWS account.
type awsSide struct {
	providers map[string][]string // URL to audiences
	roleName  string
	policy    string // JSON
}

// formatCases are command lines of trust-policy, and what they should set up.
// The policy is what the format json prints.
var formatCases = map[string]struct {
	args []string
	want awsSide
}{
	"one environment": {
		[]string{"--team", "acme", "--project", "web", "--environment", "production"},
		awsSide{providers: map[string][]string{"https://oidc.vercel.com/acme": {"https://vercel.com/acme"}}, roleName: "vercel-web"},
	},
	"a renamed team": {
		[]string{"--team", "acme,acme-inc", "--project", "web", "--environment", "*", "--role-name", "web"},
		awsSide{providers: map[string][]string{
			"https://oidc.vercel.com/acme":     {"https://vercel.com/acme"},
			"https://oidc.vercel.com/acme-inc": {"https://vercel.com/acme-inc"},
		}, roleName: "web"},
	},
	"global issuer": {
		[]string{"--global", "--team", "acme", "--team", "acme-inc", "--project", "web,site", "--environment", "preview"},
		awsSide{providers: map[string][]string{"https://oidc.vercel.com": {"https://vercel.com/acme", "https://vercel.com/acme-inc"}}, roleName: "vercel-web"},
	},
	"an audience of hostile characters": {
		[]string{"--team", "acme", "--project", "web", "--environment", "production", "--audience", `https://x/%{if}';<&>\`},
		awsSide{providers: map[string][]string{"https://oidc.vercel.com/acme": {`https://x/%{if}';<&>\`}}, roleName: "vercel-web"},
	},
}

func TestTrustPolicyFormats(t *testing.T) {
	command, err := buildCommand()
	require.NoError(t, err)
	for name, test := range formatCases {
		print := func(format string, more ...string) string {
			args := append([]string{"trust-policy", "--account", "123456789012", "--format", format}, more...)
			return runCommand(t, nil, command, append(args, test.args...)...)
		}
		want := test.want
		want.policy = print("json")
		for format, read := range map[string]func(*testing.T, string) awsSide{"terraform": readTerraform, "cloudformation": readCloudFormation} {
			t.Run(format+", "+name, func(t *testing.T) {
				got := read(t, print(format))
				assert.JSONEq(t, want.policy, got.policy)
				got.policy = want.policy
				assert.Equal(t, want, got)
			})
			t.Run(format+" with an existing provider, "+name, func(t *testing.T) {
				got := read(t, print(format, "--existing-provider"))
				assert.JSONEq(t, want.policy, got.policy)
				assert.Empty(t, got.providers, "none is made")
				assert.Equal(t, want.roleName, got.roleName)
			})
		}
		for _, more := range [][]string{nil, {"--existing-provider"}} {
			t.Run(fmt.Sprint("terraform fmt, ", name, more), func(t *testing.T) { checkFormatted(t, print("terraform", more...)) })
		}
	}
}

// checkFormatted checks that terraform fmt would change nothing: the formatter
// that it is made of, and the program itself where there is one.
func checkFormatted(t *testing.T, config string) {
	assert.Equal(t, string(hclwrite.Format([]byte(config))), config)
	terraform, err := exec.LookPath("terraform")
	if err != nil {
		return
	}
	check := exec.CommandContext(t.Context(), terraform, "fmt", "-check", "-diff", "-")
	check.Env = append(os.Environ(), "TF_CLI_CONFIG_FILE="+os.DevNull, "CHECKPOINT_DISABLE=1")
	check.Stdin = strings.NewReader(config)
	out, err := check.CombinedOutput()
	assert.NoError(t, err, string(out))
}

// providerARN is what AWS calls the provider with a URL.
func providerARN(url string) string {
	return "arn:aws:iam::123456789012:oidc-provider/" + strings.TrimPrefix(url, "https://")
}

// readTerraform evaluates a configuration as Terraform does: the providers
// first, then the role that refers to them.
func readTerraform(t *testing.T, config string) awsSide {
	file, diagnostics := hclsyntax.ParseConfig([]byte(config), "main.tf", hcl.InitialPos)
	require.False(t, diagnostics.HasErrors(), diagnostics.Error())
	got := awsSide{providers: map[string][]string{}}
	arns, existing := map[string]cty.Value{}, map[string]cty.Value{}
	evaluate := func(block *hclsyntax.Block, attribute string, context *hcl.EvalContext) cty.Value {
		require.Contains(t, block.Body.Attributes, attribute)
		value, diagnostics := block.Body.Attributes[attribute].Expr.Value(context)
		require.False(t, diagnostics.HasErrors(), diagnostics.Error())
		return value
	}
	var role *hclsyntax.Block
	for _, block := range file.Body.(*hclsyntax.Body).Blocks {
		switch {
		case block.Type == "output":
		case block.Type == "data" && block.Labels[0] == "aws_iam_openid_connect_provider":
			existing[block.Labels[1]] = cty.ObjectVal(map[string]cty.Value{"arn": cty.StringVal(providerARN(evaluate(block, "url", nil).AsString()))})
		case block.Labels[0] == "aws_iam_openid_connect_provider":
			url := evaluate(block, "url", nil).AsString()
			arns[block.Labels[1]] = cty.ObjectVal(map[string]cty.Value{"arn": cty.StringVal(providerARN(url))})
			for _, audience := range evaluate(block, "client_id_list", nil).AsValueSlice() {
				got.providers[url] = append(got.providers[url], audience.AsString())
			}
		case block.Labels[0] == "aws_iam_role":
			require.Nil(t, role)
			role = block
		default:
			t.Errorf("unexpected block %s %q", block.Type, block.Labels)
		}
	}
	require.NotNil(t, role)
	got.roleName = evaluate(role, "name", nil).AsString()
	got.policy = evaluate(role, "assume_role_policy", &hcl.EvalContext{
		Variables: map[string]cty.Value{
			"aws_iam_openid_connect_provider": cty.ObjectVal(arns),
			"data":                            cty.ObjectVal(map[string]cty.Value{"aws_iam_openid_connect_provider": cty.ObjectVal(existing)}),
		},
		Functions: map[string]function.Function{"jsonencode": stdlib.JSONEncodeFunc},
	}).AsString()
	return got
}

// readCloudFormation reads a template into the types of CloudFormation's
// resource specification, with the references resolved.
func readCloudFormation(t *testing.T, template string) awsSide {
	plain, err := goformation.ParseJSON([]byte(template))
	require.NoError(t, err)
	got := awsSide{providers: map[string][]string{}}
	arns := map[string]string{}
	for name, p := range plain.GetAllIAMOIDCProviderResources() {
		require.NotNil(t, p.Url)
		arns[name] = providerARN(*p.Url)
		got.providers[*p.Url] = p.ClientIdList
	}
	resolved, err := goformation.ParseJSONWithOptions([]byte(template), &intrinsics.ProcessorOptions{
		IntrinsicHandlerOverrides: map[string]intrinsics.IntrinsicHandler{
			"Ref": func(_ string, name, _ any) any { return arns[name.(string)] },
		},
	})
	require.NoError(t, err)
	roles := resolved.GetAllIAMRoleResources()
	require.Len(t, roles, 1)
	require.Len(t, resolved.Resources, len(arns)+1)
	for _, role := range roles {
		require.NotNil(t, role.RoleName)
		got.roleName = *role.RoleName
		policy, err := json.Marshal(role.AssumeRolePolicyDocument)
		require.NoError(t, err)
		got.policy = string(policy)
	}
	return got
}
