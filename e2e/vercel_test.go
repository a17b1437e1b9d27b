package e2e

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/e2e/internal/vercelbuild"
	"github.com/vercelaws/vercelaws/e2e/internal/vercelfn"
	"github.com/vercelaws/vercelaws/oidc"
)

// example is one of the examples, as its README and Vercel's builder make it.
type example struct {
	*vercelbuild.Project
	*vercelbuild.Output
	readme map[string]string // the README's commands, by heading
}

// bundleURL is where the README of examples/rds has Amazon's certificates from.
const bundleURL = "https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem"

// built holds each example, built once for all tests.
var built = map[string]func() (*example, error){
	"s3": build("s3"), "rds": build("rds"), "server": build("server"), "dsql": build("dsql"), "dynamodb": build("dynamodb"),
}

func build(name string) func() (*example, error) {
	return sync.OnceValues(func() (*example, error) {
		text, err := os.ReadFile(filepath.Join("..", "examples", name, "README.md"))
		if err != nil {
			return nil, err
		}
		e := &example{readme: vercelbuild.Blocks(string(text), "sh")}
		script := e.readme["Copy it"] + e.readme["Certificates"] + e.readme["AWS"] + e.readme["Deploy"]
		lab := filepath.Join(scratch, name)
		if err := os.Mkdir(lab, 0o755); err != nil {
			return nil, err
		}
		if e.Project, err = vercelbuild.Follow(context.Background(), lab, script, map[string]string{
			bundleURL: string(databaseCertificate().encoded),
		}); err != nil {
			return nil, err
		}
		e.Output, err = e.Project.Output()
		return e, err
	})
}

func buildExample(t *testing.T, name string) *example {
	t.Helper()
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		t.Skip("Vercel builds for linux/amd64, which does not run on this machine")
	}
	e, err := built[name]()
	if errors.Is(err, vercelbuild.ErrNoTools) {
		t.Skip(err)
	}
	require.NoError(t, err)
	return e
}

// start starts an instance of the example's function. Its environment is what
// Vercel sets, the variables that the README has set, with these values, and
// where the tests' servers are.
func (e *example) start(t *testing.T, path string, values map[string]string, more ...string) *vercelfn.Function {
	t.Helper()
	function := e.Functions[path]
	require.NotNil(t, function, "there is a function %s", path)
	program, err := function.Unpack(t.TempDir())
	require.NoError(t, err)
	var env []string
	for _, name := range e.Environment {
		value, ok := values[name]
		require.True(t, ok, "the README sets %s, of which the test knows nothing", name)
		if value != "" {
			env = append(env, name+"="+value)
		}
	}
	fn, err := vercelfn.Start(program, append(env, more...)...)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, fn.Stop()) })
	return fn
}

var variable = regexp.MustCompile(`(?m)^([A-Z0-9_]+)=`)

// TestExamplesAsVercelBuildsThem looks at what Vercel's builder made of each
// example after its README's commands.
func TestExamplesAsVercelBuildsThem(t *testing.T) {
	for _, c := range []struct {
		name, function, program string
		files, static           []string
	}{
		{"s3", "api/objects", "bootstrap", []string{"bootstrap"}, []string{"index.html"}},
		{"rds", "api/movies", "bootstrap", []string{"bootstrap", "certs/global-bundle.pem"}, []string{"index.html"}},
		{"dsql", "api/movies", "bootstrap", []string{"bootstrap"}, []string{"index.html"}},
		{"dynamodb", "api/items", "bootstrap", []string{"bootstrap"}, []string{"index.html"}},
		{"server", "go", "user-server", []string{"executable", "user-server"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := buildExample(t, c.name)
			require.Len(t, e.Functions, 1)
			require.Contains(t, e.Functions, c.function)
			function := e.Functions[c.function]
			assert.Equal(t, c.files, function.Files, "what runs, and nothing else")
			assert.ElementsMatch(t, c.static, e.Static, "what is published: no source, no certificate, no .env")
			assert.Empty(t, function.Environment)
			t.Logf("%s: runtime %s, files %v, static %v", c.name, function.Runtime, function.Files, e.Static)

			folder := t.TempDir()
			_, err := function.Unpack(folder)
			require.NoError(t, err)
			for _, name := range c.files {
				b, err := os.ReadFile(filepath.Join(folder, name))
				require.NoError(t, err)
				assert.False(t, bytes.Contains(b, []byte("a-value-that-nobody-may-see")), "%s holds a line of .env", name)
			}
			info, err := buildinfo.ReadFile(filepath.Join(folder, c.program))
			require.NoError(t, err)
			assert.Equal(t, runtime.Version(), info.GoVersion)

			original, err := os.ReadFile(filepath.Join("..", "examples", c.name, "go.mod"))
			require.NoError(t, err)
			assert.Contains(t, string(original), "\ntoolchain go", "else Vercel builds with go 1.24.0, unpatched")

			listed, err := os.ReadFile(filepath.Join(e.Folder, ".env.example"))
			require.NoError(t, err)
			var names []string
			for _, match := range variable.FindAllStringSubmatch(string(listed), -1) {
				names = append(names, match[1])
			}
			assert.ElementsMatch(t, e.Environment, names, ".env.example lists what the README sets")
			e.checkAWS(t)
		})
	}
}

var fileArgument = regexp.MustCompile(`file://(\S+)`)

// checkAWS checks the commands for AWS: files that they name hold JSON, and
// where the real AWS CLI is there it takes the arguments.
func (e *example) checkAWS(t *testing.T) {
	t.Helper()
	cli, noCLI := exec.LookPath("aws")
	commands := strings.Join(e.AWS, "\n")
	assert.Contains(t, commands, `iam create-role --cli-input-json {"RoleName":"vercel-`)
	assert.Contains(t, commands, "iam put-role-policy --role-name vercel-")
	for _, command := range e.AWS {
		for _, match := range fileArgument.FindAllStringSubmatch(command, -1) {
			b, err := os.ReadFile(filepath.Join(e.Folder, match[1]))
			require.NoError(t, err, command)
			assert.True(t, json.Valid(b), "%s is JSON", match[1])
			if noCLI != nil {
				continue
			}
			// It checks the arguments, and asks nobody.
			cmd := exec.CommandContext(t.Context(), cli, append(strings.Fields(command), "--generate-cli-skeleton", "output")...)
			cmd.Dir = e.Folder
			cmd.Env = append(os.Environ(), "AWS_REGION=us-east-1", "AWS_DEFAULT_REGION=us-east-1", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null")
			out, err := cmd.CombinedOutput()
			assert.NoError(t, err, "%s\n%s", command, out)
		}
	}
}

// TestExamplesWithAPublishedVersion follows the READMEs' last section in the
// built projects: nothing of the checkout is left in go.mod, and they compile.
func TestExamplesWithAPublishedVersion(t *testing.T) {
	for name := range built {
		t.Run(name, func(t *testing.T) {
			e := buildExample(t, name)
			lab := t.TempDir()
			p, err := vercelbuild.Follow(t.Context(), lab, e.readme["Copy it"]+"vercel link\n"+e.readme["With a published version"]+"go build ./...\n", nil)
			require.NoError(t, err)
			b, err := os.ReadFile(filepath.Join(p.Folder, "go.mod"))
			require.NoError(t, err)
			assert.NotContains(t, string(b), "replace")
			assert.Contains(t, string(b), "github.com/vercelaws/vercelaws v0.0.1-e2e.")
			assert.Contains(t, string(b), "\ntoolchain go")
		})
	}
}

// TestExamplesShareOneResource holds the copies of the examples' shared package
// together: it has tests of its own, in each.
func TestExamplesShareOneResource(t *testing.T) {
	for _, file := range []string{"resource.go", "resource_test.go"} {
		first, err := os.ReadFile(filepath.Join("..", "examples", "rds", "resource", file))
		require.NoError(t, err)
		for name := range built {
			b, err := os.ReadFile(filepath.Join("..", "examples", name, "resource", file))
			require.NoError(t, err)
			assert.Equal(t, string(first), string(b), "examples/%s", name)
		}
	}
}

// TestExamplesShareTheirAnswers holds together what each example has a copy of,
// so that a user can take one alone: how it answers, and how it tells a fault of
// its own identity from others.
func TestExamplesShareTheirAnswers(t *testing.T) {
	copies := map[string][]string{} // by name
	for name := range built {
		for _, folder := range []string{"", "api"} {
			files, err := filepath.Glob(filepath.Join("..", "examples", name, folder, "*.go"))
			require.NoError(t, err)
			for _, file := range files {
				b, err := os.ReadFile(file)
				require.NoError(t, err)
				for _, function := range []string{"noIdentity", "fail", "answer", "failDatabase"} {
					if _, after, ok := strings.Cut(string(b), "\nfunc "+function+"("); ok {
						text, _, _ := strings.Cut(after, "\n}\n")
						copies[function] = append(copies[function], text)
						assert.Equal(t, copies[function][0], text, "%s in %s", function, file)
					}
				}
			}
		}
	}
	for function, n := range map[string]int{"noIdentity": len(built), "fail": len(built), "answer": len(built), "failDatabase": 2} {
		require.Len(t, copies[function], n, function)
	}
	for _, kind := range []string{"*vercelaws.AssumeRoleError", "*oidc.ExchangeError", "oidc.ErrNoToken", "oidc.ErrExpired", "oidc.ErrMalformed"} {
		assert.Contains(t, copies["noIdentity"][0], kind)
	}
}

// curlLine finds the requests of a README's section "Try it".
var curlLine = regexp.MustCompile(`https://[a-z]+\.vercel\.app`)

// try runs the commands of the README's section "Try it" with the real curl
// against handler, and returns what they print.
func (e *example) try(t *testing.T, handler http.RoundTripper) string {
	t.Helper()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is not on this machine, so the README's requests are not tried")
	}
	token := issuer.Mint()
	front := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "https", "demo.vercel.app"
			r.Out.Header.Set(oidc.Header, token) // as Vercel does
		},
		Transport: handler,
	})
	defer front.Close()
	script := curlLine.ReplaceAllString(e.readme["Try it"], front.URL)
	require.NotEqual(t, e.readme["Try it"], script)
	out, err := exec.CommandContext(t.Context(), "sh", "-euc", script).Output()
	require.NoError(t, err)
	return string(out)
}
