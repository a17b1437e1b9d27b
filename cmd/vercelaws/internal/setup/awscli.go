package setup

import (
	"fmt"
	"strings"

	"github.com/vercelaws/vercelaws/cmd/vercelaws/internal/shell"
)

// awsCLI writes a shell script for the AWS CLI, version 1 or 2, that can be run
// again. It stops where the account is another one. What exists already is
// brought up to date: a provider, of which an account has one for each URL, gets
// the audiences, and a role the trust policy.
func (s Setup) awsCLI() string {
	var b strings.Builder
	fmt.Fprintf(&b, `#!/bin/sh
set -eu
export AWS_PAGER= # version 2 would stop at each answer

account=$(aws sts get-caller-identity --query Account --output text)
if [ "$account" != %[1]s ]; then
  echo "these are credentials of the account $account, and this is for %[1]s" >&2
  exit 1
fi

# missing COMMAND... is true where AWS says that there is no such thing. Any
# other failure ends the script.
missing() {
  if answer=$("$@" 2>&1); then return 1; fi
  case $answer in *NoSuchEntity*) return 0 ;; esac
  printf '%%s\n' "$answer" >&2
  exit 1
}
`, s.AccountID)
	for _, p := range s.Providers {
		fmt.Fprintf(&b, "\nif missing %s; then\n", shell.AWSIAM("get-open-id-connect-provider", map[string]any{"OpenIDConnectProviderArn": p.ARN}))
		fmt.Fprintf(&b, "  %s\n", shell.AWSIAM("create-open-id-connect-provider", map[string]any{"Url": p.URL, "ClientIDList": p.Audiences}))
		b.WriteString("else\n")
		for _, audience := range p.Audiences {
			fmt.Fprintf(&b, "  %s\n", shell.AWSIAM("add-client-id-to-open-id-connect-provider", map[string]any{"OpenIDConnectProviderArn": p.ARN, "ClientID": audience}))
		}
		b.WriteString("fi\n")
	}
	role := map[string]any{"RoleName": s.RoleName}
	fmt.Fprintf(&b, "\npolicy=%s\n", shell.Word(s.Policy.String()))
	fmt.Fprintf(&b, "if missing %s; then\n", shell.AWSIAM("get-role", role))
	fmt.Fprintf(&b, "  %s --assume-role-policy-document \"$policy\"\n", shell.AWSIAM("create-role", role))
	b.WriteString("else\n")
	b.WriteString("  echo 'the role exists; this trust policy of it is replaced:' >&2\n")
	fmt.Fprintf(&b, "  %s --query Role.AssumeRolePolicyDocument --output json >&2\n", shell.AWSIAM("get-role", role))
	fmt.Fprintf(&b, "  %s --policy-document \"$policy\"\n", shell.AWSIAM("update-assume-role-policy", role))
	fmt.Fprintf(&b, "fi\n%s --query Role.Arn --output text\n", shell.AWSIAM("get-role", role))
	return b.String()
}
