package oidcverify_test

import (
	"bytes"
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/vercelaws/vercelaws/oidc/oidctest"
	"github.com/vercelaws/vercelaws/oidc/oidcverify"
)

// wire is the way to an issuer: it counts what goes over it, and can be cut.
type wire struct {
	next http.RoundTripper

	mu    sync.Mutex // guards what follows
	count map[string]int
	fault func(*http.Request) (*http.Response, error) // in place of the issuer, if not nil
}

func newWire(issuer *oidctest.Server) *wire {
	return &wire{next: issuer.Client().Transport, count: make(map[string]int)}
}

const (
	discovery = "openid-configuration"
	jwks      = "jwks"
)

// RoundTrip implements http.RoundTripper.
func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	_, name, _ := strings.Cut(r.URL.Path, "/.well-known/")
	w.mu.Lock()
	w.count[name]++
	fault := w.fault
	w.mu.Unlock()
	if fault != nil {
		return fault(r)
	}
	return w.next.RoundTrip(r)
}

func (w *wire) fetches(name string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.count[name]
}

func (w *wire) set(fault func(*http.Request) (*http.Response, error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fault = fault
}

// silent accepts a request and never answers it.
func silent(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// answering answers the documents that are named, and leaves the others to the
// issuer.
func (w *wire) answering(status int, header http.Header, documents map[string]io.Reader) func(*http.Request) (*http.Response, error) {
	return func(r *http.Request) (*http.Response, error) {
		_, name, _ := strings.Cut(r.URL.Path, "/.well-known/")
		body, ok := documents[name]
		if !ok {
			return w.next.RoundTrip(r)
		}
		return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(body), Request: r}, nil
	}
}

// document fetches one of the issuer's documents for a test to change.
func document(issuer *oidctest.Server, name string) []byte {
	response, err := issuer.Client().Get(issuer.Issuer() + "/.well-known/" + name)
	if err != nil {
		panic(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		panic(err)
	}
	return body
}

// must returns the verifier that New made.
func must(v *oidcverify.Verifier, err error) *oidcverify.Verifier {
	if err != nil {
		panic(err)
	}
	return v
}

// open opens a verifier to all that the issuer signs for its audience.
func open(o *oidcverify.Options) { o.AnyProject, o.AnyEnvironment = true, true }

// over returns a verifier that is open and reaches the issuer over the wire.
func over(issuer *oidctest.Server, w *wire, optFns ...func(*oidcverify.Options)) *oidcverify.Verifier {
	return must(oidcverify.New(issuer.Issuer(), issuer.Audience(), append([]func(*oidcverify.Options){open, func(o *oidcverify.Options) {
		o.HTTPClient = &http.Client{Transport: w}
	}}, optFns...)...))
}

// withHeader returns raw with another header.
func withHeader(raw, header string) string {
	_, rest, _ := strings.Cut(raw, ".")
	return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + rest
}

// endless is a body without an end.
type endless struct{ read int }

// Read never ends.
func (e *endless) Read(p []byte) (int, error) {
	e.read += len(p)
	copy(p, bytes.Repeat([]byte(" "), len(p)))
	return len(p), nil
}
