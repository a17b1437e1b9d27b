package vercelaws

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// InvalidateDeadCredentials returns an SDK middleware that watches the answers
// of the services a client calls. When one says that the credentials are dead
// (ExpiredToken, ExpiredTokenException, InvalidClientTokenId,
// InvalidAccessKeyId, UnrecognizedClientException), as after the role was
// deleted and made again or its sessions were revoked, it invalidates provider,
// so that the next request uses fresh ones. Without it, credentials that STS
// gave are used to their expiry. Other errors, such as AccessDenied, change
// nothing.
//
// Make it once for a provider and give it to all clients, or to each one:
//
//	cfg, err := config.LoadDefaultConfig(ctx,
//		config.WithCredentialsProvider(provider),
//		config.WithAPIOptions([]func(*middleware.Stack) error{vercelaws.InvalidateDeadCredentials(provider)}))
//
// The request that met the dead credentials still fails. However many fail so,
// provider is invalidated at most once a second, and once for each access key.
func InvalidateDeadCredentials(provider *aws.CredentialsCache) func(*middleware.Stack) error {
	w := &deadWatch{invalidate: provider.Invalidate}
	return func(stack *middleware.Stack) error {
		return stack.Deserialize.Add(w, middleware.Before)
	}
}

// deadWatch is the middleware. One serves all clients.
type deadWatch struct {
	invalidate func()

	mu   sync.Mutex // guards what follows
	key  string     // the access key that was found dead last
	when time.Time
}

// ID names the middleware in the stack.
func (*deadWatch) ID() string { return "vercelaws.InvalidateDeadCredentials" }

// HandleDeserialize looks at the error of an attempt.
func (w *deadWatch) HandleDeserialize(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (middleware.DeserializeOutput, middleware.Metadata, error) {
	out, metadata, err := next.HandleDeserialize(ctx, in)
	if err != nil && saysDead(err) {
		if request, ok := in.Request.(*smithyhttp.Request); ok {
			w.found(signingKey(request), wall())
		}
	}
	return out, metadata, err
}

// found notes that a request signed with key failed for it.
func (w *deadWatch) found(key string, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	// Requests that were on their way when the key was found dead fail later,
	// and say nothing of the credentials that have replaced it.
	if key == w.key || now.Sub(w.when).Abs() < refusalMemory {
		return
	}
	w.key, w.when = key, now
	w.invalidate()
}

func saysDead(err error) bool {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return false
	}
	switch api.ErrorCode() {
	case "ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "InvalidAccessKeyId", "UnrecognizedClientException":
		return true
	}
	return false
}

// signingKey is the access key ID in a signed request's Authorization header:
// "AWS4-HMAC-SHA256 Credential=<key>/<scope>, …"
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html).
func signingKey(r *smithyhttp.Request) string {
	_, credential, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	key, _, _ := strings.Cut(credential, "/")
	return key
}
