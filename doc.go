// Package vercelaws gives code that runs on Vercel AWS credentials from the
// deployment's OIDC token. There are no stored keys: AWS STS exchanges the
// token for an hour's credentials of an IAM role that trusts Vercel.
//
// Most programs need two functions: [NewProvider], whose result goes into any
// client of the AWS SDK for Go v2, and oidc.RequestContext, whose result goes
// into each call:
//
//	var client = s3.New(s3.Options{
//		Region:      os.Getenv("AWS_REGION"),
//		Credentials: vercelaws.NewProvider(os.Getenv("AWS_ROLE_ARN")),
//	})
//
//	func Handler(w http.ResponseWriter, r *http.Request) {
//		out, err := client.ListObjectsV2(oidc.RequestContext(r), &s3.ListObjectsV2Input{Bucket: aws.String("photos")})
//
// A server wraps its handler in oidc.Middleware and passes r.Context().
//
// # Life of the credentials
//
// Fresh credentials come from the SDK's cache and cost nothing. Some minutes
// before they expire, one refresh starts in the background and no caller waits
// for it. If STS fails, the old credentials serve to their real end. Nothing
// runs while nobody asks. Package refresh has the details.
//
// # What callers can rely on
//
//   - While credentials live, no fault of STS, of the network or of the
//     program's own hooks fails a call that has half a second left. The exception
//     is a call within Options.ExpiryWindow, which waits for fresh credentials.
//   - Every call ends within ten seconds.
//   - A request's bad token fails no other request: good ones that requests have
//     brought are tried. In a deployment a token of another project or environment
//     is not used.
//   - STS sees at most four refused operations and two a second after that from
//     a provider; while it does nothing but fail, three requests and two a second
//     after that from the process. Healthy calls wait for nothing but STS.
//   - No token or key is in an error, a log record or an event.
//
// # Errors
//
// Errors of Retrieve are of five kinds, which [errors.As] and [errors.Is] tell
// apart:
//
//   - *[ConfigError]: a setting is wrong, and Setting names it. Nothing was sent.
//   - oidc.ErrNoToken, oidc.ErrExpired, oidc.ErrMalformed: there was no token to
//     ask with.
//   - *oidc.ExchangeError: Vercel did not exchange the token. Refused says whether
//     that stays so.
//   - *[AssumeRoleError] whose Temporary method reports false: STS refused. Code is
//     its reason, and Advice says what to change.
//   - *[AssumeRoleError] whose Temporary method reports true: STS could not be
//     asked. It usually passes.
//
// # One identity
//
// A provider serves one role with one identity: all requests of a deployment
// carry the same project and environment. A program that acts for other parties
// makes a provider for each (oidc.ContextWithToken), and one that acts in its
// customers' accounts one for each role ([NewProviders]).
//
// A program that uses a role on Vercel and something else elsewhere decides by
// whether it was given a role, and not by whether the role failed.
//
// # Backwards compatibility
//
// Before v1.0.0 a minor version may change public names, which CHANGELOG.md then
// lists; a patch version changes none. From v1.0.0 on, no public name is removed
// or changes its meaning within a major version. Fields may be added to option
// structs and to refresh.Event, so use field names in composite literals. The
// text of errors and logs is not part of the promise; their types, and what they
// match under [errors.Is] and [errors.As], are.
package vercelaws
