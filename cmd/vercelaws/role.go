package main

import (
	"context"
	"errors"
	"flag"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/vercelaws/vercelaws"
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
	fs.DurationVar(&r.duration, "duration", 0, "how long the credentials live, as `15m` to 12h; by default 1h")
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

// credentials assumes the role.
func (r *roleFlags) credentials(ctx context.Context) (aws.Credentials, error) {
	provider := vercelaws.NewProvider(r.arn, func(o *vercelaws.Options) {
		o.RoleSessionName = r.session
		o.Duration = r.duration
		o.Audience = r.audience
	})
	creds, err := provider.Retrieve(ctx)
	if err != nil && strings.HasPrefix(err.Error(), "failed to refresh cached credentials, ") {
		err = errors.Unwrap(err) // the cache is of no interest here
	}
	return creds, err
}
