package trustpolicy_test

import (
	"fmt"

	"github.com/vercelaws/vercelaws/trustpolicy"
)

func ExampleBuild() {
	policy, err := trustpolicy.Build(trustpolicy.Spec{
		AccountID:    "123456789012",
		Teams:        []string{"acme"},
		Projects:     []string{"web"},
		Environments: []string{"production"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(policy)
	// Output:
	// {
	//   "Version": "2012-10-17",
	//   "Statement": [
	//     {
	//       "Action": "sts:AssumeRoleWithWebIdentity",
	//       "Condition": {
	//         "StringEquals": {
	//           "oidc.vercel.com/acme:aud": "https://vercel.com/acme",
	//           "oidc.vercel.com/acme:sub": "owner:acme:project:web:environment:production"
	//         }
	//       },
	//       "Effect": "Allow",
	//       "Principal": {
	//         "Federated": "arn:aws:iam::123456789012:oidc-provider/oidc.vercel.com/acme"
	//       }
	//     }
	//   ]
	// }
}

func ExampleDocument_Evaluate() {
	policy, err := trustpolicy.Build(trustpolicy.Spec{
		AccountID:    "123456789012",
		Teams:        []string{"acme"},
		Projects:     []string{"web"},
		Environments: []string{"production"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	issuer := trustpolicy.TeamIssuer("acme")
	fmt.Print(policy.Evaluate(trustpolicy.Request{
		ProviderARN: trustpolicy.ProviderARN("aws", "123456789012", issuer),
		Context:     trustpolicy.ConditionContext(issuer, trustpolicy.Subject("acme", "web", "preview"), []string{trustpolicy.Audience("acme")}),
	}))
	// Output:
	// not allowed
	// statement 1: Allow, does not apply
	//   held         Principal: arn:aws:iam::123456789012:oidc-provider/oidc.vercel.com/acme
	//   held         StringEquals oidc.vercel.com/acme:aud: https://vercel.com/acme
	//   not held     StringEquals oidc.vercel.com/acme:sub
	//                  wants  owner:acme:project:web:environment:production
	//                  has    owner:acme:project:web:environment:preview
	// to allow it: in statement 1, in StringEquals, add "owner:acme:project:web:environment:preview" to the values of "oidc.vercel.com/acme:sub" (another environment)
}
