package vercelaws

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/vercelaws/vercelaws/internal/stsenv"
)

const (
	// attemptLimit bounds one attempt of an STS operation, from connecting to
	// the last byte of the answer.
	attemptLimit = 3 * time.Second

	// answerLimit bounds an answer of STS, which is about 2 KB.
	answerLimit = 1 << 20 // 1 MiB
)

// client is what a fetch needs of STS.
type client = stscreds.AssumeRoleWithWebIdentityAPIClient

// lazyClient is the STS client: the user's, or one that is built on first use.
type lazyClient struct {
	mu    sync.Mutex
	built client // nil: not yet
}

func clientOf(given client) *lazyClient { return &lazyClient{built: given} }

// sts returns the client. A failure to build it is not remembered: the
// environment may be mended.
func (l *lazyClient) sts(ctx context.Context) (client, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.built != nil {
		return l.built, nil
	}
	cfg, err := stsenv.Config(ctx)
	if err != nil {
		return nil, fmt.Errorf("vercelaws: cannot make an STS client from the environment: %w", err)
	}
	l.built = sts.NewFromConfig(cfg)
	return l.built, nil
}

// bounded limits each attempt of an operation in time, and its answer in size.
// It is given to each call, and so holds for a client of the user's too.
func bounded(o *sts.Options) {
	o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
		return errors.Join(
			stack.Finalize.Insert(attemptTimeout{}, "Retry", middleware.After),
			stack.Deserialize.Add(answerSize{}, middleware.After),
		)
	})
}

// attemptTimeout is an SDK middleware inside the retry loop.
type attemptTimeout struct{}

// ID names the middleware in the stack.
func (attemptTimeout) ID() string { return "vercelaws.AttemptTimeout" }

// HandleFinalize makes one attempt within the limit.
func (attemptTimeout) HandleFinalize(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
	attempt, cancel := context.WithTimeout(ctx, attemptLimit)
	defer cancel()
	out, metadata, err := next.HandleFinalize(attempt, in)
	if err != nil && attempt.Err() != nil && ctx.Err() == nil {
		// The SDK takes the end of our limit for the caller's wish to stop,
		// which it would not retry. So its error does not go into this one.
		err = errAttemptTimeout
	}
	return out, metadata, err
}

var errAttemptTimeout error = attemptTimeoutError{}

type attemptTimeoutError struct{}

// Error names the limit.
func (attemptTimeoutError) Error() string {
	return fmt.Sprintf("an attempt took longer than %s", attemptLimit)
}

// Timeout tells net.Error users what it was.
func (attemptTimeoutError) Timeout() bool { return true }

// RetryableError tells the SDK to try again.
func (attemptTimeoutError) RetryableError() bool { return true }

// answerSize is an SDK middleware next to the transport.
type answerSize struct{}

// ID names the middleware in the stack.
func (answerSize) ID() string { return "vercelaws.AnswerSize" }

// HandleDeserialize bounds the body before it is read.
func (answerSize) HandleDeserialize(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (middleware.DeserializeOutput, middleware.Metadata, error) {
	out, metadata, err := next.HandleDeserialize(ctx, in)
	if response, ok := out.RawResponse.(*smithyhttp.Response); ok && response.Response != nil && response.Body != nil {
		response.Body = http.MaxBytesReader(nil, response.Body, answerLimit)
	}
	return out, metadata, err
}
