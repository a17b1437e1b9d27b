package vercelaws

import (
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	"github.com/vercelaws/vercelaws/oidc"
)

// ProviderName is the Source of the credentials that a provider returns.
const ProviderName = "VercelOIDCProvider"

// Options are the choices of [NewProvider]. The zero value is right for most
// programs. A value that STS would refuse is reported by the first Retrieve,
// before any network call.
type Options struct {
	// Client calls STS. If nil, one is built on first use from the
	// environment and the shared config file, as config.LoadDefaultConfig
	// reads them (AWS_REGION, AWS_DEFAULT_REGION, AWS_ENDPOINT_URL_STS, FIPS,
	// dual-stack and CA settings), with us-east-1 where no region is set. It
	// signs nothing and reads no stored credentials.
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

	// Preconnect opens a connection to STS in the background as soon as the
	// provider is made, so that the first fetch of credentials needs one
	// round trip in place of three (TCP, TLS, HTTP). It sends STS no token.
	// It has no effect on a Client that is not an *sts.Client.
	Preconnect bool

	// Logger receives a record for each refresh: at level Info when it
	// succeeded, Warn when it failed or old credentials are served. If nil,
	// nothing is logged. Records never hold a token or key.
	Logger *slog.Logger
}

// NewProvider returns AWS credentials of the role roleARN, obtained with the
// Vercel OIDC token of the request in the context that an SDK call is given
// (see oidc.RequestContext), or of the other sources of oidc.DefaultSource.
//
// The result is safe for concurrent use and meant to be made once and shared by
// all clients. It can be given to a client's Options.Credentials and to
// config.WithCredentialsProvider. Its Invalidate method makes the next
// Retrieve fetch new credentials.
//
// The role's trust policy must allow sts:AssumeRoleWithWebIdentity to the
// token's issuer, subject and audience; see
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html.
// Retrieve's errors match *[AssumeRoleError] where STS was asked, and
// oidc.ErrNoToken, oidc.ErrExpired or oidc.ErrMalformed where there was no
// token to ask with.
//
// The Expires of the credentials it returns is when the SDK should ask again,
// which is some minutes before STS ends them.
func NewProvider(roleARN string, optFns ...func(*Options)) *aws.CredentialsCache {
	var o Options
	for _, fn := range optFns {
		fn(&o)
	}
	return aws.NewCredentialsCache(newProvider(roleARN, o))
}

// newProvider returns the provider behind the SDK's cache. The cache calls it
// only when it has no credentials, or those it has have run out, and never
// twice at the same time.
func newProvider(roleARN string, o Options) *provider {
	p := &provider{
		roleARN: roleARN,
		options: o,
		invalid: validate(roleARN, o),
		source:  o.TokenSource,
		client:  clientOf(o.Client),
		log:     o.Logger,
		jitter:  rand.Float64(),
	}
	if p.source == nil {
		p.source = oidc.DefaultSource()
	}
	if o.Audience != "" {
		p.source = oidc.Exchange(p.source, o.Audience)
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	if o.Preconnect && p.invalid == nil {
		go p.client.connect()
	}
	return p
}

// ProviderSources lets the SDK say in its user agent how the credentials were
// obtained.
func (p *provider) ProviderSources() []aws.CredentialSource {
	return []aws.CredentialSource{aws.CredentialSourceSTSAssumeRoleWebID}
}
