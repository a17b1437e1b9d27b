package stsclient

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/vercelaws/vercelaws/internal/http1"
)

const (
	// attemptLimit bounds an attempt of an STS operation, from connecting to
	// the last byte of the answer, until one has met silence: its connection, or
	// an address of the endpoint's, may be dead.
	attemptLimit = 3 * time.Second

	// lastLimit bounds an attempt after that. It has all that is left of the
	// fetch: STS itself is slow, and has been seen to take 3.5 seconds and more.
	lastLimit = 10 * time.Second

	// answerLimit bounds an answer of STS, which is about 2 KB.
	answerLimit = 1 << 20 // 1 MiB
)

// Pacer bounds how often something is done that keeps going wrong.
type Pacer interface {
	// Begin waits until an attempt may begin, or until ctx ends, whose cause is
	// then the error. End says how the attempt ended, once: fault reports that
	// it says nothing about the request (see [IsFault]), or that it panicked.
	Begin(ctx context.Context) (end func(fault bool), err error)
}

// Limits is for each call of an STS client, also of a user's. It bounds each
// attempt in time and its answer in size, and has it begin as pacer allows; a
// nil pacer allows all. Where STS is silent there are two attempts: the first is
// cut short, the second has all that is left of ctx's time. An answer without
// whole credentials is a fault. Where Limits is given twice, the first counts.
//
// Begins, if not nil, is called before each attempt.
func Limits(pacer Pacer, begins func()) func(*sts.Options) {
	return func(o *sts.Options) {
		_, bounded := o.HTTPClient.(*http1.Transport) // by itself
		o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
			if _, given := stack.Finalize.Get((*attempt)(nil).ID()); given {
				return nil
			}
			// After all others, so inside the retries, and outside of what reads the answer.
			err := stack.Finalize.Add(&attempt{pacer: pacer, begins: begins, limit: attemptLimit}, middleware.After)
			if err != nil || bounded {
				return err
			}
			return stack.Deserialize.Add(answerSize{}, middleware.After)
		})
	}
}

// attempt is an SDK middleware inside the retry loop. There is one for each
// operation in a region, whose attempts follow each other.
type attempt struct {
	pacer  Pacer
	begins func()
	limit  time.Duration // of the next attempt
}

// ID names the middleware in the stack.
func (*attempt) ID() string { return "vercelaws.Attempt" }

// HandleFinalize makes one attempt within the limits.
func (a *attempt) HandleFinalize(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (out middleware.FinalizeOutput, metadata middleware.Metadata, err error) {
	if a.begins != nil {
		a.begins()
	}
	if a.pacer != nil {
		end, late := a.pacer.Begin(ctx)
		if late != nil {
			// As a canceled request it is not tried again.
			return out, metadata, &aws.RequestCanceledError{Err: fmt.Errorf("STS faults, and the time was over before it could be asked again: %w", late)}
		}
		fault := true // unless it returns: a user's HTTP client may panic
		defer func() { end(fault) }()
		out, metadata, err = a.once(ctx, in, next)
		fault = IsFault(err)
		return out, metadata, err
	}
	return a.once(ctx, in, next)
}

func (a *attempt) once(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (out middleware.FinalizeOutput, metadata middleware.Metadata, err error) {
	limited, cancel := context.WithTimeout(ctx, a.limit)
	defer cancel()
	out, metadata, err = next.HandleFinalize(limited, in)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		// The SDK takes the end of our limit for the caller's wish to stop,
		// which it would not retry. So its error does not go into this one.
		err = attemptTimeoutError{a.limit}
		a.limit = lastLimit
	}
	if answer, ok := out.Result.(*sts.AssumeRoleWithWebIdentityOutput); err == nil && ok && !isWhole(answer.Credentials) {
		err = noCredentialsError{}
	}
	if err != nil && CannotFetchKeys(err) {
		err = keysError{err}
	}
	return out, metadata, err
}

// isWhole reports whether the credentials can be signed with. An empty answer
// is a success to the SDK.
func isWhole(c *types.Credentials) bool {
	return c != nil && aws.ToString(c.AccessKeyId) != "" && aws.ToString(c.SecretAccessKey) != "" && aws.ToString(c.SessionToken) != "" && c.Expiration != nil
}

// noCredentialsError is a success that is none.
type noCredentialsError struct{}

// Error says so.
func (noCredentialsError) Error() string { return "the answer holds no whole credentials" }

// RetryableError tells the SDK to try again.
func (noCredentialsError) RetryableError() bool { return true }

type attemptTimeoutError struct{ limit time.Duration }

// Error names the limit.
func (e attemptTimeoutError) Error() string {
	return fmt.Sprintf("an attempt took longer than %s", e.limit)
}

// Timeout tells net.Error users what it was.
func (attemptTimeoutError) Timeout() bool { return true }

// RetryableError tells the SDK to try again.
func (attemptTimeoutError) RetryableError() bool { return true }

// keysError is STS's word that it could not fetch the issuer's keys.
type keysError struct{ error }

// Unwrap returns it.
func (e keysError) Unwrap() error { return e.error }

// RetryableError tells the SDK to try again: the code alone does not say so.
func (keysError) RetryableError() bool { return true }

// answerSize is an SDK middleware next to the transport.
type answerSize struct{}

// ID names the middleware in the stack.
func (answerSize) ID() string { return "vercelaws.AnswerSize" }

// HandleDeserialize bounds the body before it is read. That of a 101 answer has
// no end: net/http reads it from the connection, whatever the context says.
func (answerSize) HandleDeserialize(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (middleware.DeserializeOutput, middleware.Metadata, error) {
	out, metadata, err := next.HandleDeserialize(ctx, in)
	if response, ok := out.RawResponse.(*smithyhttp.Response); ok && response.Response != nil && response.Body != nil {
		if err == nil && response.StatusCode == http.StatusSwitchingProtocols {
			_ = response.Body.Close()
			return out, metadata, &smithyhttp.RequestSendError{Err: errors.New("the server switches to another protocol (status 101), which was not asked for")}
		}
		response.Body = http.MaxBytesReader(nil, response.Body, answerLimit)
	}
	return out, metadata, err
}

// refusals are STS's words for a request that it understands and refuses; see
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html.
// InvalidParameterValue is MinIO's for any bad token.
var refusals = map[string]bool{
	"AccessDenied": true, "ExpiredToken": true, "IDPRejectedClaim": true, "InvalidIdentityToken": true,
	"InvalidParameterValue": true, "MalformedPolicyDocument": true, "PackedPolicyTooLarge": true, "ValidationError": true,
}

// CannotFetchKeys reports whether STS says that it could not fetch the keys of
// the token's issuer. "This error might be temporary", its reference says of
// IDPCommunicationError. STS says it with InvalidIdentityToken too, in words:
// "Couldn't retrieve verification key from your identity provider".
func CannotFetchKeys(err error) bool {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return false
	}
	switch strings.TrimSuffix(api.ErrorCode(), "Exception") {
	case "IDPCommunicationError":
		return true
	case "InvalidIdentityToken":
		return strings.Contains(strings.ToLower(api.ErrorMessage()), "retrieve verification key")
	}
	return false
}

// IsFault reports whether an error of an STS operation says nothing about the
// request: STS was not reached, did not answer, gave an answer that cannot be
// read, or says that it cannot answer now or here (a server error, throttling, a
// region that is not enabled, or see [CannotFetchKeys]). Any other error is a
// refusal, which is STS's last word. Nil is neither. See
// https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html.
//
// An error of a client that shows no HTTP answer is a fault if it has no code,
// one of the codes above, or calls itself the server's.
func IsFault(err error) bool {
	if err == nil {
		return false
	}
	var api smithy.APIError
	if !errors.As(err, &api) {
		return true
	}
	switch code := api.ErrorCode(); strings.TrimSuffix(code, "Exception") {
	case "UnknownError", // the SDK's name for an answer without a code
		"RegionDisabled", "OptInRequired": // another region may be enabled
		return true
	default:
		if _, throttled := retry.DefaultThrottleErrorCodes[code]; throttled || CannotFetchKeys(err) {
			return true
		}
	}
	var answer *smithyhttp.ResponseError
	if !errors.As(err, &answer) {
		// A client that is not the SDK's: what is not known as a refusal may pass.
		return api.ErrorFault() != smithy.FaultClient && !refusals[strings.TrimSuffix(api.ErrorCode(), "Exception")]
	}
	status := answer.HTTPStatusCode()
	return status/100 != 4 || status == http.StatusRequestTimeout || status == http.StatusTooManyRequests
}
