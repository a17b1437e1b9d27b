// Package handler is a function that Vercel calls by the schedule in
// vercel.json: it writes the day's report. CRON_SECRET is a secret of your choice.
package handler

import (
	"context"
	"crypto/subtle"
	"log"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/oidc"
)

// client is made once for the instance.
var client = sync.OnceValues(func() (*s3.Client, error) {
	provider := vercelaws.NewProvider(os.Getenv("AWS_ROLE_ARN"))
	cfg, err := config.LoadDefaultConfig(context.Background(), config.WithCredentialsProvider(provider))
	return s3.NewFromConfig(cfg), err
})

// Handler is what Vercel calls.
func Handler(w http.ResponseWriter, r *http.Request) {
	if !scheduled(r) {
		http.Error(w, "this is for the schedule", http.StatusUnauthorized)
		return
	}
	ctx, cancel := context.WithTimeout(oidc.RequestContext(r), 50*time.Second) // below maxDuration
	defer cancel()
	if err := report(ctx, time.Now()); err != nil {
		log.Print(err)
		http.Error(w, "no report", http.StatusBadGateway)
	}
}

// scheduled tells whether Vercel calls: it sends the project's variable
// CRON_SECRET along.
func scheduled(r *http.Request) bool {
	secret := os.Getenv("CRON_SECRET")
	sent := r.Header.Get("Authorization")
	return secret != "" && subtle.ConstantTimeCompare([]byte(sent), []byte("Bearer "+secret)) == 1
}

// report writes the day's report. Its name is that of the day: Vercel may call
// twice.
func report(ctx context.Context, now time.Time) error {
	c, err := client()
	if err != nil {
		return err
	}
	_, err = c.PutObject(ctx, &s3.PutObjectInput{
		Bucket: aws.String("reports"),
		Key:    aws.String(now.UTC().Format(time.DateOnly) + ".txt"),
		Body:   strings.NewReader("all is well\n"),
	})
	return err
}
