package docs

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)|(?:src|srcset|href)="([^"]+)"`)
	heading = regexp.MustCompile(`(?m)^#{1,6} +(.*)$`)
	code    = regexp.MustCompile("`[^`]+`")
	label   = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
)

// anchors are the names that GitHub gives to the headings of a page.
func anchors(t *testing.T, page string) map[string]bool {
	t.Helper()
	_, prose := split(t, page)
	names := map[string]bool{"": true}
	for _, match := range heading.FindAllStringSubmatch(prose, -1) {
		names[strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-', r == '_', unicode.IsLetter(r), unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, label.ReplaceAllString(match[1], "$1"))] = true
	}
	return names
}

// TestLinks follows every link that leads into the repository.
func TestLinks(t *testing.T) {
	followed := 0
	for _, page := range pages(t, "*.md", ".github/*.md", "docs/*.md", "docs/*/*.md", "examples/*/*.md") {
		_, prose := split(t, page)
		for _, match := range link.FindAllStringSubmatch(code.ReplaceAllString(prose, "code"), -1) {
			target := match[1] + match[2]
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			followed++
			file, anchor, _ := strings.Cut(target, "#")
			there := page
			if file != "" {
				there = path.Join(path.Dir(page), file)
			}
			info, err := os.Stat(filepath.Join(root, filepath.FromSlash(there)))
			if !assert.NoError(t, err, "%s: %s", page, target) {
				continue
			}
			if anchor != "" {
				require.False(t, info.IsDir(), "%s: %s", page, target)
				assert.Contains(t, anchors(t, there), anchor, "%s: %s", page, target)
			}
		}
	}
	assert.Greater(t, followed, 50)
}

// TestReadmeIsShort holds the README to what fits in five minutes.
func TestReadmeIsShort(t *testing.T) {
	lines := strings.Split(strings.TrimSuffix(read(t, "README.md"), "\n"), "\n")
	assert.LessOrEqual(t, len(lines), 200)
	first := strings.Join(lines[:min(60, len(lines))], "\n")
	assert.Contains(t, first, "go run ./cmd/vercelaws demo")
	assert.Contains(t, first, "make test")
}

// TestEveryPageIsReached keeps pages from being forgotten.
func TestEveryPageIsReached(t *testing.T) {
	readme := read(t, "README.md")
	for _, page := range pages(t, "docs/*.md") {
		assert.Contains(t, readme, "("+page, "the README leads to %s", page)
	}
}

// TestNamedTestsAreThere looks for the tests, targets and files that pages
// speak of.
func TestNamedTestsAreThere(t *testing.T) {
	tests := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Benchmark|Fuzz)\w+)\(`)
	require.NoError(t, filepath.WalkDir(root, func(name string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (entry.Name() == ".git" || entry.Name() == ".cache") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(name, "_test.go") {
			return nil
		}
		b, err := os.ReadFile(name)
		for _, match := range declared.FindAllSubmatch(b, -1) {
			tests[string(match[1])] = true
		}
		return err
	}))
	makefile := read(t, "Makefile")
	target := regexp.MustCompile(`make ([a-z][a-z-]*)`)
	test := regexp.MustCompile(`\b(?:Test|Benchmark|Fuzz)[A-Z]\w+`)
	for _, page := range pages(t, "*.md", ".github/*.md", "docs/*.md") {
		text := read(t, page)
		blocks, prose := split(t, page)
		pieces := code.FindAllString(prose, -1)
		for _, b := range blocks {
			if b.language == "sh" {
				pieces = append(pieces, b.text)
			}
		}
		for _, piece := range pieces {
			for _, match := range target.FindAllStringSubmatch(piece, -1) {
				assert.Regexp(t, `(?m)^`+match[1]+`:`, makefile, page)
			}
			for _, name := range test.FindAllString(piece, -1) {
				if name != "TestName" && name != "FuzzName" && !strings.Contains(text, "func "+name) {
					assert.True(t, tests[name] || anyHasPrefix(tests, name), "%s: %s", page, name)
				}
			}
		}
	}
}

// anyHasPrefix is for names that stand for several, as -run and -bench take
// them.
func anyHasPrefix(names map[string]bool, prefix string) bool {
	for name := range names {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
