// Package e2e tests the library against real servers: functions run behind
// Vercel's own bridge, and MinIO is both the STS and the S3.
package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/e2e/internal/minio"
	"github.com/vercelaws/vercelaws/oidc/oidctest"
	"github.com/vercelaws/vercelaws/ststest"
	"github.com/vercelaws/vercelaws/trustpolicy"
)

// All tests share these, since starting MinIO takes a second.
var (
	scratch string           // a folder that is removed in the end
	issuer  *oidctest.Server // stands in for Vercel
	store   *minio.Server    // stands in for AWS, and trusts issuer
)

// The limits of each wait of the tests. Both are long, because the machine may be
// busy, and much shorter than go test's limit for the package.
const (
	patience  = 2 * time.Minute // for an answer
	buildTime = 5 * time.Minute // for the Go command, with nothing in its cache
)

// startSTS starts an STS for the time of the test. Its roles admit the issuer's tokens
// of the project "web" in an environment.
func startSTS(t *testing.T, environment string, roles []string, optFns ...func(*ststest.Options)) *ststest.Server {
	t.Helper()
	policy, err := trustpolicy.Build(trustpolicy.Spec{
		AccountID: ststest.Account, BaseIssuer: issuer.URL, Teams: []string{"acme"}, Projects: []string{"web"}, Environments: []string{environment},
	})
	require.NoError(t, err)
	server := ststest.NewServer(optFns...)
	t.Cleanup(server.Close)
	server.AddProvider(issuer.Issuer(), issuer.Audience())
	for _, arn := range roles {
		server.AddRole(ststest.Role{ARN: arn, TrustPolicy: policy.String()})
	}
	return server
}

// within is a context of the test that ends after d.
func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// photos is a bucket in store, and photoKeys are the objects in it.
const photos = "photos"

var photoKeys = []string{"2025/harbour.jpg", "2025/moon.jpg", "2026/snow.jpg"}

func TestMain(m *testing.M) {
	if os.Getenv(whoAmIVariable) != "" {
		if err := whoAmI(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	status, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		status = 1
	}
	os.Exit(status)
}

func run(m *testing.M) (status int, err error) {
	if scratch, err = os.MkdirTemp("", "e2e-*"); err != nil {
		return 0, err
	}
	defer os.RemoveAll(scratch)
	http.DefaultClient.Timeout = patience
	issuer = oidctest.NewServer()
	defer issuer.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if store, err = minio.Start(ctx, issuer.Issuer(), issuer.Audience()); err != nil {
		return 0, err
	}
	defer func() {
		if stopErr := store.Stop(); err == nil {
			err = stopErr
		}
	}()
	if err := fill(ctx); err != nil {
		return 0, err
	}
	return m.Run(), nil
}

// fill makes the bucket and its objects, as the owner of the store.
func fill(ctx context.Context) error {
	owner := s3.New(s3.Options{
		Region:       "us-east-1",
		BaseEndpoint: aws.String(store.URL),
		Credentials:  credentials.NewStaticCredentialsProvider(store.User, store.Password, ""),
	})
	if _, err := owner.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(photos)}); err != nil {
		return err
	}
	for _, key := range photoKeys {
		if _, err := owner.PutObject(ctx, &s3.PutObjectInput{
			Bucket: aws.String(photos),
			Key:    aws.String(key),
			Body:   strings.NewReader(key),
		}); err != nil {
			return err
		}
	}
	return nil
}
