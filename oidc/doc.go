// Package oidc reads Vercel OIDC tokens and finds them: in requests, files, the
// environment and the Vercel CLI. It knows nothing of AWS.
//
// Most programs need two functions: [RequestContext] in a Vercel function, or
// [Middleware] in a server. Both put the token of a request into its context,
// from which the provider of package vercelaws takes it.
//
// # Sources
//
// A [TokenSource] gives a token. [DefaultSource] is what a provider asks unless
// told otherwise. It takes the first token that has not expired from the request
// ([FromRequest]), a file ([FromFile]), the environment ([FromEnv]) and the Vercel
// CLI ([FromCLI]). [FirstOf] does the same with any sources, and
// [TokenSourceFunc] makes a source of a function. [Exchange] wraps a source to
// narrow its tokens to one audience.
//
// # Errors
//
// Errors say which source was asked, why it had no token, and what to do. They
// match [ErrNoToken], [ErrExpired] or [ErrMalformed], or *[ExchangeError] if there
// was a token and it could not be exchanged. They never hold a token. Text from a
// claim, a server or a program is quoted and shortened.
//
// # Trust
//
// The claims of a [Token] are read, not verified: STS verifies them. To
// authenticate callers by their token, use package oidcverify.
package oidc
