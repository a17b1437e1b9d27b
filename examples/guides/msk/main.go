// Command msk writes to a topic of Amazon MSK, which is Kafka with IAM access
// control. BROKERS has the cluster's brokers, with commas between them.
package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-msk-iam-sasl-signer-go/signer"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/oauth"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/oidc"
)

func main() {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(os.Getenv("BROKERS"), ",")...),
		kgo.DialTLSConfig(&tls.Config{MinVersion: tls.VersionTLS12}),
		kgo.SASL(login(newProvider(os.Getenv("AWS_ROLE_ARN")), os.Getenv("AWS_REGION"))),
	)
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe(":"+cmp.Or(os.Getenv("PORT"), "3000"), routes(client)))
}

func newProvider(roleARN string) *aws.CredentialsCache {
	return vercelaws.NewProvider(roleARN, func(o *vercelaws.Options) {
		o.ExpiryWindow = signer.DefaultExpirySeconds * time.Second
	})
}

// login signs a new token for each connection.
func login(provider aws.CredentialsProvider, region string) sasl.Mechanism {
	return oauth.Oauth(func(ctx context.Context) (oauth.Auth, error) {
		token, _, err := signer.GenerateAuthTokenFromCredentialsProvider(ctx, region, provider)
		return oauth.Auth{Token: token}, err
	})
}

func routes(client *kgo.Client) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /events", func(w http.ResponseWriter, r *http.Request) {
		event, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<16))
		if err != nil {
			http.Error(w, "too long", http.StatusRequestEntityTooLarge)
			return
		}
		if err := client.ProduceSync(r.Context(), &kgo.Record{Topic: "events", Value: event}).FirstErr(); err != nil {
			log.Print(err)
			http.Error(w, "cannot write the event", http.StatusBadGateway)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	return oidc.Middleware(mux)
}
