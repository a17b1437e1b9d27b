// Package handler is a Vercel function that lists the objects of a bucket.
package handler

import (
	"context"
	"encoding/json"
	"errors"
	"log"
	"net/http"
	"os"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/oidc"
)

// client is made once an instance, and shared by its requests.
var client = sync.OnceValues(func() (*s3.Client, error) {
	cfg, err := config.LoadDefaultConfig(context.Background(),
		config.WithCredentialsProvider(vercelaws.NewProvider(os.Getenv("AWS_ROLE_ARN"))))
	if err != nil {
		return nil, err
	}
	return s3.NewFromConfig(cfg), nil
})

// Handler answers the keys of the bucket that BUCKET names as JSON.
func Handler(w http.ResponseWriter, r *http.Request) {
	keys, err := list(oidc.RequestContext(r))
	if err != nil {
		log.Print(err)
		answer(w, http.StatusBadGateway, map[string]string{"error": reason(err)})
		return
	}
	answer(w, http.StatusOK, map[string][]string{"keys": keys})
}

func list(ctx context.Context) ([]string, error) {
	s3Client, err := client()
	if err != nil {
		return nil, err
	}
	out, err := s3Client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String(os.Getenv("BUCKET"))})
	if err != nil {
		return nil, err
	}
	keys := []string{}
	for _, object := range out.Contents {
		keys = append(keys, aws.ToString(object.Key))
	}
	return keys, nil
}

// reason is what a client may know of err; the log has the rest.
func reason(err error) string {
	var refused *vercelaws.AssumeRoleError
	switch {
	case errors.As(err, &refused):
		return "refused: " + refused.Code
	case errors.Is(err, oidc.ErrExpired):
		return "token expired"
	case errors.Is(err, oidc.ErrMalformed):
		return "token malformed"
	case errors.Is(err, oidc.ErrNoToken):
		return "no token"
	default:
		return "cannot list the bucket"
	}
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		log.Print(err)
	}
}
