// Package docs tests README.md and docs/: every snippet compiles, those that can
// run are run, and links lead somewhere.
package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// root is the repository's.
const root = "../.."

// block is a code block of a page.
type block struct {
	page     string // relative to root
	line     int    // of its first line
	language string
	marker   string // of the line before it: <!-- snippet: marker -->
	text     string // without the indentation of its fence
}

func (b block) at() string { return fmt.Sprintf("%s:%d", b.page, b.line) }

// pages are the repository's pages, as slash-separated paths relative to root.
func pages(t *testing.T, patterns ...string) []string {
	t.Helper()
	var found []string
	for _, pattern := range patterns {
		matches, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(pattern)))
		require.NoError(t, err)
		require.NotEmpty(t, matches, pattern)
		for _, match := range matches {
			name, err := filepath.Rel(root, match)
			require.NoError(t, err)
			found = append(found, filepath.ToSlash(name))
		}
	}
	return found
}

func read(t *testing.T, page string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(page)))
	require.NoError(t, err)
	return string(b)
}

var (
	fence  = regexp.MustCompile("^( *)```([a-z]*)$")
	marker = regexp.MustCompile(`^ *<!-- snippet: (.*) -->$`)
)

// split parts a page into its code blocks and its prose, in which the lines of
// blocks are empty.
func split(t *testing.T, page string) (blocks []block, prose string) {
	t.Helper()
	var rest []string
	var open *block
	before, indent := "", ""
	for i, line := range strings.Split(read(t, page), "\n") {
		match := fence.FindStringSubmatch(line)
		switch {
		case open == nil && match != nil:
			indent = match[1]
			open = &block{page: page, line: i + 2, language: match[2]}
			if m := marker.FindStringSubmatch(before); m != nil {
				open.marker = m[1]
			}
		case open != nil && match != nil:
			require.Empty(t, match[2], "%s:%d: a fence within a block", page, i+1)
			blocks = append(blocks, *open)
			open = nil
		case open != nil:
			require.True(t, line == "" || strings.HasPrefix(line, indent), "%s:%d: less indented than its fence", page, i+1)
			open.text += strings.TrimPrefix(line, indent) + "\n"
		default:
			before = line
			rest = append(rest, line)
			continue
		}
		before = ""
		rest = append(rest, "")
	}
	require.Nil(t, open, "%s: a block does not end", page)
	return blocks, strings.Join(rest, "\n")
}

// blocksOf are the blocks of a language in README.md and docs/.
func blocksOf(t *testing.T, language string) []block {
	t.Helper()
	var found []block
	for _, page := range pages(t, "README.md", "docs/*.md") {
		blocks, _ := split(t, page)
		for _, b := range blocks {
			if b.language == language {
				found = append(found, b)
			}
		}
	}
	require.NotEmpty(t, found, language)
	return found
}

// TestEveryBlockIsOfAKindThatIsTested keeps blocks from escaping the tests here
// by their language.
func TestEveryBlockIsOfAKindThatIsTested(t *testing.T) {
	for _, page := range pages(t, "README.md", "docs/*.md") {
		blocks, _ := split(t, page)
		for _, b := range blocks {
			require.Contains(t, []string{"go", "sh", "json", "ini", "text"}, b.language, b.at())
		}
	}
}
