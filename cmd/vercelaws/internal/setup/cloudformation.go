package setup

import (
	"encoding/json"
	"strings"
)

// template is a CloudFormation template. See
// https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-iam-oidcprovider.html.
type template struct {
	FormatVersion string `json:"AWSTemplateFormatVersion"`
	Description   string
	Resources     map[string]resource
	Outputs       map[string]output
}

type resource struct {
	Type       string
	Properties any
}

type providerProperties struct {
	URL          string   `json:"Url"`
	ClientIDList []string `json:"ClientIdList"`
}

type roleProperties struct {
	RoleName                 string
	AssumeRolePolicyDocument json.RawMessage
}

type output struct {
	Value map[string][]string
}

// cloudFormation writes a template in JSON, of which YAML is a superset. A
// provider that exists is named by its ARN.
func (s Setup) cloudFormation() string {
	t := template{
		FormatVersion: "2010-09-09",
		Description:   "A role for a Vercel project",
		Resources:     map[string]resource{},
		Outputs:       map[string]output{"RoleArn": {map[string][]string{"Fn::GetAtt": {"VercelRole", "Arn"}}}},
	}
	policy := s.Policy.String()
	for i, p := range s.Providers {
		if s.ProviderExists {
			break
		}
		name := numbered("VercelProvider", i)
		t.Resources[name] = resource{"AWS::IAM::OIDCProvider", providerProperties{p.URL, p.Audiences}}
		// The reference has CloudFormation make the provider first.
		policy = strings.ReplaceAll(policy, mustJSON(p.ARN), `{"Ref": `+mustJSON(name)+`}`)
	}
	t.Resources["VercelRole"] = resource{"AWS::IAM::Role", roleProperties{s.RoleName, json.RawMessage(policy)}}
	return mustJSON(t) + "\n"
}

func mustJSON(v any) string {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		panic(err) // only strings, lists and a policy that was marshalled before
	}
	return string(b)
}
