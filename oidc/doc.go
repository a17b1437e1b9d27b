// Package oidc holds what a Vercel OIDC token is and where it comes from: the
// token, the request context, the sources and the exchange.
package oidc
