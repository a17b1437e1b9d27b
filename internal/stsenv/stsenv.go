// Package stsenv finds out where and how STS is reached, from the environment
// and the shared config file.
package stsenv

import (
	"context"
	"errors"
	"net/url"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// FallbackRegion is where STS is asked if no region is set anywhere.
const FallbackRegion = "us-east-1"

// Config reads the settings for a call that is not signed, as
// config.LoadDefaultConfig does. It leaves the shared credentials file alone,
// unless AWS_PROFILE names a profile that only that file has; the keys in it
// are not used even then.
func Config(ctx context.Context) (aws.Config, error) {
	unsigned := config.WithCredentialsProvider(aws.AnonymousCredentials{})
	cfg, err := config.LoadDefaultConfig(ctx, unsigned, config.WithSharedCredentialsFiles([]string{}))
	var missing config.SharedConfigProfileNotExistError
	if errors.As(err, &missing) {
		cfg, err = config.LoadDefaultConfig(ctx, unsigned)
	}
	if err != nil {
		return aws.Config{}, err
	}
	if cfg.Region == "" {
		cfg.Region = FallbackRegion
	}
	return cfg, nil
}

// URL returns where a client sends its calls.
func URL(ctx context.Context, client *sts.Client) (*url.URL, error) {
	o := client.Options()
	endpoint, err := o.EndpointResolverV2.ResolveEndpoint(ctx, sts.EndpointParameters{
		Region:            aws.String(o.Region),
		Endpoint:          o.BaseEndpoint,
		UseFIPS:           aws.Bool(o.EndpointOptions.UseFIPSEndpoint == aws.FIPSEndpointStateEnabled),
		UseDualStack:      aws.Bool(o.EndpointOptions.UseDualStackEndpoint == aws.DualStackEndpointStateEnabled),
		UseGlobalEndpoint: aws.Bool(false),
	})
	if err != nil {
		return nil, err
	}
	return &endpoint.URI, nil
}
