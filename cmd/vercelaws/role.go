package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/cmd/vercelaws/internal/awsconfig"
	"github.com/vercelaws/vercelaws/cmd/vercelaws/internal/credcache"
	"github.com/vercelaws/vercelaws/cmd/vercelaws/internal/failure"
	"github.com/vercelaws/vercelaws/internal/stsclient"
	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/refresh"
)

// roleFlags are the flags of the commands that assume a role.
type roleFlags struct {
	arn      string
	session  string
	duration time.Duration
	audience string
	cache    bool
}

func (r *roleFlags) add(fs *flag.FlagSet) {
	r.addARN(fs)
	r.addSession(fs)
	fs.BoolVar(&r.cache, "cache", false, "keep the credentials in a file of yours alone for the next run, and use what is there; never in a deployment")
}

func (r *roleFlags) addSession(fs *flag.FlagSet) {
	fs.StringVar(&r.session, "session-name", "", "the role session `name`; by default vercel-<project>-<environment>")
	fs.Var((*lifetime)(&r.duration), "duration", "how long the credentials live, as `15m` to 12h; by default 1h")
	r.addAudience(fs)
}

func (r *roleFlags) addARN(fs *flag.FlagSet) {
	fs.StringVar(&r.arn, "role-arn", os.Getenv("AWS_ROLE_ARN"), "the role to assume, as an `ARN`; by default AWS_ROLE_ARN")
}

func (r *roleFlags) addAudience(fs *flag.FlagSet) {
	fs.StringVar(&r.audience, "audience", "", "exchange the token for one with this `audience` first")
}

// assumed is a role that is being assumed.
type assumed struct {
	roleFlags
	command  *command
	client   *sts.Client
	source   oidc.TokenSource
	provider *aws.CredentialsCache
	region   string // "" if none is set
}

// assume prepares to assume the role, with the settings of the environment and
// of the shared config file. It makes no network call.
func (r roleFlags) assume(ctx context.Context, c *command) (*assumed, error) {
	if r.arn == "" {
		return nil, c.misuse("no role: give --role-arn ARN or set AWS_ROLE_ARN")
	}
	cfg, err := awsconfig.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("the AWS settings do not load: %w", err)
	}
	a := &assumed{roleFlags: r, command: c, source: tokenSource(), region: cfg.Region}
	if cfg.Region == "" {
		cfg.Region = stsclient.DefaultRegion(r.arn)
	}
	a.client = sts.NewFromConfig(cfg)
	a.provider = a.newProvider(a.source)
	return a, nil
}

func (a *assumed) newProvider(source oidc.TokenSource) *aws.CredentialsCache {
	return vercelaws.NewProvider(a.arn, func(o *vercelaws.Options) {
		o.Client = a.client
		o.TokenSource = source
		o.RoleSessionName = a.session
		o.Duration = a.duration
		o.Audience = a.audience
	})
}

// credentials returns the role's credentials with the time at which they expire.
// The provider's Expires is earlier: it is when to call Retrieve again. An SDK in
// another process decides that by itself.
func (a *assumed) credentials(ctx context.Context) (aws.Credentials, error) {
	creds, err := a.provider.Retrieve(ctx)
	for err == nil {
		now, _ := refresh.StatusOf(a.provider)
		if now.AccessKeyID == creds.AccessKeyID {
			creds.Expires = now.Expires
			return creds, nil
		}
		creds, err = a.provider.Retrieve(ctx) // a refresh has come between
	}
	f := failure.Of(err)
	if f.Asked {
		f.Words = fmt.Sprintf("cannot assume %s: %s", a.arn, f.Words)
		return aws.Credentials{}, f
	}
	// An error that is the same without any token is about the flags.
	_, flags := a.newProvider(noToken).Retrieve(ctx)
	if flags != nil && flags.Error() == err.Error() {
		return aws.Credentials{}, a.command.misuse("%s", f.Words)
	}
	return aws.Credentials{}, f
}

var noToken = oidc.TokenSourceFunc(func(context.Context) (oidc.Token, error) {
	return oidc.Token{}, fmt.Errorf("%w: none is asked for", oidc.ErrNoToken)
})

// kept returns credentials from the cache, if --cache is set. The reason why the
// cache cannot be used is written to notes.
func (a *assumed) kept(ctx context.Context, notes io.Writer) (aws.Credentials, error) {
	if !a.cache {
		return a.credentials(ctx)
	}
	token, err := a.source.Token(ctx)
	if err != nil {
		return aws.Credentials{}, failure.Of(err)
	}
	// The cache is for this token, so the provider must use no other.
	a.provider = a.newProvider(oidc.TokenSourceFunc(func(context.Context) (oidc.Token, error) { return token, nil }))
	endpoint, err := stsclient.Endpoint(ctx, a.client)
	if err != nil {
		return aws.Credentials{}, err
	}
	cached, err := credcache.Open(ctx, endpoint.String(), a.arn, a.session, a.duration.String(), a.audience,
		token.Issuer, token.Subject, strings.Join(token.Audience, " "), token.OwnerID, token.ProjectID, token.UserID)
	if err != nil {
		fmt.Fprintf(notes, "vercelaws: --cache is not used: %s\n", err)
		return a.credentials(ctx)
	}
	defer cached.Close()
	return cached.Retrieve(ctx, a.credentials)
}

// tokenSource is where the command's tokens come from: oidc.DefaultSource
// without the requests, of which a command has none.
func tokenSource() oidc.TokenSource {
	return oidc.FirstOf(oidc.FromFile(), oidc.FromEnv(), oidc.FromCLI())
}
