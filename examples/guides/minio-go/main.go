// Command minio-go lists a bucket through minio-go, the client of MinIO and of
// other stores with S3's protocol. The store's address is in AWS_ENDPOINT_URL_S3;
// by default it is S3.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"log"
	"net/http"
	"net/url"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/oidc"
)

func main() {
	store, err := url.Parse(cmp.Or(os.Getenv("AWS_ENDPOINT_URL_S3"), "https://s3.amazonaws.com"))
	if err != nil {
		log.Fatal(err)
	}
	client, err := newClient(store, vercelaws.NewProvider(os.Getenv("AWS_ROLE_ARN")))
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe(":"+cmp.Or(os.Getenv("PORT"), "3000"), routes(client)))
}

func newClient(store *url.URL, from aws.CredentialsProvider) (*minio.Client, error) {
	return minio.New(store.Host, &minio.Options{
		Creds:  credentials.New(provider{from}),
		Secure: store.Scheme == "https",
		Region: os.Getenv("AWS_REGION"),
	})
}

// provider gives minio-go the credentials of a provider of the SDK's.
type provider struct{ from aws.CredentialsProvider }

func (p provider) RetrieveWithCredContext(*credentials.CredContext) (credentials.Value, error) {
	c, err := p.from.Retrieve(context.Background())
	return credentials.Value{
		AccessKeyID:     c.AccessKeyID,
		SecretAccessKey: c.SecretAccessKey,
		SessionToken:    c.SessionToken,
		Expiration:      c.Expires,
	}, err
}

func (p provider) Retrieve() (credentials.Value, error) { return p.RetrieveWithCredContext(nil) }

// IsExpired has minio-go ask each time: from keeps the credentials, and renews
// them.
func (p provider) IsExpired() bool { return true }

func routes(client *minio.Client) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /photos", func(w http.ResponseWriter, r *http.Request) {
		keys := []string{}
		for o := range client.ListObjects(r.Context(), "photos", minio.ListObjectsOptions{Recursive: true}) {
			if o.Err != nil {
				log.Print(o.Err)
				http.Error(w, "cannot list the photos", http.StatusBadGateway)
				return
			}
			keys = append(keys, o.Key)
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(keys)
	})
	return oidc.Middleware(mux)
}
