package failure

import (
	"errors"
	"os"
	"slices"
	"strings"

	"github.com/vercelaws/vercelaws/oidc"
)

// ofToken puts the most useful reason first: that of a source whose token has
// expired or is malformed, then that of a source that was set up and has no token.
func ofToken(err error) Failure {
	reasons := reasonsOf(err)
	slices.SortStableFunc(reasons, func(a, b error) int { return rank(a) - rank(b) })
	var f Failure
	if len(reasons) > 1 && rank(reasons[0]) == leastTelling {
		f.Words = "no source has a live token"
	} else {
		f.Words, reasons = ownWords(reasons[0]), reasons[1:]
	}
	for _, reason := range reasons {
		f.Details = append(f.Details, ownWords(reason))
	}
	return f
}

// leastTelling is the rank of a source that nobody has set up.
const leastTelling = 2

func rank(reason error) int {
	name, _, _ := strings.Cut(ownWords(reason), ":")
	switch {
	case errors.Is(reason, oidc.ErrExpired), errors.Is(reason, oidc.ErrMalformed):
		return 0
	case strings.HasPrefix(name, "VERCEL_") && os.Getenv(name) != "":
		return 1
	}
	return leastTelling
}

// reasonsOf returns the errors of several sources one by one.
func reasonsOf(err error) []error {
	var several interface{ Unwrap() []error }
	if errors.As(err, &several) {
		return slices.Clone(several.Unwrap())
	}
	return []error{err}
}
