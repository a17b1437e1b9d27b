package oidc

import (
	"context"
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

// bare takes off what editors and shells put around a token: white space, and
// the byte order mark that PowerShell writes.
func bare(s string) string { return strings.TrimSpace(strings.TrimPrefix(s, "\ufeff")) }

// FromFile returns the source that reads the file named by the environment
// variable VERCEL_OIDC_TOKEN_FILE. It reads both at each call, so whoever
// keeps the file fresh needs no restart of the program. White space around the
// token is ignored, and so is a byte order mark before it.
func FromFile() TokenSource {
	return single{fileVariable, func(context.Context) (string, error) {
		path := os.Getenv(fileVariable)
		if path == "" {
			return "", fmt.Errorf("%w: the variable is not set", ErrNoToken)
		}
		if strings.HasPrefix(bare(path), "eyJ") {
			return "", fmt.Errorf("%w: the variable holds a token and not the name of a file; put it into %s", ErrNoToken, envVariable)
		}
		raw, err := readTokenFile(path)
		if err != nil {
			return "", fmt.Errorf("%w: %s: %w", ErrNoToken, scrub.Quote(path, 200), err)
		}
		return raw, nil
	}, func() string { return "" }}
}

// readTokenFile reads no more than a token's length and a little white space.
// Its errors do not name the file.
func readTokenFile(path string) (string, error) {
	b, err := readRegular(path, MaxTokenLength+1024)
	if err != nil {
		return "", withoutPath(err)
	}
	raw := bare(string(b))
	if raw == "" {
		return "", errors.New("it is empty")
	}
	return raw, nil
}

// readRegular reads the beginning of a regular file. Opening a pipe could block
// for ever, so it is opened without blocking, and then looked at: what a name
// stood for before may have been replaced.
func readRegular(path string, limit int64) ([]byte, error) {
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

// withoutPath is what went wrong with a file, without its name.
func withoutPath(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}

// FromEnv returns the source that reads the environment variable
// VERCEL_OIDC_TOKEN at each call. Vercel sets it during a build; `vercel env
// pull` writes it to .env.local for local development, where it lives 12
// hours. In a deployed function it may be there too and is not kept fresh: the
// request's header is.
func FromEnv() TokenSource {
	return single{envVariable, func(context.Context) (string, error) {
		raw := bare(os.Getenv(envVariable))
		if raw != "" {
			return raw, nil
		}
		err := fmt.Errorf("%w: the variable is not set", ErrNoToken)
		if deployment.Variable() == "" {
			err = fmt.Errorf("%w; for local development run `vercel env pull` and load .env.local", err)
		}
		return "", err
	}, func() string {
		if deployment.Variable() != "" {
			return "in a deployment only the tokens of requests are fresh"
		}
		return "run `vercel env pull` for a new one"
	}}
}
