package oidc

// DefaultSource returns the source that a provider uses unless told otherwise. It
// gives the first token of [FromRequest], [FromFile], [FromEnv] and [FromCLI] that has
// not expired.
func DefaultSource() TokenSource {
	return FirstOf(FromRequest(), FromFile(), FromEnv(), FromCLI())
}
