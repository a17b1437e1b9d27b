// Command parties is a service that other projects of a team call with the
// tokens of their deployments. It acts for each in that project's own role.
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
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/oidc/oidcverify"
)

func main() {
	cfg, err := config.LoadDefaultConfig(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	s, err := newService(cfg, "https://oidc.vercel.com/acme", "https://vercel.com/acme", map[string]string{
		"shop": "arn:aws:iam::123456789012:role/shop",
		"blog": "arn:aws:iam::210987654321:role/blog",
	})
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("GET /photos", s)
	log.Fatal(http.ListenAndServe(":"+cmp.Or(os.Getenv("PORT"), "3000"), nil))
}

type service struct {
	verifier *oidcverify.Verifier
	clients  map[string]*s3.Client // by project
}

func newService(cfg aws.Config, issuer, audience string, roles map[string]string) (*service, error) {
	s := &service{clients: map[string]*s3.Client{}}
	var projects []string
	for project, roleARN := range roles {
		projects = append(projects, project)
		provider := vercelaws.NewProvider(roleARN, func(o *vercelaws.Options) {
			o.TokenSource = oidc.FromRequest() // nothing of this program's own
		})
		s.clients[project] = s3.NewFromConfig(cfg, func(o *s3.Options) { o.Credentials = provider })
	}
	var err error
	s.verifier, err = oidcverify.New(issuer, audience, func(o *oidcverify.Options) {
		o.Projects = projects
		o.Environments = []string{"production"}
	})
	return s, err
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	raw, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	token, err := s.verifier.Verify(r.Context(), raw)
	if err != nil {
		log.Print(err)
		http.Error(w, "a deployment of the team's is asked for", http.StatusUnauthorized)
		return
	}
	ctx := oidc.ContextWithToken(r.Context(), raw)
	out, err := s.clients[token.Project].ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String(token.Project)})
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
}
