package oidc

// DefaultSource returns the source that a provider uses unless told otherwise:
// the first token that has not expired of [FromRequest], [FromFile], [FromEnv] and [FromCLI].
func DefaultSource() TokenSource {
	return FirstOf(FromRequest(), FromFile(), FromEnv(), FromCLI())
}
