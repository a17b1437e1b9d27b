package oidc

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/vercelaws/vercelaws/internal/deployment"
	"github.com/vercelaws/vercelaws/internal/scrub"
)

const (
	fileVariable = "VERCEL_OIDC_TOKEN_FILE"
	envVariable  = "VERCEL_OIDC_TOKEN"
)

// bare removes what editors and shells add to a token: white space around it, and
// the byte order mark that PowerShell writes before it.
func bare(s string) string { return strings.TrimSpace(strings.TrimPrefix(s, "\ufeff")) }

// FromFile returns the source that reads the file named by the environment
// variable VERCEL_OIDC_TOKEN_FILE. It reads both at each call, so a new token in
// the file needs no restart of the program. White space around the token is
// ignored, and so is a byte order mark before it.
func FromFile() TokenSource {
	return single{fileVariable, func() (string, error) {
		path := os.Getenv(fileVariable)
		if path == "" {
			return "", fmt.Errorf("%w: the variable is not set", ErrNoToken)
		}
		if strings.HasPrefix(bare(path), "eyJ") {
			return "", fmt.Errorf("%w: the variable holds a token and not the name of a file; put it into %s", ErrNoToken, envVariable)
		}
		b, err := readRegular(path, MaxTokenLength+1024) // the longest token, and a little white space
		raw := bare(string(b))
		if err == nil && raw == "" {
			err = errors.New("it is empty")
		}
		if err != nil {
			return "", fmt.Errorf("%w: %s: %w", ErrNoToken, scrub.Quote(path, 200), err)
		}
		return raw, nil
	}}
}

// readRegular reads the first limit bytes of a regular file. Its errors do not
// name the file. The file is opened without blocking, since opening a pipe could
// block for ever. Its type is looked at once it is open, because until then
// another file can take its name.
func readRegular(path string, limit int64) (data []byte, err error) {
	defer func() {
		if pathErr, ok := err.(*fs.PathError); ok {
			err = pathErr.Err
		}
	}()
	f, err := os.OpenFile(path, os.O_RDONLY|nonBlocking, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	return io.ReadAll(io.LimitReader(f, limit))
}

// FromEnv returns the source that reads the environment variable
// VERCEL_OIDC_TOKEN at each call. Vercel sets it during a build; `vercel env
// pull` writes it to .env.local for local development, where it lives 12
// hours. A deployed function may have it too, but there nothing renews it: use
// the token in the request's header.
func FromEnv() TokenSource {
	return single{envVariable, func() (string, error) {
		raw := bare(os.Getenv(envVariable))
		if raw != "" {
			return raw, nil
		}
		err := fmt.Errorf("%w: the variable is not set", ErrNoToken)
		if deployment.Variable() == "" {
			err = fmt.Errorf("%w; for local development run `vercel env pull` and load .env.local", err)
		}
		return "", err
	}}
}

// freshVariable says what to do about an expired token of the variable.
func freshVariable() string {
	if deployment.Variable() != "" {
		return "in a deployment only the tokens of requests are fresh"
	}
	return "run `vercel env pull` for a new one"
}
