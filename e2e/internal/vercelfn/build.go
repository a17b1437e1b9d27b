// Package vercelfn builds and runs a Go function as Vercel does: a generated
// main package around the handler, Vercel's real bridge, and AWS Lambda's
// runtime API, from which the bridge takes its events.
package vercelfn

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"text/template"

	_ "github.com/vercel/go-bridge/go/bridge" // what the wrapper imports, so that go.mod has it
)

// wrapper is what Vercel's builder generates around a handler.
// See packages/go/main.go in https://github.com/vercel/vercel.
var wrapper = template.Must(template.New("main.go").Parse(`package main

import (
	"net/http"

	vc "github.com/vercel/go-bridge/go/bridge"

	handler "{{.}}"
)

func main() {
	vc.Start(http.HandlerFunc(handler.Handler))
}
`))

// Build compiles the function whose exported func Handler is in the package
// with the given import path, and returns the program's path in folder. The
// module of the current folder must require that package and the bridge.
func Build(ctx context.Context, folder, importPath string) (string, error) {
	main := filepath.Join(folder, "main.go")
	f, err := os.Create(main)
	if err != nil {
		return "", err
	}
	if err := wrapper.Execute(f, importPath); err != nil {
		return "", err
	}
	if err := f.Close(); err != nil {
		return "", err
	}
	program := filepath.Join(folder, "function")
	args := []string{"build", "-buildvcs=false", "-o", program}
	if race {
		args = append(args, "-race")
	}
	if out, err := exec.CommandContext(ctx, "go", append(args, main)...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s as a function: %w\n%s", importPath, err, out)
	}
	return program, nil
}
