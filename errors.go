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

	"github.com/vercelaws/vercelaws/internal/http1"
	"github.com/vercelaws/vercelaws/internal/scrub"
	"github.com/vercelaws/vercelaws/internal/stsclient"
	"github.com/vercelaws/vercelaws/oidc"
)

// ConfigError says that what the program was given cannot work: the role ARN, a
// field of [Options], or an environment variable of the way to STS. Nothing was
// sent. It stays so until somebody changes the setting, so it is no reason to try
// again. Find it with [errors.As].
type ConfigError struct {
	// Setting is what is wrong: "role ARN", a field such as "Options.Duration",
	// or a variable such as "AWS_RETRY_MODE". Where several are, the first.
	Setting string

	problem string
}

// Error names the setting and says what it must be.
func (e *ConfigError) Error() string { return "vercelaws: " + e.problem }

// AssumeRoleError says that STS was asked for credentials and gave none. Find
// it with [errors.As]. Its message names the role and what the token says of
// itself, and says what to change; it never holds the token.
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
	unclear bool // the answer may be about the token, though it does not say so
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
	return fmt.Sprintf("vercelaws: cannot assume %s: %s (token says issuer %s, subject %s, audience [%s]): %s",
		e.RoleARN, e.message, quote(e.Issuer), quote(e.Subject), quoteAll(e.Audience), e.Advice())
}

// Unwrap returns the SDK's error, or what is safe to show of it.
func (e *AssumeRoleError) Unwrap() error { return e.err }

// Temporary reports whether the failure may pass by itself: STS was not reached,
// did not answer as it should, limits the rate of calls, or could not fetch the
// issuer's keys. Otherwise STS refused, or the local clock is wrong, and it stays
// so until something is changed.
func (e *AssumeRoleError) Temporary() bool {
	return e.kind == serviceFault && !errors.Is(e.err, errExpiredOnArrival)
}

// Advice is one sentence on what to change, or to wait for. [AssumeRoleError.Error]
// ends with it. It holds nothing of the token: who sends one could otherwise say
// what an operator should do.
func (e *AssumeRoleError) Advice() string {
	switch {
	case stsclient.CannotFetchKeys(e.err):
		return "STS could not fetch the keys of the token's issuer; this usually passes, so try again"
	case errors.Is(e.err, errExpiredOnArrival):
		return "set the local clock right: AWS refuses requests signed by one that is more than five minutes wrong"
	case isThrottle(e.Code):
		return "STS limits the account's rate of calls; this usually passes, so try again"
	}
	switch baseCode(e.Code) {
	case "AccessDenied":
		return "the role does not exist, or its trust policy does not admit this token; check the account ID and the name in the role ARN, and that the policy's Principal.Federated and its conditions on sub and aud fit what the token says"
	case "ExpiredToken":
		return "the token has expired by STS's clock; pass each request's own token with oidc.RequestContext(r), and check the local clock"
	case "InvalidIdentityToken":
		return "STS does not accept the token; see that the role's account has an IAM OIDC provider with the URL of your team's issuer and the audience of its tokens, and that the token comes unchanged from Vercel"
	case "InvalidParameterValue":
		return "the message of STS says what is wrong, as far as it tells: S3-compatible stores have this one code for a role, a policy, a duration or a token that they do not take"
	case "IDPRejectedClaim":
		return "the token's issuer rejects it, so it may have been revoked; deploy again to get a new one, and check the account's IAM OIDC provider"
	case "MalformedPolicyDocument":
		return "Options.Policy is not a valid IAM policy; check it with IAM Access Analyzer or `aws accessanalyzer validate-policy`"
	case "PackedPolicyTooLarge":
		return "Options.Policy and Options.PolicyARNs are too large together; shorten them or move permissions into the role"
	case "RegionDisabled", "OptInRequired":
		return "STS is not enabled in this region for the role's account, as in the opt-in regions of Vercel's hkg1 (ap-east-1) and cpt1 (af-south-1) it is not at first; set AWS_REGION or Options.FallbackRegion to another region, or enable this one in the account"
	case "ValidationError":
		return "STS refuses a parameter; check the role ARN, Options.RoleSessionName, and that Options.Duration is not over the role's maximum session duration"
	}
	if e.kind == serviceFault {
		return "STS could not be asked or did not answer as it should; try again, and check AWS_REGION, AWS_ENDPOINT_URL_STS and the network"
	}
	return "STS refuses the request for the reason that its message gives; check AWS_REGION and the STS endpoint if it is not the token's or the role's"
}

// configured says what is wrong with the options, or with the environment of the
// default client: whether there is a token makes no difference to that.
func (f *fetcher) configured() error {
	c, own := f.client.(*stsclient.Client)
	if f.invalid != nil || !own {
		return f.invalid
	}
	_, err := c.Regions()
	if err == nil {
		return nil
	}
	var setting *stsclient.SettingError // perhaps the first of several
	if errors.As(err, &setting) {
		return &ConfigError{setting.Setting, strings.ReplaceAll(err.Error(), "\n", "; ")}
	}
	return err
}

// noToken is the error of a fetch that has no token to ask STS with.
func noToken(roleARN string, err error) error {
	advice := ""
	if errors.Is(err, oidc.ErrExpired) {
		advice = "; the token is an old one, or the local clock is ahead: pass each request's own token with oidc.RequestContext(r), and check the clock"
	}
	return fmt.Errorf("vercelaws: no token to assume %s with: %w%s", roleARN, err, advice)
}

// assumeError makes an AssumeRoleError of what went wrong with token.
func (f *fetcher) assumeError(token oidc.Token, err error) *AssumeRoleError {
	e := &AssumeRoleError{
		RoleARN:  f.roleARN,
		Issuer:   token.Issuer,
		Subject:  token.Subject,
		Audience: token.Audience,
		kind:     kindOf(err),
		unclear:  isUnclear(err),
	}
	if err = http1.WithoutText(err); isUnreadable(err) {
		err = errors.New("the answer has the status of a success, and is not the XML of STS")
	}
	if api := apiError(err); api != nil {
		e.Code = clean(api.ErrorCode(), token)
		e.message = strings.TrimSuffix(e.Code+": "+clean(api.ErrorMessage(), token), ": ")
	} else {
		e.message = clean(err.Error(), token)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		e.message = "STS did not answer in time: " + e.message
	}
	e.err = presentable(err, e, token)
	return e
}

// isUnreadable reports whether an answer that should have keys could not be read. The
// error may quote it.
func isUnreadable(err error) bool {
	var answer *smithyhttp.ResponseError
	return errors.As(err, &answer) && answer.HTTPStatusCode()/100 == 2 && !http1.BrokeOff(err)
}

// apiError returns the error of a service that err wraps, or nil.
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
	case "MalformedPolicyDocument", "PackedPolicyTooLarge", "RegionDisabled", "OptInRequired":
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
	if err == nil {
		return false
	}
	var exchange *oidc.ExchangeError
	if errors.As(err, &exchange) {
		return exchange.Refused
	}
	var e *AssumeRoleError
	return errors.As(err, &e) && e.kind != serviceFault
}

// isUnclear reports whether an answer may be about the token, though it does not
// say so: it has no code, as a middlebox's, or says that STS could not fetch the
// keys of the token's issuer.
func isUnclear(err error) bool {
	if stsclient.CannotFetchKeys(err) {
		return true
	}
	var answer *smithyhttp.ResponseError
	api := apiError(err)
	return errors.As(err, &answer) && (api == nil || api.ErrorCode() == "" || api.ErrorCode() == "UnknownError")
}
