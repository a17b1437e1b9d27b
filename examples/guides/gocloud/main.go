// Command gocloud reads and signs through gocloud.dev/blob, which has one
// interface for the object stores of several clouds.
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
	"gocloud.dev/blob"
	"gocloud.dev/blob/s3blob"
	"gocloud.dev/gcerrors"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/oidc"
)

// life is how long a signed URL can be used.
const life = 15 * time.Minute

func main() {
	ctx := context.Background()
	cfg, err := config.LoadDefaultConfig(ctx, config.WithCredentialsProvider(newProvider(os.Getenv("AWS_ROLE_ARN"))))
	if err != nil {
		log.Fatal(err)
	}
	bucket, err := s3blob.OpenBucket(ctx, s3.NewFromConfig(cfg), "photos", nil)
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe(":"+cmp.Or(os.Getenv("PORT"), "3000"), routes(bucket)))
}

func newProvider(roleARN string) *aws.CredentialsCache {
	return vercelaws.NewProvider(roleARN, func(o *vercelaws.Options) {
		o.ExpiryWindow = life
	})
}

func routes(bucket *blob.Bucket) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /photos/{name...}", func(w http.ResponseWriter, r *http.Request) {
		content, err := bucket.ReadAll(r.Context(), r.PathValue("name"))
		if gcerrors.Code(err) == gcerrors.NotFound {
			http.NotFound(w, r)
			return
		}
		if err != nil {
			log.Print(err)
			http.Error(w, "cannot read the photo", http.StatusBadGateway)
			return
		}
		_, _ = w.Write(content)
	})
	mux.HandleFunc("GET /urls/{name...}", func(w http.ResponseWriter, r *http.Request) {
		url, err := bucket.SignedURL(r.Context(), r.PathValue("name"), &blob.SignedURLOptions{Expiry: life})
		if err != nil {
			log.Print(err)
			http.Error(w, "cannot sign", http.StatusBadGateway)
			return
		}
		http.Redirect(w, r, url, http.StatusFound)
	})
	return oidc.Middleware(mux)
}
