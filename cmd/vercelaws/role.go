package main

import (
	"flag"
	"os"
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
	fs.StringVar(&r.arn, "role-arn", os.Getenv("AWS_ROLE_ARN"), "the role to assume, as an `ARN`; by default AWS_ROLE_ARN")
	fs.StringVar(&r.session, "session-name", "", "the role session `name`; by default vercel-<project>-<environment>")
	fs.DurationVar(&r.duration, "duration", 0, "how long the credentials live, as `15m` to 12h; by default 1h")
	r.addAudience(fs)
}

func (r *roleFlags) addAudience(fs *flag.FlagSet) {
	fs.StringVar(&r.audience, "audience", "", "exchange the token for one with this `audience` first")
}

// provider returns the provider of the role's credentials.
func (r *roleFlags) provider(c *command) (*aws.CredentialsCache, error) {
	if r.arn == "" {
		return nil, c.misuse("no role: give --role-arn ARN or set AWS_ROLE_ARN")
	}
	return vercelaws.NewProvider(r.arn, func(o *vercelaws.Options) {
		o.RoleSessionName = r.session
		o.Duration = r.duration
		o.Audience = r.audience
	}), nil
}
