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
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/vercelaws/vercelaws/internal/http1"
)

const (
	// attemptLimit bounds an attempt of an STS operation, from connecting to the
	// last byte of the answer. If there is no answer by then, the connection or an
	// address of the endpoint may be dead.
	attemptLimit = 3 * time.Second

	// lastLimit bounds the attempts after one without an answer. It is as long as
	// a fetch, since STS itself may be slow: 3.5 seconds and more have been seen.
	lastLimit = 10 * time.Second

	// answerLimit bounds an answer of STS, which is about 2 KB.
	answerLimit = 1 << 20 // 1 MiB
)

// Pacer bounds how often attempts are made that keep failing.
type Pacer interface {
	// Begin waits until an attempt may begin. If ctx ends before, the error is its
	// cause. End is called once the attempt has ended: fault is true if the attempt
	// failed with a fault (see [IsFault]) or panicked.
	Begin(ctx context.Context) (end func(fault bool), err error)
}

// Limits returns an option for a call of any STS client, including a user's. Each
// attempt begins when pacer allows it (a nil pacer always does), and is limited in
// time, and its answer in size. If STS does not answer, there are two attempts: the
// first ends early, and the second has all the time that ctx has left. An answer
// without complete credentials is a fault. If Limits is given twice, the first is
// used.
//
// Begins, if not nil, is called before each attempt.
func Limits(pacer Pacer, begins func()) func(*sts.Options) {
	return func(o *sts.Options) {
		_, bounded := o.HTTPClient.(*http1.Transport) // which limits the size of an answer by itself
		o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
			if _, given := stack.Finalize.Get((*attempt)(nil).ID()); given {
				return nil
			}
			// It is the last one, so it is called for each retry, and it sees the answer
			// as the SDK has read it.
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
	end := func(bool) {}
	if a.pacer != nil {
		if end, err = a.pacer.Begin(ctx); err != nil {
			// The SDK does not retry a RequestCanceledError.
			return out, metadata, &aws.RequestCanceledError{Err: fmt.Errorf("STS keeps failing, and there was no time left to ask it again: %w", err)}
		}
	}
	fault := true // if a user's HTTP client panics
	defer func() { end(fault) }()
	out, metadata, err = a.once(ctx, in, next)
	// Not where the caller has left, or another region has answered.
	fault = IsFault(err) && !errors.Is(ctx.Err(), context.Canceled)
	return out, metadata, err
}

func (a *attempt) once(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (out middleware.FinalizeOutput, metadata middleware.Metadata, err error) {
	limited, cancel := context.WithTimeout(ctx, a.limit)
	defer cancel()
	out, metadata, err = next.HandleFinalize(limited, in)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		// The SDK does not retry after a context has ended. So the error does not
		// wrap the SDK's, from which it would see that one has.
		err = retryableError{attemptTimeoutError{a.limit}}
		a.limit = lastLimit
	}
	if answer, ok := out.Result.(*sts.AssumeRoleWithWebIdentityOutput); err == nil && ok {
		if incomplete := Incomplete(answer); incomplete != nil {
			err = retryableError{incomplete}
		}
	}
	if err != nil && CannotFetchKeys(err) { // the SDK would not try again for every code of such an error
		err = retryableError{err}
	}
	return out, metadata, err
}

// Incomplete returns an error if an answer holds no complete credentials. The SDK
// does not check: to it an empty answer is a success.
func Incomplete(answer *sts.AssumeRoleWithWebIdentityOutput) error {
	switch {
	case answer == nil:
		return errors.New("the STS client returned no answer and no error")
	case answer.Credentials == nil:
		return errors.New("the answer holds no credentials")
	case aws.ToString(answer.Credentials.AccessKeyId) == "", aws.ToString(answer.Credentials.SecretAccessKey) == "", aws.ToString(answer.Credentials.SessionToken) == "":
		return errors.New("the answer holds credentials with an empty key or session token")
	case aws.ToTime(answer.Credentials.Expiration).IsZero():
		return errors.New("the answer holds credentials without an expiry")
	}
	return nil
}

// retryableError is an error after which the SDK tries again.
type retryableError struct{ error }

// Unwrap returns the error itself.
func (e retryableError) Unwrap() error { return e.error }

// RetryableError tells the SDK to try again.
func (retryableError) RetryableError() bool { return true }

type attemptTimeoutError struct{ limit time.Duration }

// Error says how long the attempt took.
func (e attemptTimeoutError) Error() string {
	return fmt.Sprintf("an attempt took longer than %s", e.limit)
}

// Timeout reports a time-out, as net.Error does.
func (attemptTimeoutError) Timeout() bool { return true }

// answerSize is an SDK middleware next to the transport.
type answerSize struct{}

// ID names the middleware in the stack.
func (answerSize) ID() string { return "vercelaws.AnswerSize" }

// HandleDeserialize limits the body before it is read. An answer with status 101 is
// an error: net/http reads its body from the connection without end, whatever the
// context says.
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

// refusals are the codes with which STS refuses a request; see
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html.
// InvalidParameterValue is MinIO's for any bad token.
var refusals = map[string]bool{
	"AccessDenied": true, "ExpiredToken": true, "IDPRejectedClaim": true, "InvalidIdentityToken": true,
	"InvalidParameterValue": true, "MalformedPolicyDocument": true, "PackedPolicyTooLarge": true, "ValidationError": true,
}

// CannotFetchKeys reports whether STS could not fetch the keys of the token's
// issuer, so that the request can be tried again. The code for that is
// IDPCommunicationError. STS also uses InvalidIdentityToken, with the message
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

// IsFault reports whether an error of an STS operation is no answer to the request:
// STS was not reached, did not answer, gave an answer that cannot be read, or
// cannot answer now or in this region (a server error, throttling, a region that is
// not enabled, or see [CannotFetchKeys]). Any other error is a refusal, which would
// come again. For nil it is false. See
// https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html.
//
// An error without an HTTP answer, as another client than the SDK's may return, is
// a fault if its code is none of the refusals that are known, and it does not say
// that the request is at fault.
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
		// It comes from another client than the SDK's.
		return api.ErrorFault() != smithy.FaultClient && !refusals[strings.TrimSuffix(api.ErrorCode(), "Exception")]
	}
	status := answer.HTTPStatusCode()
	return status/100 != 4 || status == http.StatusRequestTimeout || status == http.StatusTooManyRequests
}
