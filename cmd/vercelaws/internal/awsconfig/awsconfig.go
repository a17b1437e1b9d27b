// Package awsconfig reads the AWS settings of the person at the command line:
// the environment and the shared config file. The library reads the environment
// alone; see package stsclient.
package awsconfig

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
)

// Load reads the settings for calls that are not signed, as
// config.LoadDefaultConfig does. It leaves the shared credentials file alone,
// unless AWS_PROFILE names a profile that only that file has; the keys in it
// are not used even then. An empty region is one that is not set anywhere;
// stsclient.DefaultRegion is what the library takes then.
func Load(ctx context.Context) (aws.Config, error) {
	unsigned := config.WithCredentialsProvider(aws.AnonymousCredentials{})
	cfg, err := config.LoadDefaultConfig(ctx, unsigned, config.WithSharedCredentialsFiles([]string{}))
	var missing config.SharedConfigProfileNotExistError
	if errors.As(err, &missing) {
		cfg, err = config.LoadDefaultConfig(ctx, unsigned)
	}
	return cfg, err
}
