// Package handler reads and counts items of a DynamoDB table, whose name and
// keys come from the variables that Vercel's marketplace sets.
//
//	GET  /api/items?key=home&sort=2026   the item
//	POST /api/items?key=home&sort=2026   adds one to its attribute "count", and answers it
package handler

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/examples/dynamodb/resource"
	"github.com/vercelaws/vercelaws/oidc"
)

const awsTime = 10 * time.Second // for one answer of ours in all

// table is a client and the table it is for. Its keys are strings.
type table struct {
	client                      *dynamodb.Client
	name, partitionKey, sortKey string // sortKey is empty where the table has none
}

// items is made once for the instance, and shared by its requests.
var items = sync.OnceValues(func() (*table, error) {
	prefix := os.Getenv("RESOURCE_PREFIX") // for example STORAGE2_
	var t table
	var role, region string
	for _, v := range []struct {
		name  string
		value *string
	}{
		{"AWS_ROLE_ARN", &role}, {"AWS_REGION", &region},
		{"DYNAMODB_TABLE_NAME", &t.name}, {"DYNAMODB_TABLE_PARTITION_KEY", &t.partitionKey},
	} {
		var err error
		if *v.value, err = resource.Variable(prefix, v.name); err != nil {
			return nil, err
		}
	}
	t.sortKey, _ = resource.Variable(prefix, "DYNAMODB_TABLE_SORT_KEY")
	cfg, err := config.LoadDefaultConfig(context.Background(),
		config.WithRegion(region),
		config.WithCredentialsProvider(vercelaws.NewProvider(role)))
	if err != nil {
		return nil, err
	}
	t.client = dynamodb.NewFromConfig(cfg)
	return &t, nil
})

// Handler is what Vercel calls.
func Handler(w http.ResponseWriter, r *http.Request) {
	// Vercel gives a function no deadline, so it sets its own.
	ctx, cancel := context.WithTimeout(oidc.RequestContext(r), awsTime)
	defer cancel()
	t, err := items()
	if err != nil {
		fail(w, r, http.StatusInternalServerError, "the server is not configured", err)
		return
	}
	query := r.URL.Query()
	key := map[string]types.AttributeValue{t.partitionKey: &types.AttributeValueMemberS{Value: query.Get("key")}}
	if query.Get("key") == "" {
		fail(w, r, http.StatusBadRequest, "the query has no key", nil)
		return
	}
	if t.sortKey != "" {
		if query.Get("sort") == "" {
			fail(w, r, http.StatusBadRequest, "the query has no sort", nil)
			return
		}
		key[t.sortKey] = &types.AttributeValueMemberS{Value: query.Get("sort")}
	}
	switch r.Method {
	case http.MethodGet:
		t.read(ctx, w, r, key)
	case http.MethodPost:
		t.count(ctx, w, r, key)
	default:
		w.Header().Set("Allow", "GET, POST")
		fail(w, r, http.StatusMethodNotAllowed, "use GET or POST", nil)
	}
}

func (t *table) read(ctx context.Context, w http.ResponseWriter, r *http.Request, key map[string]types.AttributeValue) {
	out, err := t.client.GetItem(ctx, &dynamodb.GetItemInput{TableName: aws.String(t.name), Key: key})
	if err != nil {
		failAWS(w, r, err)
		return
	}
	if out.Item == nil {
		fail(w, r, http.StatusNotFound, "there is no such item", nil)
		return
	}
	t.answerCount(w, r, out.Item)
}

func (t *table) count(ctx context.Context, w http.ResponseWriter, r *http.Request, key map[string]types.AttributeValue) {
	out, err := t.client.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName:                 aws.String(t.name),
		Key:                       key,
		UpdateExpression:          aws.String("ADD #count :one"), // count is a reserved word
		ExpressionAttributeNames:  map[string]string{"#count": "count"},
		ExpressionAttributeValues: map[string]types.AttributeValue{":one": &types.AttributeValueMemberN{Value: "1"}},
		ReturnValues:              types.ReturnValueAllNew,
	})
	if err != nil {
		failAWS(w, r, err)
		return
	}
	t.answerCount(w, r, out.Attributes)
}

func (t *table) answerCount(w http.ResponseWriter, r *http.Request, item map[string]types.AttributeValue) {
	count := 0
	if n, ok := item["count"].(*types.AttributeValueMemberN); ok {
		var err error
		if count, err = strconv.Atoi(n.Value); err != nil {
			fail(w, r, http.StatusBadGateway, "the item's count is not a number", err)
			return
		}
	}
	answer(w, http.StatusOK, map[string]int{"count": count})
}

// failAWS answers a status that a client can act on; the log has the details.
func failAWS(w http.ResponseWriter, r *http.Request, err error) {
	var api smithy.APIError
	switch {
	case noIdentity(err):
		fail(w, r, http.StatusServiceUnavailable, "the server has no AWS identity", err)
	case errors.As(err, &api):
		fail(w, r, http.StatusBadGateway, "the table refused", err)
	case errors.Is(err, context.DeadlineExceeded):
		fail(w, r, http.StatusGatewayTimeout, "the table did not answer in time", err)
	default:
		fail(w, r, http.StatusBadGateway, "the table cannot be reached", err)
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
