// Package deployment is what the environment says of the Vercel deployment that
// the process is part of. See
// https://vercel.com/docs/environment-variables/system-environment-variables.
package deployment

import (
	"cmp"
	"fmt"
	"os"

	"github.com/vercelaws/vercelaws/internal/scrub"
)

// Variable is the environment variable by which this process is known to run in
// a deployment or a build, "" if it is on a developer's machine. VERCEL does not
// tell: `vercel dev` sets it, and `vercel env pull` writes it to .env.local.
func Variable() string {
	if os.Getenv("AWS_LAMBDA_FUNCTION_NAME") != "" {
		return "AWS_LAMBDA_FUNCTION_NAME"
	}
	if env := os.Getenv("VERCEL_ENV"); env != "" && env != "development" {
		return "VERCEL_ENV"
	}
	return ""
}

// Project is the deployment's project ID, prj_…, or "" if it is not known.
func Project() string { return os.Getenv("VERCEL_PROJECT_ID") }

// Environment is the deployment's environment, also a custom one's name, or "" if
// it is not known.
func Environment() string { return cmp.Or(os.Getenv("VERCEL_TARGET_ENV"), os.Getenv("VERCEL_ENV")) }

// Foreign says why a token that came with a request is not of this deployment,
// or nil. Vercel gives a deployment's requests tokens of its own project and
// environment alone, and @vercel/oidc's verifyVercelOidcToken relies on the same
// equality. Outside a deployment, and for what is not known of it, every token
// passes.
func Foreign(project, environment string) error {
	if Variable() == "" {
		return nil
	}
	if own := Project(); own != "" && own != project {
		return fmt.Errorf("the token is of the project %s, and this deployment is of %s (VERCEL_PROJECT_ID)", quote(project), quote(own))
	}
	if own := Environment(); own != "" && own != environment {
		return fmt.Errorf("the token is of the environment %s, and this deployment is of %s (VERCEL_TARGET_ENV or VERCEL_ENV)", quote(environment), quote(own))
	}
	return nil
}

func quote(s string) string { return scrub.Quote(s, 200) }
