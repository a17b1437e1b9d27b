package vercelbuild

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"
)

const (
	ownModule = "github.com/vercelaws/vercelaws"
	bridge    = "v0.0.0-20221108222652-296f4c6bdb6d"
)

// moduleProxy is a Go module proxy that has the checkout as a published
// version of the library, and knows the newest version of what Vercel's builder
// adds: the bridge has no version list on the public proxy, and the newest
// aws-lambda-go must not change from one day to the next here. For all else it
// answers 404, and the go command goes on to the machine's own proxy.
// https://go.dev/ref/mod#goproxy-protocol
type moduleProxy struct {
	http.ServeMux
	version string // of the checkout: one that no module cache has
}

func newModuleProxy(ctx context.Context, checkout, lab string) (*moduleProxy, error) {
	archive := filepath.Join(lab, "module.zip")
	p := &moduleProxy{version: "v0.0.1-e2e." + strings.ToLower(rand.Text())}
	if err := p.zip(ctx, checkout, archive); err != nil {
		return nil, err
	}
	text := func(path, body string) {
		p.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) })
	}
	file := func(path, name string) {
		p.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, name) })
	}
	own := "/" + ownModule + "/@v/"
	text(own+"list", p.version+"\n")
	text(own+p.version+".info", `{"Version":"`+p.version+`","Time":"2026-01-01T00:00:00Z"}`)
	file(own+p.version+".mod", filepath.Join(checkout, "go.mod"))
	file(own+p.version+".zip", archive)
	text("/github.com/vercel/go-bridge/@v/list", "")
	text("/github.com/vercel/go-bridge/@latest", `{"Version":"`+bridge+`","Time":"2022-11-08T22:26:52Z"}`)
	text("/github.com/aws/aws-lambda-go/@v/list", "v1.55.1\n")
	return p, nil
}

// zip makes the module's archive of the files that git knows or would.
func (p *moduleProxy) zip(ctx context.Context, checkout, archive string) error {
	cmd := exec.CommandContext(ctx, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir = checkout
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("git ls-files: %w", err)
	}
	var files []zip.File
	for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		if _, err := os.Lstat(filepath.Join(checkout, name)); err == nil { // it may be removed and not yet committed
			files = append(files, file{checkout, name})
		}
	}
	f, err := os.Create(archive)
	if err != nil {
		return err
	}
	return errors.Join(zip.Create(f, module.Version{Path: ownModule, Version: p.version}, files), f.Close())
}

// forget removes the checkout's version from the machine's module cache.
func (p *moduleProxy) forget(modcache string) error {
	extracted := filepath.Join(modcache, ownModule+"@"+p.version)
	// The go command takes the right to write from the folders.
	_ = filepath.WalkDir(extracted, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			err = os.Chmod(path, 0o755)
		}
		return err
	})
	errs := []error{os.RemoveAll(extracted)}
	folder := filepath.Join(modcache, "cache", "download", ownModule, "@v")
	downloads, _ := filepath.Glob(filepath.Join(folder, p.version+".*"))
	for _, name := range downloads {
		errs = append(errs, os.Remove(name))
	}
	// The go command asks for it anew; another run may have removed it.
	if err := os.Remove(filepath.Join(folder, "list")); !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// file is a file of the checkout, as package zip takes it.
type file struct{ root, name string }

func (f file) Path() string                 { return f.name }
func (f file) Lstat() (os.FileInfo, error)  { return os.Lstat(filepath.Join(f.root, f.name)) }
func (f file) Open() (io.ReadCloser, error) { return os.Open(filepath.Join(f.root, f.name)) }
