package vercelaws

import (
	"context"
	"log/slog"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	"github.com/vercelaws/vercelaws/internal/guard"
	"github.com/vercelaws/vercelaws/internal/leaf"
	"github.com/vercelaws/vercelaws/internal/pace"
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
// Retrieve's errors match *[AssumeRoleError] where STS was asked,
// *oidc.ExchangeError where an exchange failed, and oidc.ErrNoToken,
// oidc.ErrExpired or oidc.ErrMalformed where there was no token to ask with.
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
