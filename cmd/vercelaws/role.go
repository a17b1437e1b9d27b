package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/cmd/vercelaws/internal/awsconfig"
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
}

func (r *roleFlags) add(fs *flag.FlagSet) {
	r.addARN(fs)
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

// check refuses a command line without a role.
func (r *roleFlags) check(c *command) error {
	if r.arn == "" {
		return c.misuse("no role: give --role-arn ARN or set AWS_ROLE_ARN")
	}
	return nil
}

// assumed is a role that is being assumed.
type assumed struct {
	arn      string
	provider *aws.CredentialsCache
	region   string // "" if none is set
}

// assume prepares to assume the role, with the settings of the environment and
// of the shared config file. It calls nobody.
func (r *roleFlags) assume(ctx context.Context) (*assumed, error) {
	cfg, err := awsconfig.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("the AWS settings do not load: %w", err)
	}
	a := &assumed{arn: r.arn, region: cfg.Region}
	if cfg.Region == "" {
		cfg.Region = stsclient.DefaultRegion(r.arn)
	}
	a.provider = vercelaws.NewProvider(r.arn, func(o *vercelaws.Options) {
		o.Client = sts.NewFromConfig(cfg)
		o.TokenSource = tokenSource()
		o.RoleSessionName = r.session
		o.Duration = r.duration
		o.Audience = r.audience
	})
	return a, nil
}

// credentials returns the role's credentials, with the early Expires of the
// library.
func (a *assumed) credentials(ctx context.Context) (aws.Credentials, error) {
	creds, err := a.provider.Retrieve(ctx)
	if err != nil {
		f := failure.Of(err)
		if f.Asked {
			f.Words = fmt.Sprintf("cannot assume %s: %s", a.arn, f.Words)
		}
		return aws.Credentials{}, f
	}
	return creds, nil
}

// whole is credentials with their real end. An SDK in another process plans its own
// refresh, and so needs that and not the earlier Expires of the library.
func (a *assumed) whole(ctx context.Context) (aws.Credentials, error) {
	creds, err := a.credentials(ctx)
	if status, _ := refresh.StatusOf(a.provider); err == nil && status.AccessKeyID == creds.AccessKeyID {
		creds.Expires = status.Expires
	}
	return creds, err
}

// tokenSource is where the command's tokens come from: oidc.DefaultSource
// without the requests, of which a command has none.
func tokenSource() oidc.TokenSource {
	return oidc.FirstOf(oidc.FromFile(), oidc.FromEnv(), oidc.FromCLI())
}
