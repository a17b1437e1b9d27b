package main

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/vercelaws/vercelaws/examples/guides/internal/loopback"
)

func TestRequestsTokenReachesAWS(t *testing.T) {
	loopback.CheckPhotos(t, func(client *s3.Client) (url string) { return loopback.Serve(t, routes(client)) })
}
