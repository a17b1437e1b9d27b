package deployment

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func setenv(t *testing.T, env map[string]string) {
	for _, name := range []string{"AWS_LAMBDA_FUNCTION_NAME", "VERCEL_ENV", "VERCEL_TARGET_ENV", "VERCEL_PROJECT_ID"} {
		t.Setenv(name, env[name])
	}
}

func TestForeign(t *testing.T) {
	deployed := map[string]string{"VERCEL_ENV": "production", "VERCEL_PROJECT_ID": "prj_web"}
	for _, c := range []struct {
		name                 string
		env                  map[string]string
		project, environment string
		want                 string // "" for none
	}{
		{"its own", deployed, "prj_web", "production", ""},
		{"another project's", deployed, "prj_other", "production", `the token is of the project "prj_other", and this deployment is of "prj_web" (VERCEL_PROJECT_ID)`},
		{"another environment's", deployed, "prj_web", "preview", `the token is of the environment "preview", and this deployment is of "production" (VERCEL_TARGET_ENV or VERCEL_ENV)`},
		{"without a project", deployed, "", "production", `the token is of the project "", and this deployment is of "prj_web" (VERCEL_PROJECT_ID)`},
		{"a custom environment's", map[string]string{"VERCEL_ENV": "preview", "VERCEL_TARGET_ENV": "staging"}, "prj_web", "staging", ""},
		{"preview's, in a custom environment", map[string]string{"VERCEL_ENV": "preview", "VERCEL_TARGET_ENV": "staging"}, "prj_web", "preview",
			`the token is of the environment "preview", and this deployment is of "staging" (VERCEL_TARGET_ENV or VERCEL_ENV)`},
		{"in a function that knows its project alone", map[string]string{"AWS_LAMBDA_FUNCTION_NAME": "f", "VERCEL_PROJECT_ID": "prj_web"}, "prj_web", "preview", ""},
		{"in a function that knows nothing", map[string]string{"AWS_LAMBDA_FUNCTION_NAME": "f"}, "prj_other", "preview", ""},
		{"on a developer's machine", map[string]string{"VERCEL_ENV": "development", "VERCEL_PROJECT_ID": "prj_web"}, "prj_other", "preview", ""},
		{"in CI", map[string]string{"VERCEL_PROJECT_ID": "prj_web"}, "prj_other", "preview", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			setenv(t, c.env)
			err := Foreign(c.project, c.environment)
			if c.want == "" {
				assert.NoError(t, err)
				return
			}
			assert.EqualError(t, err, c.want)
		})
	}
}

func TestVariable(t *testing.T) {
	for want, env := range map[string]map[string]string{
		"AWS_LAMBDA_FUNCTION_NAME": {"AWS_LAMBDA_FUNCTION_NAME": "f", "VERCEL_ENV": "development"},
		"VERCEL_ENV":               {"VERCEL_ENV": "preview"},
		"":                         {"VERCEL_ENV": "development"},
	} {
		setenv(t, env)
		assert.Equal(t, want, Variable())
	}
}
