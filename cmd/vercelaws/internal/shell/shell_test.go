package shell

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// hostile are words that break out of a careless command line.
var hostile = []string{
	"x; touch pwned #",
	"$(touch pwned)",
	"`touch pwned`",
	"'; touch pwned; '",
	`\'; touch pwned; \'`,
	`"; touch pwned; "`,
	"a\ntouch pwned\n",
	"a\r\ntouch pwned",
	"| touch pwned",
	"&& touch pwned",
	"> pwned",
	"${IFS}touch${IFS}pwned",
	"*", "?", "[a-z]*", "~", "~root", "{a,b}", "!!", "#", "\\", "'", `"`, " ", "\t", "=cmd",
	"", "-n", "--help", "ä\x1b[2J", "\xff\xfe", "a\x00b",
}

// A real shell hands each word on as it was.
func TestCommandInARealShell(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil || runtime.GOOS == "windows" { // a port of sh there reads arguments its own way
		t.Skip("there is no POSIX shell")
	}
	words := append([]string{"printf", `%s\0`}, hostile...)
	folder := t.TempDir()
	run := exec.Command(sh, "-c", Command(words...))
	run.Dir = folder
	out, err := run.CombinedOutput()
	require.NoError(t, err, string(out))
	got := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	want := append([]string{}, hostile...)
	want[len(want)-1] = "ab" // no word can hold a NUL
	assert.Equal(t, want, got)
	assert.NoFileExists(t, filepath.Join(folder, "pwned"))
	files, err := os.ReadDir(folder)
	require.NoError(t, err)
	assert.Empty(t, files)
}

func TestPlainWordsStayReadable(t *testing.T) {
	assert.Equal(t, "aws iam get-role --role-name web", Command("aws", "iam", "get-role", "--role-name", "web"))
	assert.Equal(t, "arn:aws:iam::123456789012:oidc-provider/oidc.vercel.com/acme", Word("arn:aws:iam::123456789012:oidc-provider/oidc.vercel.com/acme"))
}
