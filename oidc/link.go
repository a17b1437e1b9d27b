package oidc

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	"github.com/vercelaws/vercelaws/internal/scrub"
)

// link is a folder's link to a Vercel project, as `vercel link` stored it.
type link struct {
	dir     string // the folder that is linked
	project string // prj_…
	team    string // team_…; "" for a personal account in some files
}

// errNotLinked says that no folder from the working directory up is linked.
var errNotLinked = errors.New("the folder is not linked to a Vercel project; run `vercel link`")

const maxLinkFile = 1 << 20 // 1 MiB

// findLink looks for a link in dir and then in each folder above it:
// .vercel/project.json, or .vercel/repo.json of a monorepo.
func findLink(dir string) (link, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return link{}, err
	}
	for at := dir; ; at = filepath.Dir(at) {
		for _, kind := range []struct {
			name string
			read func(at, dir string, data []byte) (link, error)
		}{{"project.json", readProjectLink}, {"repo.json", readRepoLink}} {
			file := filepath.Join(at, ".vercel", kind.name)
			data, err := readRegular(file, maxLinkFile+1)
			var found link
			switch {
			case err != nil:
			case len(data) > maxLinkFile:
				err = fmt.Errorf("it is longer than %d bytes", maxLinkFile)
			default:
				found, err = kind.read(at, dir, data)
			}
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNotLinked) {
				continue
			}
			if err != nil {
				return link{}, fmt.Errorf("cannot use the link file %s: %w; run `vercel link` again", file, err)
			}
			return found, nil
		}
		if at == filepath.Dir(at) {
			return link{}, errNotLinked
		}
	}
}

func readProjectLink(at, _ string, data []byte) (link, error) {
	var file struct{ ProjectID, OrgID string }
	if err := json.Unmarshal(data, &file); err != nil {
		return link{}, err
	}
	return newLink(at, file.ProjectID, file.OrgID)
}

// readRepoLink picks the project whose directory holds dir, the deepest if
// there are several.
func readRepoLink(at, dir string, data []byte) (link, error) {
	var file struct {
		OrgID    string
		Projects []struct{ ID, Directory, OrgID string }
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return link{}, err
	}
	rel, err := filepath.Rel(at, dir)
	if err != nil {
		return link{}, err
	}
	deepest, found := "", link{}
	for _, p := range file.Projects {
		directory := path.Clean(filepath.ToSlash(p.Directory))
		deeper := deepest == "" || directory != deepest && within(directory, deepest)
		if deeper && within(filepath.ToSlash(rel), directory) {
			deepest = directory
			found = link{filepath.Join(at, filepath.FromSlash(directory)), p.ID, cmp.Or(p.OrgID, file.OrgID)}
		}
	}
	if deepest == "" {
		return link{}, errNotLinked
	}
	return newLink(found.dir, found.project, found.team)
}

// within reports whether the slash-separated path rel is directory or lies in it.
func within(rel, directory string) bool {
	return directory == "." || rel == directory || strings.HasPrefix(rel, directory+"/")
}

func newLink(dir, project, team string) (link, error) {
	if project == "" {
		return link{}, errors.New("it names no project")
	}
	if err := validID("project", project); err != nil {
		return link{}, err
	}
	if team != "" {
		if err := validID("team", team); err != nil {
			return link{}, err
		}
	}
	return link{dir, project, team}, nil
}

// validID returns an error if id could be read as a flag on a command line.
func validID(kind, id string) error {
	strange := strings.IndexFunc(id, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r))
	})
	if id == "" || len(id) > 128 || strange >= 0 || strings.ContainsRune("._-", rune(id[0])) {
		return fmt.Errorf("the %s %s is not an ID or name", kind, scrub.Quote(id, maxClaim))
	}
	return nil
}
