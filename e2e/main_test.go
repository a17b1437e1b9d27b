// Package e2e tests the library against real servers: functions run behind
// Vercel's own bridge, and MinIO is both the STS and the S3.
package e2e

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/vercelaws/vercelaws/e2e/internal/minio"
	"github.com/vercelaws/vercelaws/oidc/oidctest"
)

// What all tests share: starting MinIO takes a second.
var (
	scratch string           // a folder that is removed in the end
	issuer  *oidctest.Server // stands in for Vercel
	store   *minio.Server    // stands in for AWS, and trusts issuer
)

// photos is a bucket in store, and photoKeys are the objects in it.
const photos = "photos"

var photoKeys = []string{"2025/harbour.jpg", "2025/moon.jpg", "2026/snow.jpg"}

func TestMain(m *testing.M) {
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
	issuer = oidctest.NewServer()
	defer issuer.Close()
	ctx := context.Background()
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
