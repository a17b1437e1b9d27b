// Package candidate is what a fetch of credentials tells the sources of package
// oidc about the tokens it has tried, through the context.
package candidate

import (
	"context"
	"errors"
	"time"
)

// Grace is how long past its expiry STS still accepts a token, because clocks
// differ; see
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_oidc.html.
const Grace = 5 * time.Minute

// Hints is what a fetch knows of tokens. The zero value is a fetch that knows
// nothing and wants a good token. Functions that are nil report false.
type Hints struct {
	// Proven is the JWT that was accepted last, or empty. Sources borrow it
	// where the caller brings none that will do.
	Proven string

	// Tried reports whether this fetch has tried a token. Sources pass it
	// over in any case.
	Tried func(raw string) bool

	// Refused reports whether a token was refused in an earlier fetch. Sources
	// pass it over unless AllowRefused: whatever else there is comes first.
	Refused      func(raw string) bool
	AllowRefused bool

	// Turn is how many tokens this fetch has tried. Sources that draw one of
	// many go by their number and by their newness in turn.
	Turn int

	// AllowExpired lets tokens pass that are up to [Grace] past their expiry.
	AllowExpired bool
}

type key struct{}

// With returns ctx with h in place of what hints it had.
//
// They are kept in a function because no printer of contexts looks into one.
func With(ctx context.Context, h Hints) context.Context {
	return context.WithValue(ctx, key{}, func() Hints { return h })
}

// Of returns the hints in ctx, zero if there are none.
func Of(ctx context.Context) Hints {
	if h, ok := ctx.Value(key{}).(func() Hints); ok {
		return h()
	}
	return Hints{}
}

// PassOver reports whether a source should look for another token than raw.
func (h Hints) PassOver(raw string) bool {
	if h.Tried != nil && h.Tried(raw) {
		return true
	}
	return !h.AllowRefused && h.Refused != nil && h.Refused(raw)
}

// Final reports whether err is of a token that the caller chose, so that no
// other stands in for it. Such an error has a method Final.
func Final(err error) bool {
	var final interface{ Final() }
	return errors.As(err, &final)
}
