// Package oidc holds what a Vercel OIDC token is and where it comes from. It
// knows nothing of AWS.
//
// Most programs need two functions: [RequestContext] in a Vercel function, or
// [Middleware] in a server. Both put the token of a request into its context,
// from which the provider of package vercelaws takes it.
//
// # Sources
//
// A [TokenSource] gives a token. [DefaultSource] is what a provider asks unless
// told otherwise: the request ([FromRequest]), a file ([FromFile]), the
// environment ([FromEnv]) and the Vercel CLI ([FromCLI]), the first that has a
// live token. [FirstOf] makes such a search of any sources, and a function of
// yours is a source through [TokenSourceFunc]. [Exchange] wraps a source to
// narrow its tokens to one audience.
//
// # Errors
//
// Errors say which source was asked, why it had no token, and what to do. They
// match [ErrNoToken], [ErrExpired] or [ErrMalformed], or *[ExchangeError] where
// there was a token and it could not be exchanged. They never hold a token, and
// what a claim, a server or a program says stands in them quoted and shortened.
//
// # Trust
//
// The claims of a [Token] are read, not verified: STS verifies them. To
// authenticate callers by their token, use package oidcverify.
package oidc
