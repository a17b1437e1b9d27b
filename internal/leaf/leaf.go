// Package leaf has the types with which a provider takes the token sources of package
// oidc apart, so that it can ask them in an order of its own.
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
	// Read returns the source's token, even an expired one.
	Read func(context.Context) (T, error)

	// Check returns an error if a token that Read returned has expired.
	Check func(T) error

	// Request is set if the leaf is oidc.FromRequest.
	Request *Request[T]

	// Steps are called one after the other with the token that Read returned. The
	// result of the last is for STS.
	Steps []func(context.Context, T) (T, error)
}

// Request gives access to the tokens of other requests than the context's own.
type Request[T any] struct {
	// Given reports whether the context's token is that of oidc.ContextWithToken.
	Given func(context.Context) bool

	// Recent returns the tokens of recent requests. It is a function because no
	// printer shows what a function holds.
	Recent func() *recent.Store[T]
}

// Reasons are the errors of all sources, if none had a token that can be used.
type Reasons []error

// The text of errors is cut, since other code than this module's may have written
// it.
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
