// Package deployment reads the environment variables that describe the Vercel
// deployment of the process. See
// https://vercel.com/docs/environment-variables/system-environment-variables.
package deployment

import (
	"cmp"
	"fmt"
	"os"

	"github.com/vercelaws/vercelaws/internal/scrub"
)

// Variable returns the name of an environment variable that only a deployment or a
// build has, or "" on a developer's machine. VERCEL is not one of them: `vercel dev`
// sets it, and `vercel env pull` writes it to .env.local.
func Variable() string {
	if os.Getenv("AWS_LAMBDA_FUNCTION_NAME") != "" {
		return "AWS_LAMBDA_FUNCTION_NAME"
	}
	if env := os.Getenv("VERCEL_ENV"); env != "" && env != "development" {
		return "VERCEL_ENV"
	}
	return ""
}

// Foreign returns an error if a request's token is of another project or environment
// than this deployment. Vercel gives a deployment's requests only tokens of its own
// project and environment; @vercel/oidc's verifyVercelOidcToken relies on that too.
// It returns nil outside a deployment. A project or environment that is not known is
// not compared.
func Foreign(project, environment string) error {
	if Variable() == "" {
		return nil
	}
	if own := os.Getenv("VERCEL_PROJECT_ID"); own != "" && own != project {
		return fmt.Errorf("the token is of the project %s, and this deployment is of %s (VERCEL_PROJECT_ID)", quote(project), quote(own))
	}
	if own := cmp.Or(os.Getenv("VERCEL_TARGET_ENV"), os.Getenv("VERCEL_ENV")); own != "" && own != environment {
		return fmt.Errorf("the token is of the environment %s, and this deployment is of %s (VERCEL_TARGET_ENV or VERCEL_ENV)", quote(environment), quote(own))
	}
	return nil
}

func quote(s string) string { return scrub.Quote(s, 200) }
