// Command presign gives out URLs by which a browser loads objects from S3.
package main

import (
	"cmp"
	"context"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/oidc"
)

// life is how long a URL can be used.
const life = 15 * time.Minute

func main() {
	provider := newProvider(os.Getenv("AWS_ROLE_ARN"))
	cfg, err := config.LoadDefaultConfig(context.Background(), config.WithCredentialsProvider(provider))
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe(":"+cmp.Or(os.Getenv("PORT"), "3000"), routes(s3.NewFromConfig(cfg))))
}

func newProvider(roleARN string) *aws.CredentialsCache {
	return vercelaws.NewProvider(roleARN, func(o *vercelaws.Options) {
		o.ExpiryWindow = life
	})
}

func routes(client *s3.Client) http.Handler {
	presigner := s3.NewPresignClient(client, s3.WithPresignExpires(life))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /photos/{name...}", func(w http.ResponseWriter, r *http.Request) {
		url, err := presigner.PresignGetObject(r.Context(), &s3.GetObjectInput{
			Bucket: aws.String("photos"), Key: aws.String(r.PathValue("name")),
		})
		if err != nil {
			log.Print(err)
			http.Error(w, "cannot sign", http.StatusBadGateway)
			return
		}
		http.Redirect(w, r, url.URL, http.StatusFound)
	})
	return oidc.Middleware(mux)
}
