// Command opensearch searches a domain of Amazon OpenSearch Service, whose
// address is in OPENSEARCH_URL.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"log"
	"net/http"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/opensearch-project/opensearch-go/v4"
	"github.com/opensearch-project/opensearch-go/v4/opensearchapi"
	"github.com/opensearch-project/opensearch-go/v4/signer/awsv2"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/oidc"
)

func main() {
	provider := vercelaws.NewProvider(os.Getenv("AWS_ROLE_ARN"))
	cfg, err := config.LoadDefaultConfig(context.Background(), config.WithCredentialsProvider(provider))
	if err != nil {
		log.Fatal(err)
	}
	client, err := newClient(cfg, os.Getenv("OPENSEARCH_URL"))
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe(":"+cmp.Or(os.Getenv("PORT"), "3000"), routes(client)))
}

func newClient(cfg aws.Config, domain string) (*opensearchapi.Client, error) {
	signer, err := awsv2.NewSignerWithService(cfg, "es") // "aoss" is OpenSearch Serverless
	if err != nil {
		return nil, err
	}
	return opensearchapi.NewClient(opensearchapi.Config{
		Client: opensearch.Config{Addresses: []string{domain}, Signer: signer},
	})
}

func routes(client *opensearchapi.Client) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /movies", func(w http.ResponseWriter, r *http.Request) {
		query, err := json.Marshal(map[string]any{
			"query": map[string]any{"match": map[string]any{"title": r.FormValue("q")}},
		})
		if err != nil {
			http.Error(w, "no such query", http.StatusBadRequest)
			return
		}
		out, err := client.Search(r.Context(), &opensearchapi.SearchReq{
			Indices: []string{"movies"}, Body: strings.NewReader(string(query)),
		})
		if err != nil {
			log.Print(err)
			http.Error(w, "cannot search", http.StatusBadGateway)
			return
		}
		movies := []json.RawMessage{}
		for _, hit := range out.Hits.Hits {
			movies = append(movies, hit.Source)
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(movies)
	})
	return oidc.Middleware(mux)
}
