// Command profile says who it is to AWS: the role on Vercel, and elsewhere
// whoever the machine's own profile is.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/vercelaws/vercelaws"
)

func main() {
	who, err := whoAmI(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(who)
}

func whoAmI(ctx context.Context) (string, error) {
	cfg, err := load(ctx)
	if err != nil {
		return "", err
	}
	out, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, nil)
	if err != nil {
		return "", err
	}
	return *out.Arn, nil
}

func load(ctx context.Context) (aws.Config, error) {
	var options []func(*config.LoadOptions) error
	if role := os.Getenv("AWS_ROLE_ARN"); role != "" {
		options = append(options, config.WithCredentialsProvider(vercelaws.NewProvider(role)))
	}
	return config.LoadDefaultConfig(ctx, options...)
}
