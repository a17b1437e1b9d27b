package oidc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

const (
	fileVariable = "VERCEL_OIDC_TOKEN_FILE"
	envVariable  = "VERCEL_OIDC_TOKEN"
)

// FromFile returns the source that reads the file named by the environment
// variable VERCEL_OIDC_TOKEN_FILE. It reads both at each call, so whoever
// keeps the file fresh needs no restart of the program. White space around the
// token is ignored.
func FromFile() TokenSource {
	return TokenSourceFunc(func(ctx context.Context) (Token, error) {
		path := os.Getenv(fileVariable)
		if path == "" {
			return Token{}, &sourceError{fileVariable, fmt.Errorf("%w: the variable is not set", ErrNoToken)}
		}
		raw, err := readTokenFile(path)
		if err != nil {
			return Token{}, &sourceError{fileVariable, fmt.Errorf("%w: %w", ErrNoToken, err)}
		}
		return tokenFrom(ctx, fileVariable, raw)
	})
}

// readTokenFile reads no more than a token's length and a little white space,
// and only of a regular file: opening a pipe could block for ever.
func readTokenFile(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, MaxTokenLength+1024))
	if err != nil {
		return "", err
	}
	raw := strings.TrimSpace(string(b))
	if raw == "" {
		return "", errors.New(path + " is empty")
	}
	return raw, nil
}

// FromEnv returns the source that reads the environment variable
// VERCEL_OIDC_TOKEN at each call. Vercel sets it during a build; `vercel env
// pull` writes it to .env.local for local development, where it lives 12
// hours. In a deployed function it is not kept fresh: the request's header is.
func FromEnv() TokenSource {
	return TokenSourceFunc(func(ctx context.Context) (Token, error) {
		raw := strings.TrimSpace(os.Getenv(envVariable))
		if raw == "" {
			return Token{}, &sourceError{envVariable, fmt.Errorf("%w: the variable is not set; for local development run `vercel env pull` and load .env.local", ErrNoToken)}
		}
		t, err := tokenFrom(ctx, envVariable, raw)
		if errors.Is(err, ErrExpired) {
			return Token{}, fmt.Errorf("%w; run `vercel env pull` for a new one", err)
		}
		return t, err
	})
}
