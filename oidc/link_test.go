package oidc

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// writeLink writes a link file below dir, and returns its path.
func writeLink(t testing.TB, dir, name, content string) string {
	t.Helper()
	folder := filepath.Join(dir, ".vercel")
	require.NoError(t, os.MkdirAll(folder, 0o755))
	file := filepath.Join(folder, name)
	require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
	return file
}

func TestFindLink(t *testing.T) {
	root := t.TempDir()
	deep := filepath.Join(root, "apps", "web", "src", "deep")
	require.NoError(t, os.MkdirAll(deep, 0o755))
	find := func(parts ...string) link {
		t.Helper()
		l, err := findLink(filepath.Join(append([]string{root}, parts...)...))
		require.NoError(t, err)
		return l
	}
	_, err := findLink(deep)
	require.ErrorIs(t, err, errNotLinked)

	writeLink(t, root, "repo.json", `{"orgId":"team_old","remoteName":"origin","projects":[
		{"id":"prj_root","name":"root","directory":"."},
		{"id":"prj_web","name":"web","directory":"apps/web","orgId":"team_new"},
		{"id":"prj_we","name":"we","directory":"apps/we"}]}`)
	assert.Equal(t, link{root, "prj_root", "team_old"}, find())
	assert.Equal(t, link{root, "prj_root", "team_old"}, find("apps"))
	assert.Equal(t, link{filepath.Join(root, "apps", "web"), "prj_web", "team_new"}, find("apps", "web", "src", "deep"))

	writeLink(t, filepath.Join(root, "apps", "web", "src"), "project.json", `{"projectId":"prj_src","orgId":"team_src","settings":{}}`)
	assert.Equal(t, link{filepath.Join(root, "apps", "web", "src"), "prj_src", "team_src"}, find("apps", "web", "src", "deep"), "the nearest wins")
	assert.Equal(t, "prj_web", find("apps", "web").project)
}

func TestRepoLinkOutsideItsProjects(t *testing.T) {
	root := t.TempDir()
	writeLink(t, root, "repo.json", `{"orgId":"team_1","projects":[{"id":"prj_1","directory":"apps/web"}]}`)
	require.NoError(t, os.MkdirAll(filepath.Join(root, "apps", "website"), 0o755))
	for _, dir := range []string{root, filepath.Join(root, "apps"), filepath.Join(root, "apps", "website")} {
		_, err := findLink(dir)
		assert.ErrorIs(t, err, errNotLinked, dir)
	}
}

func TestUnusableLinkFiles(t *testing.T) {
	for content, says := range map[string]string{
		``:                                   "unexpected end of JSON input",
		`[]`:                                 "cannot unmarshal array",
		`{"projectId":7}`:                    "cannot unmarshal number into Go struct field .ProjectID of type string",
		`{}`:                                 "it names no project",
		`{"projectId":"--help","orgId":"t"}`: `the project "--help" is not an ID`,
		`{"projectId":"prj_1","orgId":"-x"}`: `the team "-x" is not an ID`,
		`{"projectId":"prj_1; rm -rf /"}`:    "is not an ID",
		`{"projectId":"prj\n1"}`:             "is not an ID",
		strings.Repeat(" ", maxLinkFile+1):   "longer than",
	} {
		dir := t.TempDir()
		file := writeLink(t, dir, "project.json", content)
		_, err := findLink(dir)
		require.Error(t, err)
		assert.ErrorContains(t, err, file)
		assert.ErrorContains(t, err, says)
		assert.ErrorContains(t, err, "vercel link")
	}
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, ".vercel", "project.json"), 0o755))
	_, err := findLink(dir)
	assert.ErrorContains(t, err, "not a regular file")
}

// idPattern is what may reach a command line: nothing that reads as a flag.
var idPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

func TestValidID(t *testing.T) {
	long := strings.Repeat("a", 129)
	for _, id := range []string{"", "-x", "--scope", ".a", "_a", "a b", "a;b", "ä", "a\xff", "a\n", "prj_1", "team-1.x", "A", "0", long, long[1:]} {
		assert.Equal(t, idPattern.MatchString(id) && len(id) <= 128, validID("project", id) == nil, "%q", id)
	}
}

func FuzzLinkFile(f *testing.F) {
	f.Add([]byte(`{"projectId":"prj_1","orgId":"team_1"}`), "apps/web")
	f.Add([]byte(`{"orgId":"team_1","projects":[{"id":"prj_1","directory":"../.."},{"id":"prj_2","directory":"."}]}`), "a/b")
	f.Add([]byte(`{"projects":[{"id":"","directory":"/"}]}`), "")
	f.Fuzz(func(t *testing.T, data []byte, below string) {
		dir := filepath.Join("/repo", below)
		for _, read := range []func(at, dir string, data []byte) (link, error){readProjectLink, readRepoLink} {
			l, err := read("/repo", dir, data)
			if err != nil {
				continue
			}
			for _, id := range []string{l.project, l.team} {
				if id != "" && !idPattern.MatchString(id) {
					t.Fatalf("%q would reach the command line", id)
				}
			}
			if l.project == "" {
				t.Fatal("a link without a project")
			}
		}
	})
}
