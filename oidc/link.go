package oidc

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	"github.com/vercelaws/vercelaws/internal/scrub"
)

// link is what `vercel link` wrote about a folder.
type link struct {
	dir     string // the folder that is linked
	project string // prj_…
	team    string // team_…; "" for a personal account in some files
}

// errNotLinked says that no folder from the working directory up is linked.
var errNotLinked = errors.New("the folder is not linked to a Vercel project; run `vercel link`")

const maxLinkFile = 1 << 20 // 1 MiB

// findLink looks for a link from dir upwards: .vercel/project.json, or
// .vercel/repo.json of a monorepo, whichever is nearer.
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
			data, err := readLinkFile(file)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			var found link
			if err == nil {
				found, err = kind.read(at, dir, data)
			}
			if errors.Is(err, errNotLinked) {
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

func readLinkFile(file string) ([]byte, error) {
	data, err := readRegular(file, maxLinkFile+1)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fs.ErrNotExist
	}
	if err == nil && len(data) > maxLinkFile {
		err = fmt.Errorf("it is longer than %d bytes", maxLinkFile)
	}
	return data, withoutPath(err) // the caller adds it
}

func readProjectLink(at, _ string, data []byte) (link, error) {
	var file struct{ ProjectID, OrgID string }
	if err := json.Unmarshal(data, &file); err != nil {
		return link{}, describeJSON(err)
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
		return link{}, describeJSON(err)
	}
	rel, err := filepath.Rel(at, dir)
	if err != nil {
		return link{}, err
	}
	rel = filepath.ToSlash(rel)
	best, depth := -1, -1
	for i, p := range file.Projects {
		if directory := path.Clean(filepath.ToSlash(p.Directory)); within(rel, directory) {
			d := strings.Count(directory, "/") + 1
			if directory == "." {
				d = 0
			}
			if d > depth {
				best, depth = i, d
			}
		}
	}
	if best < 0 {
		return link{}, errNotLinked
	}
	p := file.Projects[best]
	if p.OrgID == "" {
		p.OrgID = file.OrgID
	}
	return newLink(filepath.Join(at, filepath.FromSlash(p.Directory)), p.ID, p.OrgID)
}

// within reports whether the slash-separated path rel lies in directory.
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

// validID keeps out of a command line what could be read as a flag.
func validID(what, id string) error {
	strange := strings.IndexFunc(id, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r))
	})
	if id == "" || len(id) > 128 || strange >= 0 || strings.ContainsRune("._-", rune(id[0])) {
		return fmt.Errorf("the %s %s is not an ID or name", what, scrub.Quote(id, maxClaim))
	}
	return nil
}
