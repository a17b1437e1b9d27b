// Command server is a standalone Go server on Vercel: routing, the token of each
// request, and S3 and DynamoDB clients that share one provider.
//
//	GET /photos          the objects of the bucket BUCKET
//	GET /visits/{page}   counts a visit in the DynamoDB table TABLE, and answers how many there were
//	GET /healthz         how the AWS credentials are
//	GET /metrics         for Prometheus, where METRICS_TOKEN is set
package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/examples/server/resource"
	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/refresh"
)

const (
	awsTime   = 15 * time.Second // for one answer of ours in all
	drainTime = 20 * time.Second // for open requests, when the server is told to end
)

func main() {
	slog.SetDefault(slog.New(slog.NewJSONHandler(os.Stderr, nil)))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		slog.Error("the server ends", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var role, bucket, table string
	for _, v := range []struct {
		name  string
		value *string
	}{{"AWS_ROLE_ARN", &role}, {"BUCKET", &bucket}, {"TABLE", &table}} {
		var err error
		if *v.value, err = resource.Variable("", v.name); err != nil {
			return err
		}
	}
	m, err := newMetrics()
	if err != nil {
		return err
	}
	provider := vercelaws.NewProvider(role, func(o *vercelaws.Options) {
		o.Preconnect = true // while the server starts
		o.Logger = slog.Default()
		o.OnEvent = m.count
	})
	cfg, err := config.LoadDefaultConfig(ctx,
		config.WithCredentialsProvider(provider),
		config.WithAPIOptions([]func(*middleware.Stack) error{vercelaws.InvalidateDeadCredentials(provider)}))
	if err != nil {
		return err
	}
	s := &site{
		s3: s3.NewFromConfig(cfg), bucket: bucket,
		dynamodb: dynamodb.NewFromConfig(cfg), table: table,
		provider: provider,
		metrics:  m, metricsToken: os.Getenv("METRICS_TOKEN"),
	}
	port := os.Getenv("PORT")
	if port == "" {
		port = "3000"
		slog.Info("PORT is not set, so the server takes a port of its own", "port", port)
	}
	server := &http.Server{
		Addr:              ":" + port,
		Handler:           oidc.Middleware(s.routes()),
		ReadHeaderTimeout: 5 * time.Second,
	}
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()
	slog.Info("the server listens", "port", port)
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	return server.Shutdown(drain)
}

// site is what the handlers need.
type site struct {
	s3       *s3.Client
	bucket   string
	dynamodb *dynamodb.Client
	table    string
	provider *aws.CredentialsCache

	metrics      *metrics
	metricsToken string // if empty, nobody sees the metrics
}

func (s *site) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /photos", s.photos)
	mux.HandleFunc("GET /visits/{page}", s.visits)
	mux.HandleFunc("GET /healthz", s.health)
	if s.metricsToken != "" {
		mux.Handle("GET /metrics", s.metrics.handler(s.metricsToken))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, r, http.StatusNotFound, "there is nothing here", nil)
	})
	return mux
}

// health answers 503 while requests fail because there are no credentials. An
// instance that has had no request yet has none either, and that is no failure. The
// error itself is in the log only, since anyone can call this.
func (s *site) health(w http.ResponseWriter, _ *http.Request) {
	credentials, _ := refresh.StatusOf(s.provider)
	code, words := http.StatusOK, "ok"
	switch {
	case credentials.Err == nil:
	case credentials.AccessKeyID == "":
		code, words = http.StatusServiceUnavailable, "no AWS credentials"
	default:
		words = "AWS credentials are not refreshed; the old ones serve"
	}
	out := map[string]any{"status": words}
	if !credentials.Expires.IsZero() {
		out["expires"] = credentials.Expires.UTC()
	}
	answer(w, code, out)
}

func (s *site) photos(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), awsTime)
	defer cancel()
	out, err := s.s3.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String(s.bucket), MaxKeys: aws.Int32(100)})
	if err != nil {
		failAWS(w, r, err)
		return
	}
	keys := make([]string, 0, len(out.Contents))
	for _, o := range out.Contents {
		keys = append(keys, aws.ToString(o.Key))
	}
	answer(w, http.StatusOK, map[string]any{"photos": keys})
}

func (s *site) visits(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), awsTime)
	defer cancel()
	out, err := s.dynamodb.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName:                 aws.String(s.table),
		Key:                       map[string]types.AttributeValue{"page": &types.AttributeValueMemberS{Value: r.PathValue("page")}},
		UpdateExpression:          aws.String("ADD visits :one"),
		ExpressionAttributeValues: map[string]types.AttributeValue{":one": &types.AttributeValueMemberN{Value: "1"}},
		ReturnValues:              types.ReturnValueUpdatedNew,
	})
	if err != nil {
		failAWS(w, r, err)
		return
	}
	visits, _ := out.Attributes["visits"].(*types.AttributeValueMemberN)
	if visits == nil {
		fail(w, r, http.StatusBadGateway, "the table answered without a count", nil)
		return
	}
	n, err := strconv.Atoi(visits.Value)
	if err != nil {
		fail(w, r, http.StatusBadGateway, "the table answered without a count", err)
		return
	}
	answer(w, http.StatusOK, map[string]int{"visits": n})
}

// failAWS answers a status that a client can act on; the log has the details.
func failAWS(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case noIdentity(err):
		fail(w, r, http.StatusServiceUnavailable, "the server has no AWS identity", err)
	case errors.Is(err, context.DeadlineExceeded):
		fail(w, r, http.StatusGatewayTimeout, "AWS did not answer in time", err)
	default:
		fail(w, r, http.StatusBadGateway, "AWS refused", err)
	}
}

// noIdentity tells whether err is about the function's own identity: a setting is
// wrong, there was no usable token, AWS refused it, or Vercel did not exchange it.
func noIdentity(err error) bool {
	var wrong *vercelaws.ConfigError
	var refused *vercelaws.AssumeRoleError
	var exchange *oidc.ExchangeError
	return errors.As(err, &wrong) || errors.As(err, &refused) || errors.As(err, &exchange) ||
		errors.Is(err, oidc.ErrNoToken) || errors.Is(err, oidc.ErrExpired) || errors.Is(err, oidc.ErrMalformed)
}

func fail(w http.ResponseWriter, r *http.Request, status int, message string, err error) {
	slog.ErrorContext(r.Context(), message, "status", status, "path", r.URL.Path, "error", err)
	answer(w, status, map[string]string{"error": message})
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		slog.Error("the answer was not sent", "error", err)
	}
}
