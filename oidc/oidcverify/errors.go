package oidcverify

import (
	"fmt"

	"github.com/vercelaws/vercelaws/internal/scrub"
)

// notAllowed is the error for a valid token whose claims may not pass.
type notAllowed struct{ why string }

// Error says which claim it was.
func (e *notAllowed) Error() string { return ErrRefused.Error() + ": " + e.why }

// Is has the error match both of its classes.
func (e *notAllowed) Is(target error) bool { return target == ErrNotAllowed || target == ErrRefused }

// refuseSignature returns the refusal of a token that the issuer did not sign.
func refuseSignature(why string) error {
	if why != "" {
		why = ": " + why
	}
	return fmt.Errorf("%w: its signature does not verify%s", ErrRefused, why)
}

const (
	maxQuoted  = 200 // bytes of a stranger's text in an error
	maxAudlist = 4   // audiences of a token that an error lists
)

// quote makes text of a token or a server fit for an error.
func quote(s string) string { return fmt.Sprintf("%q", scrub.Text(s, "", maxQuoted)) }

// quoteAll is quote for a list, of which it shows the beginning.
func quoteAll(list []string) string {
	short := make([]string, 0, maxAudlist)
	for i, s := range list {
		if i == maxAudlist {
			return fmt.Sprintf("%q and %d more", short, len(list)-i)
		}
		short = append(short, scrub.Text(s, "", maxQuoted))
	}
	return fmt.Sprintf("%q", short)
}
