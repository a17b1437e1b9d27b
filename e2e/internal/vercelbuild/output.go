package vercelbuild

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

// Output is what vercel build made: the Build Output API's folder.
// https://vercel.com/docs/build-output-api
type Output struct {
	Functions map[string]*Function // by path, for example api/objects
	Static    []string             // what is published as it is
}

// Function is a function of the output.
type Function struct {
	Handler     string            `json:"handler"`
	Runtime     string            `json:"runtime"`
	Environment map[string]string `json:"environment"`
	MaxDuration int               `json:"maxDuration"`
	FilePathMap map[string]string `json:"filePathMap"`
	Files       []string          `json:"-"` // sorted

	paths map[string]string // of Files
}

// Output reads the output of the project's build.
func (p *Project) Output() (*Output, error) {
	root := filepath.Join(p.Folder, ".vercel", "output")
	out := &Output{Functions: map[string]*Function{}}
	functions := filepath.Join(root, "functions")
	err := filepath.WalkDir(functions, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // all is static
		}
		if err != nil || !d.IsDir() || !strings.HasSuffix(path, ".func") {
			return err
		}
		name, err := filepath.Rel(functions, strings.TrimSuffix(path, ".func"))
		if err != nil {
			return err
		}
		if out.Functions[name], err = readFunction(p.Folder, path); err != nil {
			return err
		}
		return filepath.SkipDir
	})
	if err != nil {
		return nil, err
	}
	static := filepath.Join(root, "static")
	err = filepath.WalkDir(static, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(static, path)
		out.Static = append(out.Static, name)
		return err
	})
	return out, err
}

func readFunction(project, folder string) (*Function, error) {
	b, err := os.ReadFile(filepath.Join(folder, ".vc-config.json"))
	if err != nil {
		return nil, err
	}
	f := &Function{paths: map[string]string{}}
	if err := json.Unmarshal(b, f); err != nil {
		return nil, fmt.Errorf("%s: .vc-config.json: %w", folder, err)
	}
	for name, path := range f.FilePathMap {
		f.paths[name] = filepath.Join(project, path)
	}
	err = filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == ".vc-config.json" {
			return err
		}
		name, err := filepath.Rel(folder, path)
		f.paths[name] = path
		return err
	})
	for name := range f.paths {
		f.Files = append(f.Files, name)
	}
	sort.Strings(f.Files)
	return f, err
}

// Unpack lays the function's files out in folder, as they are where it runs,
// and returns the path of its program.
func (f *Function) Unpack(folder string) (program string, err error) {
	for name, path := range f.paths {
		b, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		target := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return "", err
		}
		info, err := os.Stat(path)
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(target, b, info.Mode().Perm()); err != nil {
			return "", err
		}
	}
	return filepath.Join(folder, f.Handler), nil
}
