package e2e

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/e2e/internal/vercelbuild"
)

// TestWhatVercelsBuilderDoes holds what docs/vercel.md warns of, and shows that
// the look at the examples' output would see it.
func TestWhatVercelsBuilderDoes(t *testing.T) {
	const begin = `mkdir site
cd site
go mod init site
mkdir -p api/certs certs internal/x x
echo root > certs/root.pem
echo api > api/certs/api.pem
printf 'package x\n\nconst X = "x"\n' | tee internal/x/x.go > x/x.go
cat > api/hello.go <<'END'
package handler

import (
	"net/http"

	"site/PACKAGE"
)

func Handler(w http.ResponseWriter, r *http.Request) { w.Write([]byte(x.X)) }
END
`
	const end = "vercel link\nvercel pull --yes --environment=production\nvercel build --prod\n"
	use := func(name string) string { return "sed -i s,PACKAGE," + name + ", api/hello.go\n" }
	follow := func(t *testing.T, script string) (*vercelbuild.Output, error) {
		p, err := vercelbuild.Follow(t.Context(), t.TempDir(), script, nil)
		if errors.Is(err, vercelbuild.ErrNoTools) {
			t.Skip(err)
		}
		if err != nil {
			return nil, err
		}
		return p.Output()
	}
	t.Run("without a folder public the root is published", func(t *testing.T) {
		out, err := follow(t, begin+use("x")+`printf '{"functions": {"api/hello.go": {"includeFiles": "certs/*.pem"}}}' > vercel.json`+"\n"+end)
		require.NoError(t, err)
		assert.Contains(t, out.Static, "go.mod")
		assert.Contains(t, out.Static, "certs/root.pem")
		require.Contains(t, out.Functions, "api/hello")
		assert.Equal(t, []string{"bootstrap", "certs/api.pem"}, out.Functions["api/hello"].Files, "includeFiles is looked up below api/")
	})
	t.Run("a package below internal is refused", func(t *testing.T) {
		_, err := follow(t, begin+use("internal/x")+end)
		assert.ErrorContains(t, err, "use of internal package site/internal/x not allowed")
	})
	t.Run("a server without a framework is published", func(t *testing.T) {
		out, err := follow(t, `mkdir site
cd site
go mod init site
printf 'package main\n\nfunc main() {}\n' > main.go
`+end)
		require.NoError(t, err)
		assert.Contains(t, out.Static, "main.go")
		assert.Empty(t, out.Functions)
	})
}
