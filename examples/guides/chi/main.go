// Command chi is a server of chi's that lists a bucket.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"log"
	"net/http"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/go-chi/chi/v5"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/oidc"
)

func main() {
	provider := vercelaws.NewProvider(os.Getenv("AWS_ROLE_ARN"))
	cfg, err := config.LoadDefaultConfig(context.Background(), config.WithCredentialsProvider(provider))
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe(":"+cmp.Or(os.Getenv("PORT"), "3000"), routes(s3.NewFromConfig(cfg))))
}

func routes(client *s3.Client) http.Handler {
	r := chi.NewRouter()
	r.Use(oidc.Middleware)
	r.Get("/photos", func(w http.ResponseWriter, r *http.Request) {
		out, err := client.ListObjectsV2(r.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("photos")})
		if err != nil {
			log.Print(err)
			http.Error(w, "cannot list the photos", http.StatusBadGateway)
			return
		}
		keys := []string{}
		for _, o := range out.Contents {
			keys = append(keys, *o.Key)
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(keys)
	})
	return r
}
