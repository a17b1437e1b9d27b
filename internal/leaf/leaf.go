// Package leaf is how a provider takes the token sources of package oidc apart,
// so that it can walk them in an order of its own.
package leaf

import (
	"context"
	"strings"
	"time"

	"github.com/vercelaws/vercelaws/internal/recent"
	"github.com/vercelaws/vercelaws/internal/scrub"
)

// Grace is how long past its expiry STS still accepts a token, because clocks
// differ; see
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_oidc.html.
const Grace = 5 * time.Minute

// Seal is the parameter of the methods by which a source shows its parts. Only
// this module can name it, so a user's source with a method of the same name is
// not taken apart.
type Seal struct{}

// Leaf is a source that has no other source inside it. T is oidc.Token, which
// this package cannot import.
type Leaf[T any] struct {
	// Read gives the token as it came, also one that has expired.
	Read func(context.Context) (T, error)

	// Check says why a token that Read gave cannot be used any more, or nil.
	Check func(T) error

	// Request is set where the leaf is oidc.FromRequest.
	Request *Request[T]

	// Steps turn the token as it came into the one that STS is given.
	Steps []func(context.Context, T) (T, error)
}

// Request is what oidc.FromRequest knows beside the context's own token.
type Request[T any] struct {
	// Given reports whether the caller chose the context's token.
	Given func(context.Context) bool

	// Recent returns the tokens that requests brought lately. It is a function
	// because no printer looks into one.
	Recent func() *recent.Store[T]
}

// Reasons are the errors of all sources that had no token that lives.
type Reasons []error

// The lengths of an error's text, where other code than this module's may have
// written it.
const (
	maxReason  = 1000 // bytes for a source
	maxReasons = 4000 // bytes for all
)

// Error lists the reasons on one line.
func (r Reasons) Error() string {
	texts := make([]string, len(r))
	for i, err := range r {
		texts[i] = scrub.Text(strings.TrimPrefix(err.Error(), "oidc: "), "", maxReason)
	}
	return scrub.Text("oidc: no source has a live token: "+strings.Join(texts, "; "), "", maxReasons)
}

// Unwrap returns the reasons, for errors.Is.
func (r Reasons) Unwrap() []error { return r }
