package vercelfn

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/vercelaws/vercelaws/e2e/internal/process"
)

// Function is one instance of a running function. It is an
// [http.RoundTripper]: what an http.Client sends through it arrives at the
// handler as a request through Vercel does. It answers one request at a time.
type Function struct {
	api     *runtimeAPI
	server  *httptest.Server
	process *process.Process
}

// Start starts the program that [Build] or Vercel's builder made, in its folder. Its environment is what Vercel
// sets in a production deployment, and env ("NAME=value") on top of that;
// nothing of the tests' own.
func Start(program string, env ...string) (*Function, error) {
	api := newRuntimeAPI()
	server := httptest.NewServer(&api.mux)
	cmd := exec.Command(program)
	cmd.Dir = filepath.Dir(program) // as Lambda has it
	cmd.Env = append([]string{
		"AWS_LAMBDA_RUNTIME_API=" + strings.TrimPrefix(server.URL, "http://"),
		"AWS_LAMBDA_FUNCTION_NAME=e2e",
		"AWS_REGION=us-east-1",
		"VERCEL=1",
		"VERCEL_ENV=production",
		"VERCEL_TARGET_ENV=production",
		"VERCEL_REGION=iad1",
	}, env...)
	p, err := process.Start(cmd)
	if err != nil {
		server.Close()
		return nil, err
	}
	return &Function{api, server, p}, nil
}

// RoundTrip sends the request to the function as an Invoke event.
func (f *Function) RoundTrip(req *http.Request) (*http.Response, error) {
	event, err := encode(req)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(req.Context(), invocationTime)
	defer cancel()
	answer, err := f.api.invoke(ctx, f.process.Ended(), event)
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, f.Log())
	}
	return decode(answer, req)
}

// Log returns what the function has written to its log so far.
func (f *Function) Log() string { return f.process.Output() }

// Stop ends the function.
func (f *Function) Stop() error {
	err := f.process.Stop(syscall.SIGTERM)
	f.api.close()
	f.server.Close()
	return err
}
