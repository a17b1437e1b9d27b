package setup

import (
	"fmt"
	"strings"
)

// awsCLI writes a shell script for the AWS CLI. A provider that is already
// there, which an account can have once for each URL, only gets the audiences.
// See https://docs.aws.amazon.com/cli/latest/reference/iam/create-open-id-connect-provider.html.
func (s Setup) awsCLI() string {
	var b strings.Builder
	b.WriteString("#!/bin/sh\nset -eu\n\n")
	for _, p := range s.Providers {
		fmt.Fprintf(&b, "provider=%s\n", shellWord(p.ARN))
		b.WriteString("if aws iam get-open-id-connect-provider --open-id-connect-provider-arn \"$provider\" >/dev/null 2>&1; then\n")
		var audiences []string
		for _, audience := range p.Audiences {
			audiences = append(audiences, shellWord(audience))
			fmt.Fprintf(&b, "  aws iam add-client-id-to-open-id-connect-provider --open-id-connect-provider-arn \"$provider\" --client-id %s\n", shellWord(audience))
		}
		fmt.Fprintf(&b, "else\n  aws iam create-open-id-connect-provider --url %s --client-id-list %s\nfi\n\n", shellWord(p.URL), strings.Join(audiences, " "))
	}
	fmt.Fprintf(&b, "aws iam create-role --role-name %s --assume-role-policy-document %s\n", shellWord(s.RoleName), shellWord(s.Policy.String()))
	return b.String()
}

// shellWord quotes a word so that a POSIX shell takes it as it is.
func shellWord(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
