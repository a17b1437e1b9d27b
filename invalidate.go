package vercelaws

import (
	"context"
	"errors"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/vercelaws/vercelaws/refresh"
)

// InvalidateDeadCredentials returns an SDK middleware that watches the answers
// of the services a client calls. When one says that the credentials are dead,
// as after the role was deleted and made again, the provider refreshes them in
// the background. Without it, credentials that STS gave are used to their
// expiry.
//
// Make it once for a provider and give it to all clients, or to each one:
//
//	cfg, err := config.LoadDefaultConfig(ctx,
//		config.WithCredentialsProvider(provider),
//		config.WithAPIOptions([]func(*middleware.Stack) error{vercelaws.InvalidateDeadCredentials(provider)}))
//
// Dead are ExpiredToken, ExpiredTokenException, InvalidClientTokenId,
// InvalidAccessKeyId, UnrecognizedClientException, S3's InvalidToken, and EC2's
// AuthFailure where its message speaks of credentials. Other errors change
// nothing: AccessDenied is what a revoked session gets too, but mostly a
// missing permission; RequestExpired is a wrong clock.
//
// The request that met the dead credentials still fails. The old ones serve
// until the new ones are there, since a service may be mistaken; how often it
// is believed is told at refresh.ReportRejected. Provider is a cache of
// [NewProvider] or refresh.NewCredentialsCache; any other is left alone.
func InvalidateDeadCredentials(provider *aws.CredentialsCache) func(*middleware.Stack) error {
	return func(stack *middleware.Stack) error {
		return stack.Deserialize.Add(deadWatch{provider}, middleware.Before)
	}
}

// deadWatch is the middleware.
type deadWatch struct{ provider *aws.CredentialsCache }

// ID names the middleware in the stack.
func (deadWatch) ID() string { return "vercelaws.InvalidateDeadCredentials" }

// HandleDeserialize looks at the error of an attempt.
func (w deadWatch) HandleDeserialize(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (middleware.DeserializeOutput, middleware.Metadata, error) {
	out, metadata, err := next.HandleDeserialize(ctx, in)
	if err != nil && saysDead(err) {
		if request, ok := in.Request.(*smithyhttp.Request); ok {
			refresh.ReportRejected(ctx, w.provider, signingKey(request))
		}
	}
	return out, metadata, err
}

func saysDead(err error) bool {
	var api smithy.APIError
	if !errors.As(err, &api) {
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
