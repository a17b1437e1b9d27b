package oidc

// DefaultSource returns the source that a provider uses unless told otherwise:
// the first live token of [FromRequest], [FromFile], [FromEnv] and [FromCLI].
func DefaultSource() TokenSource {
	return FirstOf(FromRequest(), FromFile(), FromEnv(), FromCLI())
}
