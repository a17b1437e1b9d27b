package docs

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// buildTime is how long the Go command may take, with nothing in its cache.
const buildTime = 5 * time.Minute

// imports are what a fragment may use without saying so. A whole file has its
// own.
var imports = map[string]string{
	"aws":        "github.com/aws/aws-sdk-go-v2/aws",
	"config":     "github.com/aws/aws-sdk-go-v2/config",
	"context":    "context",
	"errors":     "errors",
	"expvar":     "expvar",
	"http":       "net/http",
	"log":        "log",
	"middleware": "github.com/aws/smithy-go/middleware",
	"oidc":       "github.com/vercelaws/vercelaws/oidc",
	"oidcverify": "github.com/vercelaws/vercelaws/oidc/oidcverify",
	"os":         "os",
	"refresh":    "github.com/vercelaws/vercelaws/refresh",
	"s3":         "github.com/aws/aws-sdk-go-v2/service/s3",
	"slog":       "log/slog",
	"sts":        "github.com/aws/aws-sdk-go-v2/service/sts",
	"stscreds":   "github.com/aws/aws-sdk-go-v2/credentials/stscreds",
	"time":       "time",
	"types":      "github.com/aws/aws-sdk-go-v2/service/sts/types",
	"vercelaws":  "github.com/vercelaws/vercelaws",
}

// TestSnippetsCompile compiles every Go block of README.md and docs/, and runs
// those that are tests. A block that begins with "package" is a whole file. Any
// other has a marker before it, which is the function whose body it is, or the
// file in which it stands, for [TestSnippetsStandInTheirFiles]:
//
//	<!-- snippet: func(ctx context.Context) error -->
//	<!-- snippet: examples/guides/gin/main.go -->
func TestSnippetsCompile(t *testing.T) {
	module := newModule(t)
	tests := 0
	for i, b := range blocksOf(t, "go") {
		if b.file() != "" {
			continue
		}
		// What the compiler says is of the page's line.
		b.text = fmt.Sprintf("//line %s:%d\n%s", b.page, b.line, b.text)
		name, text := "snippet.go", b.text
		if !strings.Contains(text, "\npackage ") {
			text = wrap(t, b)
		} else if strings.Contains(text, "\nfunc Test") {
			name = "snippet_test.go"
			tests++
		}
		module.write(t, fmt.Sprintf("snippet%d/%s", i, name), text)
	}
	require.NotZero(t, tests)
	module.run(t, "go", "build", "./...")
	out := module.run(t, "go", "test", "-count=1", "-v", "./...")
	assert.Equal(t, tests, strings.Count(out, "\n--- PASS: Test")+strings.Count(out, "\n    --- PASS: Test"), out)
}

// file is the file in which the block stands, if its marker names one.
func (b block) file() string {
	if strings.HasSuffix(b.marker, ".go") {
		return b.marker
	}
	return ""
}

// elided stands in a block for lines of the file that the block leaves out.
const elided = "// …\n"

// TestSnippetsStandInTheirFiles holds the blocks that are taken from a program
// to it. That module's own tests compile and run it.
func TestSnippetsStandInTheirFiles(t *testing.T) {
	found := 0
	for _, b := range blocksOf(t, "go") {
		if b.file() == "" {
			continue
		}
		found++
		rest := "\n" + read(t, b.file())
		for _, piece := range strings.Split(b.text, elided) {
			end := endOf(rest, piece)
			require.Positive(t, end, "%s: these lines do not stand in %s:\n%s", b.at(), b.file(), piece)
			rest = rest[end-1:]
		}
	}
	assert.NotZero(t, found)
}

// endOf is the index after the lines in a text, where they stand with whatever
// indentation, or zero.
func endOf(text, lines string) int {
	for indentation := range 6 {
		want := "\n"
		for line := range strings.Lines(lines) {
			if line != "\n" {
				line = strings.Repeat("\t", indentation) + line
			}
			want += line
		}
		if i := strings.Index(text, want); i >= 0 {
			return i + len(want)
		}
	}
	return 0
}

// wrap makes a file of a fragment.
func wrap(t *testing.T, b block) string {
	t.Helper()
	require.True(t, strings.HasPrefix(b.marker, "func("), "%s: a fragment has a line before it that says what it is part of: <!-- snippet: func(ctx context.Context) error --> or <!-- snippet: examples/guides/gin/main.go -->", b.at())
	text := "package snippet\n\nfunc _" + strings.TrimPrefix(b.marker, "func") + " {\n" + b.text + "}\n"
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, b.page, text, 0)
	require.NoError(t, err, b.at())

	// A reader goes on with what the fragment declares; here nobody does.
	body := file.Decls[0].(*ast.FuncDecl).Body.List
	for i := len(body) - 1; i >= 0; i-- {
		if assign, ok := body[i].(*ast.AssignStmt); ok && assign.Tok == token.DEFINE {
			end := files.Position(assign.End()).Offset
			for _, name := range assign.Lhs {
				text = text[:end] + "; _ = " + name.(*ast.Ident).Name + text[end:]
			}
		}
	}
	var lines []string
	ast.Inspect(file, func(n ast.Node) bool {
		if selector, ok := n.(*ast.SelectorExpr); ok {
			if name, ok := selector.X.(*ast.Ident); ok && imports[name.Name] != "" {
				lines = append(lines, fmt.Sprintf("import %s %q\n", name.Name, imports[name.Name]))
			}
		}
		return true
	})
	slices.Sort(lines)
	return strings.Replace(text, "\n\n", "\n\n"+strings.Join(slices.Compact(lines), "")+"\n", 1)
}

// module is one in a folder of its own, which sees this checkout and the
// dependencies of e2e.
type module struct{ folder string }

func newModule(t *testing.T) *module {
	t.Helper()
	m := &module{folder: t.TempDir()}
	gomod, err := os.ReadFile(filepath.Join("..", "go.mod"))
	require.NoError(t, err)
	gosum, err := os.ReadFile(filepath.Join("..", "go.sum"))
	require.NoError(t, err)
	checkout, err := filepath.Abs(root)
	require.NoError(t, err)
	m.write(t, "go.mod", strings.Replace(string(gomod), "=> ../", "=> "+checkout, 1))
	m.write(t, "go.sum", string(gosum))
	return m
}

func (m *module) write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(m.folder, filepath.FromSlash(name))
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}

// run runs a command in the module, without a network, and returns what it
// prints.
func (m *module) run(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), buildTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = m.folder
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod -buildvcs=false", "GOWORK=off", "GOPROXY=off")
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s %v\n%s", name, args, out)
	return string(out)
}

// command is the path of the command vercelaws, built from this checkout.
var command = sync.OnceValues(func() (string, error) {
	folder, err := os.MkdirTemp(scratch, "command-*")
	if err != nil {
		return "", err
	}
	path := filepath.Join(folder, "vercelaws")
	ctx, cancel := context.WithTimeout(context.Background(), buildTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "./cmd/vercelaws")
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
})

var scratch string // a folder that is removed in the end

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "docs-*"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	status := m.Run()
	if err := os.RemoveAll(scratch); err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	os.Exit(status)
}
