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

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	"github.com/vercelaws/vercelaws/internal/guard"
	"github.com/vercelaws/vercelaws/internal/leaf"
	"github.com/vercelaws/vercelaws/internal/pace"
	"github.com/vercelaws/vercelaws/internal/scrub"
	"github.com/vercelaws/vercelaws/internal/stsclient"
	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/refresh"
)

// ProviderName is the Source of the credentials that a provider returns.
const ProviderName = "VercelOIDCProvider"

// Options are the choices of [NewProvider]. The zero value is right for most
// programs. A value that STS would refuse is reported by the first Retrieve,
// before any network call.
type Options struct {
	// Client calls STS. If nil, one is built on first use from the
	// environment (AWS_REGION, AWS_DEFAULT_REGION, AWS_ENDPOINT_URL_STS, FIPS,
	// dual-stack, retry and CA settings), with a region of the role's
	// partition where none is set. It signs nothing, and reads no stored
	// credentials and no shared config file: who needs that file gives
	// sts.NewFromConfig(cfg) here.
	Client stscreds.AssumeRoleWithWebIdentityAPIClient

	// TokenSource gives the token. If nil, oidc.DefaultSource().
	TokenSource oidc.TokenSource

	// RoleSessionName names the session in CloudTrail and in the assumed
	// role's ARN: 2 to 64 characters of [A-Za-z0-9_+=,.@-]. If empty,
	// "vercel-<project>-<environment>" from the token, cut to fit.
	RoleSessionName string

	// Duration is how long the credentials live: 15 minutes to 12 hours, no
	// longer than the role's own maximum. If zero, STS's default of one hour.
	Duration time.Duration

	// ExpiryWindow is how much of their life the credentials have left when a
	// caller gets them, at least, while STS answers: for presigned URLs, uploads
	// and database logins that must outlive their making. See
	// refresh.Options.ExpiryWindow. At most three fifths of Duration (of an hour
	// where that is zero). If zero or less, none.
	ExpiryWindow time.Duration

	// Policy is a session policy in JSON that narrows the role's permissions,
	// at most 2,048 characters. If nil, none.
	Policy *string

	// PolicyARNs are managed policies that narrow the role's permissions in
	// the same way, at most 10.
	PolicyARNs []types.PolicyDescriptorType

	// Audience, if not empty, has each token exchanged at Vercel for one with
	// this audience first, such as "https://sts.amazonaws.com". The issuer of
	// an exchanged token is always the team's (see oidc.Exchange).
	Audience string

	// JTI becomes the jti claim of the exchanged tokens. It needs an Audience.
	// If empty, Vercel chooses.
	JTI string

	// FallbackRegion is a second region, such as "eu-west-1", whose STS is
	// asked where the first does not answer within a second, or fails. If
	// empty, none. It must be of the role's partition, and not the first. It
	// has no effect where a Client is given.
	FallbackRegion string

	// Preconnect opens a connection to STS in the background as soon as the
	// provider is made, so that the first fetch of credentials needs one
	// round trip in place of three (TCP, TLS, HTTP). It sends STS no token.
	// It has no effect on a Client that is not an *sts.Client.
	Preconnect bool

	// Logger receives a record for each refresh: at level Info when it
	// succeeded, Warn when it failed. If nil, nothing is logged. Records never
	// hold a token or key. See refresh.Options, also for when it is called.
	Logger *slog.Logger

	// OnEvent is told of each refresh; see refresh.Options. If nil, nobody is.
	OnEvent func(refresh.Event)
}

// NewProvider returns AWS credentials of the role roleARN, obtained with the
// Vercel OIDC token of the request in the context that an SDK call is given
// (see oidc.RequestContext), or of the other sources of oidc.DefaultSource.
//
// The result is safe for concurrent use and meant to be made once and shared by
// all clients. It can be given to a client's Options.Credentials and to
// config.WithCredentialsProvider. Its Invalidate method makes the next
// Retrieve fetch new credentials. When they are replaced, and what callers see
// of it, is told in package refresh.
//
// The role's trust policy must allow sts:AssumeRoleWithWebIdentity to the
// token's issuer, subject and audience; see
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html.
// Retrieve's errors match *[ConfigError] where a setting is wrong,
// *[AssumeRoleError] where STS was asked, *oidc.ExchangeError where an exchange
// failed, and oidc.ErrNoToken, oidc.ErrExpired or oidc.ErrMalformed where there was
// no token to ask with.
//
// The Expires of the credentials it returns is when the SDK should ask again,
// which is some minutes before STS ends them.
func NewProvider(roleARN string, optFns ...func(*Options)) *aws.CredentialsCache {
	var o Options
	for _, fn := range optFns {
		fn(&o)
	}
	f := newFetcher(roleARN, o)
	if o.Preconnect && f.invalid == nil {
		go inBackground(func(ctx context.Context) { preconnect(ctx, f.client) })
	}
	return refresh.NewCredentialsCache(f, func(r *refresh.Options) {
		r.ExpiryWindow = o.ExpiryWindow
		r.OnEvent = o.OnEvent
		r.Carry = oidc.Detach // the token, and nothing else of a request
		if o.Logger != nil {
			r.Logger = o.Logger.With("role", roleARN)
		}
	})
}

// newFetcher puts the parts together: the token's source and the way to STS.
func newFetcher(roleARN string, o Options) *fetcher {
	f := &fetcher{
		roleARN:  roleARN,
		options:  o,
		invalid:  validate(roleARN, o),
		client:   o.Client,
		refusals: pace.Pacer{Burst: refusalBurst},
	}
	source := o.TokenSource
	if source == nil {
		source = oidc.DefaultSource()
	}
	if o.Audience != "" {
		source = oidc.Exchange(source, o.Audience, func(e *oidc.ExchangeOptions) { e.JTI = o.JTI })
	}
	if s, ok := source.(interface{ Invalid(leaf.Seal) error }); ok && f.invalid == nil {
		f.invalid = s.Invalid(leaf.Seal{})
	}
	// FirstOf makes a leaf of a source that is not of package oidc.
	f.leaves = oidc.FirstOf(source).(interface{ Leaves(leaf.Seal) []tokenLeaf }).Leaves(leaf.Seal{})
	if f.client == nil {
		f.client = stsclient.New(stsclient.Options{RoleARN: roleARN, FallbackRegion: o.FallbackRegion})
		if warnings := stsclient.Warnings(); len(warnings) > 0 && o.Logger != nil {
			go inBackground(func(context.Context) { // the handler may take its time
				for _, w := range warnings {
					o.Logger.Warn("vercelaws: "+w, "role", roleARN)
				}
			})
		}
	}
	return f
}

// preconnect opens a connection for the first operation. Its error is ignored:
// the first operation connects by itself.
func preconnect(ctx context.Context, client stscreds.AssumeRoleWithWebIdentityAPIClient) {
	switch c := client.(type) {
	case *stsclient.Client:
		c.Connect(ctx)
	case *sts.Client:
		stsclient.Connect(ctx, c)
	}
}

// inBackground calls f, which calls a user's code, for nobody in particular: what
// goes wrong there is ignored.
func inBackground(f func(context.Context)) {
	ctx, cancel := context.WithTimeout(context.Background(), fetchLimit)
	defer cancel()
	_, _ = guard.Do(ctx, new(guard.Calls), "a call in the background", 0, func(ctx context.Context) (struct{}, error) {
		f(ctx)
		return struct{}{}, nil
	})
}

// The limits of AssumeRoleWithWebIdentity's parameters, from
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html.
const (
	minRoleARN     = 20
	maxRoleARN     = 2048
	minDuration    = 900 * time.Second
	maxDuration    = 43_200 * time.Second
	maxPolicy      = 2048
	maxPolicyARNs  = 10
	maxSessionName = 64

	defaultDuration = 3600 * time.Second // where none is given

	maxAudience = 2048 // no limit of STS's; see oidc.Exchange
)

// validate says what STS, or the exchange, would refuse whatever the token is.
func validate(roleARN string, o Options) error {
	if problem := problemOf(roleARN); problem != "" {
		return &ConfigError{"role ARN", "the role ARN " + problem}
	}
	wrong := func(option, problem string, args ...any) error {
		option = "Options." + option
		return &ConfigError{option, option + " " + fmt.Sprintf(problem, args...)}
	}
	switch {
	case o.Duration != 0 && (o.Duration < minDuration || o.Duration > maxDuration):
		return wrong("Duration", "is %s; STS takes %s to %s", o.Duration, minDuration, maxDuration)
	case o.Duration%time.Second != 0:
		return wrong("Duration", "is %s; STS counts in whole seconds", o.Duration)
	case o.ExpiryWindow > cmp.Or(o.Duration, defaultDuration)/5*3:
		return wrong("ExpiryWindow", "is %s, more than three fifths of Options.Duration, which is %s; shorten it or have the credentials live longer", o.ExpiryWindow, cmp.Or(o.Duration, defaultDuration))
	case len(o.Audience) > maxAudience:
		return wrong("Audience", "has %d characters; at most %d make sense", len(o.Audience), maxAudience)
	case strings.ContainsFunc(o.Audience, spaceOrControl):
		return wrong("Audience", "is %s, with a space or control character", quote(o.Audience))
	case o.JTI != "" && o.Audience == "":
		return wrong("JTI", "is set without Options.Audience; it is a claim of exchanged tokens")
	case o.Policy != nil && (*o.Policy == "" || utf8.RuneCountInString(*o.Policy) > maxPolicy):
		return wrong("Policy", "has %d characters; STS takes 1 to %d", utf8.RuneCountInString(*o.Policy), maxPolicy)
	case len(o.PolicyARNs) > maxPolicyARNs:
		return wrong("PolicyARNs", "has %d policies; STS takes at most %d", len(o.PolicyARNs), maxPolicyARNs)
	case o.RoleSessionName != "" && !validSessionName(o.RoleSessionName):
		return wrong("RoleSessionName", "is %s; STS takes 2 to %d characters of A-Z, a-z, 0-9 and _+=,.@-", quote(o.RoleSessionName), maxSessionName)
	}
	return nil
}

// problemOf says what no STS accepts in a role ARN. It is no stricter, because
// S3-compatible stores have role ARNs that AWS would not have.
func problemOf(arn string) string {
	problem := ""
	switch {
	case arn == "":
		return "is empty; set AWS_ROLE_ARN in the Vercel project's environment variables to the role's ARN, such as arn:aws:iam::123456789012:role/web"
	case strings.ContainsFunc(arn, spaceOrControl):
		problem = "has a space or control character"
	case !strings.HasPrefix(arn, "arn:"):
		problem = `does not begin with "arn:"`
	case !strings.Contains(arn, ":role/"):
		problem = `has no ":role/"`
	case len(arn) < minRoleARN || len(arn) > maxRoleARN:
		problem = fmt.Sprintf("has %d characters; STS takes %d to %d", len(arn), minRoleARN, maxRoleARN)
	default:
		return ""
	}
	return quote(arn) + " " + problem
}

func spaceOrControl(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }

// quote keeps a value readable in an error.
func quote(s string) string { return scrub.Quote(s, 128) }

// quoteAll does so for a list, of which it keeps the beginning.
func quoteAll(list []string) string {
	const most = 4
	var quoted []string
	for _, s := range list[:min(len(list), most)] {
		quoted = append(quoted, quote(s))
	}
	if len(list) > most {
		quoted = append(quoted, "…")
	}
	return strings.Join(quoted, " ")
}

// sessionNameFor names a session after the token's project and environment, in
// STS's alphabet and length. A long project's name is cut, so that the
// environment stays.
func sessionNameFor(t oidc.Token) string {
	name, environment := "vercel", ""
	if t.Project != "" {
		name += "-" + t.Project
	}
	if t.Environment != "" {
		environment = "-" + t.Environment
	}
	name, environment = inAlphabet(name), inAlphabet(environment)
	environment = environment[:min(len(environment), max(maxSessionName/2, maxSessionName-len(name)))]
	return name[:min(len(name), maxSessionName-len(environment))] + environment
}

func inAlphabet(name string) string {
	return strings.Map(func(r rune) rune {
		if inSessionName(r) {
			return r
		}
		return '-'
	}, name)
}

func validSessionName(s string) bool {
	return len(s) >= 2 && len(s) <= maxSessionName && !strings.ContainsFunc(s, func(r rune) bool { return !inSessionName(r) })
}

func inSessionName(r rune) bool {
	return r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("_+=,.@-", r))
}
