package oidc

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// On Windows, npm installs the CLI as a batch file.
func TestCLIThatIsABatchFile(t *testing.T) {
	isolate(t)
	raw := mint(t, claim("environment", "development"))
	bin, dir := t.TempDir(), t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(bin, "out.json"), []byte(`{"token": "`+raw+`"}`), 0o600))
	program := "@echo off\r\n" +
		"if not \"%*\"==\"project token prj_1 --format=json --scope team_1\" (\r\necho unexpected arguments: %* 1>&2\r\nexit /b 9\r\n)\r\n" +
		"type \"%~dp0out.json\"\r\n"
	require.NoError(t, os.WriteFile(filepath.Join(bin, "vercel.cmd"), []byte(program), 0o600))
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	writeLink(t, dir, "project.json", `{"projectId":"prj_1","orgId":"team_1"}`)
	t.Chdir(dir)
	assert.Equal(t, raw, token(t, FromCLI(), t.Context()).Raw())

	_, err := FromCLI(func(o *CLIOptions) { o.Project = "other" }).Token(t.Context())
	assert.ErrorContains(t, err, "unexpected arguments: project token other --format=json")

	// A batch file can run its arguments as commands, so one that could be a command is refused.
	for _, project := range []string{"web&echo", "web|echo", "%PATH%", `web"`, "web^"} {
		_, err = FromCLI(func(o *CLIOptions) { o.Project = project }).Token(t.Context())
		assert.ErrorContains(t, err, "is not an ID", project)
	}

	t.Setenv("PATH", t.TempDir())
	_, err = FromCLI().Token(t.Context())
	assert.ErrorContains(t, err, "the Vercel CLI is not on PATH")
}
