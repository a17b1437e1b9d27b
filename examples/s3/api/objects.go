// Package handler lists the objects of an S3 bucket, and hands out URLs to
// upload to it.
//
//	GET  /api/objects?prefix=2026/&page=<next of the last answer>
//	POST /api/objects   {"name": "harbour.jpg", "type": "image/jpeg"}
package handler

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/examples/s3/resource"
	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/refresh"
)

const (
	pageSize   = 100
	uploadTime = 5 * time.Minute  // for the client to begin its upload
	awsTime    = 15 * time.Second // for all AWS calls of one request

	// A URL becomes invalid when the credentials that signed it expire. So the
	// credentials are replaced this long before. The quarter of an hour is for
	// outages of STS.
	expiryWindow = uploadTime + 15*time.Minute
)

// bucket is a client with its credentials, and the bucket it is for.
type bucket struct {
	client   *s3.Client
	provider *aws.CredentialsCache
	name     string
}

// photos is made once for the instance, and shared by its requests.
var photos = sync.OnceValues(func() (*bucket, error) {
	name, err := resource.Variable("", "BUCKET")
	if err != nil {
		return nil, err
	}
	role, err := resource.Variable("", "AWS_ROLE_ARN")
	if err != nil {
		return nil, err
	}
	provider := vercelaws.NewProvider(role, func(o *vercelaws.Options) { o.ExpiryWindow = expiryWindow })
	cfg, err := config.LoadDefaultConfig(context.Background(),
		config.WithCredentialsProvider(provider),
		config.WithAPIOptions([]func(*middleware.Stack) error{vercelaws.InvalidateDeadCredentials(provider)}))
	if err != nil {
		return nil, err
	}
	// Vercel sets AWS_REGION to the function's own region. That is a good one
	// for STS, but the bucket may be in another.
	region, err := resource.Variable("", "BUCKET_REGION", "AWS_REGION")
	if err != nil {
		return nil, err
	}
	return &bucket{s3.NewFromConfig(cfg, func(o *s3.Options) { o.Region = region }), provider, name}, nil
})

// Handler is what Vercel calls.
func Handler(w http.ResponseWriter, r *http.Request) {
	// Vercel gives a function no deadline, so it sets its own.
	ctx, cancel := context.WithTimeout(oidc.RequestContext(r), awsTime)
	defer cancel()
	b, err := photos()
	if err != nil {
		fail(w, r, http.StatusInternalServerError, "the server is not configured", err)
		return
	}
	switch r.Method {
	case http.MethodGet:
		b.list(ctx, w, r)
	case http.MethodPost:
		b.upload(ctx, w, r)
	default:
		w.Header().Set("Allow", "GET, POST")
		fail(w, r, http.StatusMethodNotAllowed, "use GET or POST", nil)
	}
}

type object struct {
	Key      string    `json:"key"`
	Size     int64     `json:"size"`
	Modified time.Time `json:"modified"`
}

func (b *bucket) list(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	in := &s3.ListObjectsV2Input{
		Bucket:  aws.String(b.name),
		Prefix:  aws.String(query.Get("prefix")),
		MaxKeys: aws.Int32(pageSize),
	}
	page := query.Get("page")
	if page != "" {
		in.ContinuationToken = aws.String(page)
	}
	out, err := b.client.ListObjectsV2(ctx, in)
	switch {
	case err == nil:
	case page != "" && code(err) == "InvalidArgument":
		fail(w, r, http.StatusBadRequest, "page is not one that was answered before", err)
		return
	default:
		failAWS(w, r, err)
		return
	}
	objects := make([]object, 0, len(out.Contents))
	for _, o := range out.Contents {
		objects = append(objects, object{aws.ToString(o.Key), aws.ToInt64(o.Size), aws.ToTime(o.LastModified)})
	}
	answer(w, http.StatusOK, map[string]any{"objects": objects, "next": aws.ToString(out.NextContinuationToken)})
}

// upload answers a URL to which the client PUTs the file itself, since the body of
// a function's request is limited. It answers no URL that would become invalid
// within the five minutes.
func (b *bucket) upload(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	var in struct{ Name, Type string }
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4<<10)).Decode(&in); err != nil {
		fail(w, r, http.StatusBadRequest, `the body is not {"name": …, "type": …}`, err)
		return
	}
	if in.Name == "" || in.Name != path.Base(in.Name) || in.Name == "." || in.Name == ".." || in.Type == "" {
		fail(w, r, http.StatusBadRequest, "name must be a plain file name, and type a media type", nil)
		return
	}
	signed, err := s3.NewPresignClient(b.client).PresignPutObject(ctx, &s3.PutObjectInput{
		Bucket:      aws.String(b.name),
		Key:         aws.String("uploads/" + in.Name),
		ContentType: aws.String(in.Type),
	}, s3.WithPresignExpires(uploadTime))
	if err != nil {
		failAWS(w, r, err)
		return
	}
	credentials, _ := refresh.StatusOf(b.provider)
	if !strings.Contains(signed.URL, credentials.AccessKeyID) || time.Until(credentials.Expires) < uploadTime {
		w.Header().Set("Retry-After", "30") // seconds
		fail(w, r, http.StatusServiceUnavailable, "the server's AWS identity is about to end", credentials.Err)
		return
	}
	answer(w, http.StatusOK, map[string]any{
		"method":  signed.Method,
		"url":     signed.URL,
		"headers": map[string]string{"Content-Type": in.Type},
	})
}

// failAWS answers a status that a client can act on; the log has the details.
func failAWS(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case noIdentity(err):
		fail(w, r, http.StatusServiceUnavailable, "the server has no AWS identity", err)
	case slices.Contains([]string{"ExpiredToken", "InvalidAccessKeyId", "InvalidToken"}, code(err)):
		// The role was deleted and made again, for example. The provider is
		// fetching new credentials, since InvalidateDeadCredentials told it.
		w.Header().Set("Retry-After", "2") // seconds
		fail(w, r, http.StatusServiceUnavailable, "the storage rejected the server's AWS credentials", err)
	case errors.Is(err, context.DeadlineExceeded):
		fail(w, r, http.StatusGatewayTimeout, "the storage did not answer in time", err)
	default:
		fail(w, r, http.StatusBadGateway, "the storage refused", err)
	}
}

// code is the error code in S3's answer, or "" if there is none. See
// https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html.
func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
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
