// Package awsconfig reads the AWS settings of the person at the command line:
// the environment and the shared config file. The library reads the environment
// alone; see package stsclient.
package awsconfig

import (
	"context"
	"crypto/x509"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go/logging"

	"github.com/vercelaws/vercelaws/internal/http1"
)

// Load reads the settings for calls that are not signed, as
// config.LoadDefaultConfig does. It leaves the shared credentials file alone,
// unless AWS_PROFILE names a profile that only that file has; the keys in it
// are not used even then. An empty region is one that is not set anywhere;
// stsclient.DefaultRegion is what the library takes then.
//
// The HTTP client is the library's. The SDK's, and its logger, would write parts of
// a malformed answer to the standard error, with the keys in it.
func Load(ctx context.Context) (aws.Config, error) {
	unsigned := config.WithCredentialsProvider(aws.AnonymousCredentials{})
	cfg, err := config.LoadDefaultConfig(ctx, unsigned, config.WithSharedCredentialsFiles([]string{}))
	var missing config.SharedConfigProfileNotExistError
	if errors.As(err, &missing) {
		cfg, err = config.LoadDefaultConfig(ctx, unsigned)
	}
	if err != nil {
		return aws.Config{}, err
	}
	var roots *x509.CertPool
	if given, ok := cfg.HTTPClient.(*awshttp.BuildableClient); ok {
		roots = given.GetTransport().TLSClientConfig.RootCAs // those of AWS_CA_BUNDLE, or of the profile
	}
	cfg.HTTPClient, cfg.Logger = http1.New(roots, nil), logging.Nop{}
	return cfg, nil
}
