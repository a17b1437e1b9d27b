// Command after is a server that answers first and works then.
package main

import (
	"cmp"
	"context"
	"errors"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/oidc"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	provider := vercelaws.NewProvider(os.Getenv("AWS_ROLE_ARN"))
	cfg, err := config.LoadDefaultConfig(ctx, config.WithCredentialsProvider(provider))
	if err != nil {
		log.Fatal(err)
	}
	s := &site{client: s3.NewFromConfig(cfg)}
	server := &http.Server{Addr: ":" + cmp.Or(os.Getenv("PORT"), "3000"), Handler: s.routes()}
	go func() {
		<-ctx.Done()
		_ = server.Shutdown(context.Background())
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
	s.work.Wait()
}

type site struct {
	client *s3.Client
	work   sync.WaitGroup // that goes on after its request
}

func (s *site) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /visits/{page}", s.visit)
	return oidc.Middleware(mux)
}

func (s *site) visit(w http.ResponseWriter, r *http.Request) {
	page := r.PathValue("page")
	ctx := oidc.Detach(r.Context())
	s.work.Add(1)
	go func() {
		defer s.work.Done()
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		if err := s.record(ctx, page); err != nil {
			log.Print(err)
		}
	}()
	w.WriteHeader(http.StatusAccepted)
}

func (s *site) record(ctx context.Context, page string) error {
	_, err := s.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: aws.String("visits"),
		Key:    aws.String(page),
		Body:   strings.NewReader(time.Now().UTC().Format(time.RFC3339)),
	})
	return err
}
