package vercelaws

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/vercelaws/vercelaws/refresh"
)

// InvalidateDeadCredentials returns an SDK middleware that watches the answers
// of the services a client calls. When one rejects the credentials, as after the
// role was deleted and made again, the provider refreshes them in the background.
// Without it, credentials that STS gave are used to their expiry.
//
// Make it once for a provider and give it to all clients, or to each one:
//
//	cfg, err := config.LoadDefaultConfig(ctx,
//		config.WithCredentialsProvider(provider),
//		config.WithAPIOptions([]func(*middleware.Stack) error{vercelaws.InvalidateDeadCredentials(provider)}))
//
// They are rejected by ExpiredToken, ExpiredTokenException, InvalidClientTokenId,
// InvalidAccessKeyId, UnrecognizedClientException, S3's InvalidToken, and EC2's
// AuthFailure where its message speaks of credentials. Other errors change
// nothing: AccessDenied is what a revoked session gets too, but mostly a
// missing permission; RequestExpired is a wrong clock. A HEAD request, such as
// S3's HeadObject, gets 400 and no code: that counts when it comes three times in
// a row with one key, and no other request with it was accepted in between.
//
// The request that was refused still fails. The old credentials serve until the
// new ones are there, since a service may be mistaken; how often it is believed
// is told at refresh.ReportRejected. Provider is a cache of [NewProvider] or
// refresh.NewCredentialsCache; any other is left alone.
func InvalidateDeadCredentials(provider *aws.CredentialsCache) func(*middleware.Stack) error {
	w := &rejectionWatch{provider: provider}
	return func(stack *middleware.Stack) error {
		return stack.Deserialize.Add(w, middleware.Before)
	}
}

// enoughHeads is how many HEAD requests in a row are refused without a code
// before that is taken for a rejection.
const enoughHeads = 3

// rejectionWatch is the middleware.
type rejectionWatch struct {
	provider *aws.CredentialsCache

	mu    sync.Mutex // guards what follows
	key   string     // of the HEAD requests that were refused last
	heads int        // their number in a row
}

// ID names the middleware in the stack.
func (*rejectionWatch) ID() string { return "vercelaws.InvalidateDeadCredentials" }

// HandleDeserialize looks at the answer to an attempt.
func (w *rejectionWatch) HandleDeserialize(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (middleware.DeserializeOutput, middleware.Metadata, error) {
	out, metadata, err := next.HandleDeserialize(ctx, in)
	if request, ok := in.Request.(*smithyhttp.Request); ok {
		if key := signingKey(request); saysRejected(err) || w.suspects(request.Method, key, err) {
			refresh.ReportRejected(ctx, w.provider, key)
		}
	}
	return out, metadata, err
}

// suspects reports whether this answer makes enough HEAD requests with key that
// were refused without a code.
func (w *rejectionWatch) suspects(method, key string, err error) bool {
	status := http.StatusOK
	if err != nil {
		var answer *smithyhttp.ResponseError
		if !errors.As(err, &answer) {
			return false // there is none
		}
		status = answer.HTTPStatusCode()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case status < http.StatusBadRequest || status == http.StatusNotFound: // it was accepted
		if key == w.key {
			w.heads = 0
		}
	case method == http.MethodHead && status == http.StatusBadRequest:
		if key != w.key {
			w.key, w.heads = key, 0
		}
		w.heads++
		if w.heads == enoughHeads {
			w.heads = 0
			return true
		}
	}
	return false
}

func saysRejected(err error) bool {
	api := apiError(err)
	if api == nil {
		return false
	}
	switch api.ErrorCode() {
	case "ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "InvalidAccessKeyId", "UnrecognizedClientException",
		"InvalidToken": // https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
		return true
	case "AuthFailure": // also of a resource that is not the caller's; https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
		return strings.Contains(strings.ToLower(api.ErrorMessage()), "credentials")
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
