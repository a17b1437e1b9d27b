package main

import (
	"context"
	"crypto/md5"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/examples/guides/internal/loopback"
	"github.com/vercelaws/vercelaws/oidc"
)

// queue is an SQS with one queue, whose messages come again until they are
// deleted. See https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/.
type queue struct {
	mu       sync.Mutex
	messages []string
}

func (q *queue) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	switch r.Header.Get("X-Amz-Target") {
	case "AmazonSQS.ReceiveMessage":
		if len(q.messages) == 0 {
			select { // a long poll, shortened
			case <-time.After(10 * time.Millisecond):
			case <-r.Context().Done():
			}
			fmt.Fprint(w, `{}`)
			return
		}
		body := q.messages[0]
		_ = json.NewEncoder(w).Encode(map[string]any{"Messages": []map[string]any{{
			"MessageId": "1", "ReceiptHandle": body, "Body": body, "MD5OfBody": fmt.Sprintf("%x", md5.Sum([]byte(body))),
		}}})
	case "AmazonSQS.DeleteMessage":
		q.messages = q.messages[1:]
		fmt.Fprint(w, `{}`)
	default:
		w.WriteHeader(http.StatusNotImplemented)
	}
}

func (q *queue) left() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.messages)
}

func TestWorkerBorrowsTheTokenOfARequest(t *testing.T) {
	q := &queue{messages: []string{"one", "two"}}
	a := loopback.Start(t, q)
	provider := vercelaws.NewProvider(loopback.RoleARN)
	cfg, err := config.LoadDefaultConfig(t.Context(), config.WithCredentialsProvider(provider))
	require.NoError(t, err)
	url := loopback.Serve(t, oidc.Middleware(http.NotFoundHandler()))

	_, err = provider.Retrieve(t.Context())
	require.ErrorIs(t, err, oidc.ErrNoToken, "nothing has brought a token yet")

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	var done []string // the worker's own until it ends
	go func() {
		defer close(ended)
		failed := false
		work(ctx, sqs.NewFromConfig(cfg), "https://sqs.eu-west-1.amazonaws.com/123456789012/jobs", func(_ context.Context, body string) error {
			if !failed {
				failed = true
				return errors.New("once more, please")
			}
			done = append(done, body)
			return nil
		})
	}()
	a.Send(t, "GET", url)
	loopback.Until(t, "the queue to be empty", func() bool { return q.left() == 0 })
	cancel()
	<-ended
	assert.Equal(t, []string{"one", "two"}, done)
	assert.Equal(t, "sqs", a.Callers()[0].Service)
	assert.Equal(t, 1, a.Exchanged())
}
