// Command stscreds gets its first credentials as a program without the library
// would: with the SDK's stscreds, and without its config package.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// token is an IdentityTokenRetriever.
type token string

func (t token) GetIdentityToken() ([]byte, error) { return []byte(t), nil }

func main() {
	client := sts.New(sts.Options{Region: os.Getenv("AWS_REGION"), BaseEndpoint: aws.String(os.Getenv("AWS_ENDPOINT_URL_STS"))})
	provider := aws.NewCredentialsCache(stscreds.NewWebIdentityRoleProvider(client, os.Getenv("AWS_ROLE_ARN"), token(os.Getenv("VERCEL_OIDC_TOKEN"))))
	creds, err := provider.Retrieve(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(creds.AccessKeyID)
}
