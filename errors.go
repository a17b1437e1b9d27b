package vercelaws

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/vercelaws/vercelaws/internal/scrub"
	"github.com/vercelaws/vercelaws/internal/stsclient"
	"github.com/vercelaws/vercelaws/oidc"
)

// AssumeRoleError says that STS was asked for credentials and gave none. Find
// it with [errors.As]. Its message names the role and the token's claims, and
// says what to change; it never holds the token.
type AssumeRoleError struct {
	RoleARN  string   // the role that was to be assumed
	Issuer   string   // the token's iss
	Subject  string   // the token's sub
	Audience []string // the token's aud

	// Code is STS's error code, such as "AccessDenied", as in
	// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html#API_AssumeRoleWithWebIdentity_Errors.
	// It is empty if there was no readable answer.
	Code string

	message string
	kind    failureKind
	err     error
}

// failureKind is what a failure means for the next try.
type failureKind int

const (
	serviceFault   failureKind = iota // may pass by itself
	tokenRefused                      // another token may do better
	requestRefused                    // no token will do until something is changed
)

// Error says what STS said, for which token, and what to do.
func (e *AssumeRoleError) Error() string {
	return fmt.Sprintf("vercelaws: cannot assume %s: %s (token of issuer %q, subject %q, audience %q): %s",
		e.RoleARN, e.message, shorten(e.Issuer), shorten(e.Subject), shortenAll(e.Audience), e.advice())
}

// Unwrap returns the SDK's error, or what is safe to show of it.
func (e *AssumeRoleError) Unwrap() error { return e.err }

// advice is one sentence on what to change.
func (e *AssumeRoleError) advice() string {
	_, provider, _ := strings.Cut(e.Issuer, "://") // as IAM names it
	provider = shorten(provider)
	switch baseCode(e.Code) {
	case "AccessDenied":
		return fmt.Sprintf("the role does not exist, or its trust policy does not admit this token; its Principal.Federated must end in %q, and its conditions on %q and %q must match the subject and audience above", "oidc-provider/"+provider, provider+":sub", provider+":aud")
	case "ExpiredToken":
		return "the token has expired by STS's clock; pass each request's own token with oidc.RequestContext(r), and check the local clock"
	case "InvalidIdentityToken", "InvalidParameterValue":
		return fmt.Sprintf("STS does not accept the token; the role's account needs an IAM OIDC provider with URL %q and the audience above, and the token must come unchanged from Vercel", shorten(e.Issuer))
	case "IDPCommunicationError":
		return fmt.Sprintf("STS could not reach %q for its keys; this usually passes, so try again", shorten(e.Issuer))
	case "IDPRejectedClaim":
		return "the token's issuer rejects it, so it may have been revoked; deploy again to get a new one, and check the account's IAM OIDC provider"
	case "MalformedPolicyDocument":
		return "Options.Policy is not a valid IAM policy; check it with IAM Access Analyzer or `aws accessanalyzer validate-policy`"
	case "PackedPolicyTooLarge":
		return "Options.Policy and Options.PolicyARNs are too large together; shorten them or move permissions into the role"
	case "RegionDisabled":
		return "STS is not activated in this region for the role's account; activate it in IAM's account settings or set AWS_REGION to another region"
	case "ValidationError":
		return "STS refuses a parameter; check the role ARN, Options.RoleSessionName, and that Options.Duration is not over the role's maximum session duration"
	}
	switch {
	case errors.Is(e.err, errExpiredOnArrival):
		return "AWS refuses requests signed by a clock that is more than a few minutes wrong"
	case isThrottle(e.Code):
		return "STS limits the account's rate of calls; this usually passes, so try again"
	case e.kind == requestRefused:
		return "STS, or something between, refuses the request; check AWS_REGION and the STS endpoint"
	default:
		return "STS could not be asked or did not answer as it should; try again, and check AWS_REGION, AWS_ENDPOINT_URL_STS and the network"
	}
}

// assumeError makes an AssumeRoleError of what went wrong with token.
func (f *fetcher) assumeError(token oidc.Token, err error) *AssumeRoleError {
	e := &AssumeRoleError{
		RoleARN:  f.roleARN,
		Issuer:   token.Issuer,
		Subject:  token.Subject,
		Audience: token.Audience,
		kind:     kindOf(err),
	}
	if api := apiError(err); api != nil {
		e.Code = clean(api.ErrorCode(), token)
		e.message = strings.TrimSuffix(e.Code+": "+clean(api.ErrorMessage(), token), ": ")
	} else {
		e.message = clean(err.Error(), token)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		e.message = fmt.Sprintf("STS did not answer within %s: %s", fetchLimit, e.message)
	}
	e.err = presentable(err, e, token)
	return e
}

func apiError(err error) smithy.APIError {
	var api smithy.APIError
	errors.As(err, &api)
	return api
}

// presentable returns err if nothing in it shows a secret or is unfit for a
// message, and a plain copy of it otherwise: a server can put what it was sent
// into its error message, the SDK keeps the beginning of an answer that it could
// not read, and a client of the user's own may keep the request in its error.
func presentable(err error, e *AssumeRoleError, token oidc.Token) error {
	var unreadable *smithy.DeserializationError
	switch {
	case errors.As(err, &unreadable):
	case clean(err.Error(), token) != err.Error():
	case shows(err, token, new(int)):
	default:
		return err
	}
	if e.Code == "" {
		return errors.New(clean(err.Error(), token))
	}
	_, message, _ := strings.Cut(e.message, ": ")
	return &smithy.GenericAPIError{Code: e.Code, Message: message}
}

// shows reports whether err, or what it wraps, prints a part of token in any of
// the ways of package fmt: by its methods, as Go syntax, or, with a verb that is
// not one for text, field by field. An error of a hundred errors is not looked at
// to its end, and taken to do so.
func shows(err error, token oidc.Token, looked *int) bool {
	if err == nil {
		return false
	}
	if *looked++; *looked > 100 || scrub.Shows(fmt.Sprintf("%+v %#v %d", err, err, err), token.Raw()) {
		return true
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		return shows(e.Unwrap(), token, looked)
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(e.Unwrap(), func(err error) bool { return shows(err, token, looked) })
	}
	return false
}

// clean makes text of a server fit for an error.
func clean(s string, token oidc.Token) string { return scrub.Text(s, token.Raw(), 1000) }

// baseCode is a code without the suffix that some services and SDKs give it.
func baseCode(code string) string { return strings.TrimSuffix(code, "Exception") }

// kindOf reads an error of an STS operation. A refusal that is not known here
// is the token's, never everybody's: whoever can send a token could otherwise
// stop the others with one that draws it.
func kindOf(err error) failureKind {
	api := apiError(err)
	if api == nil {
		return serviceFault
	}
	switch baseCode(api.ErrorCode()) {
	case "MalformedPolicyDocument", "PackedPolicyTooLarge", "RegionDisabled":
		return requestRefused
	}
	if stsclient.IsFault(err) {
		return serviceFault
	}
	return tokenRefused
}

func isThrottle(code string) bool {
	_, ok := retry.DefaultThrottleErrorCodes[code]
	return ok
}

// isRefusal reports whether STS, or the exchange, answered and said no.
func isRefusal(err error) bool {
	var exchange *oidc.ExchangeError
	if errors.As(err, &exchange) {
		return exchange.Refused
	}
	var e *AssumeRoleError
	return errors.As(err, &e) && e.kind != serviceFault
}

// isFault reports whether STS failed, or could not be asked.
func isFault(err error) bool {
	var e *AssumeRoleError
	return errors.As(err, &e) && e.kind == serviceFault
}

// isUnclear reports whether an answer may be about the token, though it does not
// say so: it has no code, as a middlebox's, or says that the token's issuer did
// not answer.
func isUnclear(err error) bool {
	var answer *smithyhttp.ResponseError
	if !errors.As(err, &answer) {
		return false
	}
	api := apiError(err)
	return api == nil || slices.Contains([]string{"", "UnknownError", "IDPCommunicationError"}, baseCode(api.ErrorCode()))
}
