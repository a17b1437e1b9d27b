package setup

import (
	"encoding/json"
	"fmt"
	"strings"
)

// terraform writes resources of Terraform's AWS provider, as terraform fmt has
// them. A provider that exists is a data source: Terraform reads it, and does
// not change it. See
// https://registry.terraform.io/providers/hashicorp/aws/latest/docs/resources/iam_openid_connect_provider.
func (s Setup) terraform() string {
	var b strings.Builder
	policy := jsonKey().ReplaceAllString(hclTemplate(s.Policy.String()), "$1 : ")
	for i, p := range s.Providers {
		label := numbered("vercel", i)
		reference := "aws_iam_openid_connect_provider." + label + ".arn"
		if s.ProviderExists {
			reference = "data." + reference
			fmt.Fprintf(&b, "data \"aws_iam_openid_connect_provider\" %q {\n  url = %s\n}\n\n", label, hclString(p.URL))
		} else {
			fmt.Fprintf(&b, "resource \"aws_iam_openid_connect_provider\" %q {\n  url            = %s\n  client_id_list = %s\n}\n\n",
				label, hclString(p.URL), hclList(p.Audiences))
		}
		// The reference has Terraform make the provider first.
		policy = strings.ReplaceAll(policy, hclString(p.ARN), reference)
	}
	fmt.Fprintf(&b, "resource \"aws_iam_role\" \"vercel\" {\n  name = %s\n\n  assume_role_policy = jsonencode(%s)\n}\n\n",
		hclString(s.RoleName), strings.ReplaceAll(policy, "\n", "\n  "))
	b.WriteString("output \"role_arn\" {\n  value = aws_iam_role.vercel.arn\n}\n")
	return b.String()
}

// jsonKey is a key with its colon, each at the start of a line. Terraform wants
// a space before the colon.
var jsonKey = whenUsed(`(?m)^( *"(?:[^"\\]|\\.)*"): `)

// hclString quotes a string for HCL: as in JSON, but with its template
// markers escaped.
func hclString(s string) string {
	quoted, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string always marshals
	}
	return hclTemplate(string(quoted))
}

func hclTemplate(s string) string {
	return strings.NewReplacer("${", "$${", "%{", "%%{").Replace(s)
}

func hclList(values []string) string {
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = hclString(v)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// numbered returns a resource's name: plain for the first, then with 2, 3, ...
func numbered(name string, i int) string {
	if i == 0 {
		return name
	}
	return fmt.Sprint(name, i+1)
}
