// Package failure describes errors between a token and AWS for users of the
// command, and says what to do. The library's errors are for people who write Go.
package failure

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/smithy-go"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/cmd/vercelaws/internal/shell"
	"github.com/vercelaws/vercelaws/internal/scrub"
	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/trustpolicy"
)

// Failure is an error in parts.
type Failure struct {
	Words   string   // what went wrong, on one line
	Details []string // what else there is to know
	ToDo    string   // what to do; "" if Words or Details say it
	Asked   bool     // the error is from the call of STS
	Refused bool     // STS refused
}

// Of returns the parts of an error of the library.
func Of(err error) Failure {
	var asked *vercelaws.AssumeRoleError
	switch {
	case errors.As(err, &asked):
		return ofSTS(asked)
	case errors.Is(err, oidc.ErrNoToken), errors.Is(err, oidc.ErrExpired), errors.Is(err, oidc.ErrMalformed):
		return ofToken(err)
	}
	return Failure{Words: ownWords(err)}
}

// Error returns the failure for standard error.
func (f Failure) Error() string {
	var b strings.Builder
	b.WriteString(f.Words)
	for _, d := range f.Details {
		b.WriteString("\n  " + d)
	}
	if f.ToDo != "" {
		b.WriteString("\n  to do: " + f.ToDo)
	}
	return b.String()
}

// flags are the command's names for the library's options.
var flags = strings.NewReplacer(
	"Options.Duration", "--duration",
	"Options.RoleSessionName", "--session-name",
	"Options.Audience", "--audience",
	"Options.FallbackRegion", "--fallback-region",
	"set AWS_ROLE_ARN in the Vercel project's environment variables to the role's ARN", "give --role-arn, or set AWS_ROLE_ARN",
)

// ownWords is the message of an error without the prefixes of Go packages.
func ownWords(err error) string {
	message := strings.TrimPrefix(err.Error(), "failed to refresh cached credentials, ")
	for _, pkg := range []string{"vercelaws: ", "oidc: "} {
		message = strings.TrimPrefix(message, pkg)
	}
	return flags.Replace(message)
}

// code is what an error code of STS looks like.
var code = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9.]{1,100}$`) })

// said is the code and message of STS's answer, quoted: another server may have
// written it.
func said(e *vercelaws.AssumeRoleError) string {
	name := e.Code
	if !code().MatchString(name) {
		name = Quote(name)
	}
	if text := message(e); text != "" {
		return name + ", " + Quote(text)
	}
	return name
}

// message is that of STS's answer, or "" if it has none.
func message(e *vercelaws.AssumeRoleError) string {
	var api smithy.APIError
	if errors.As(e, &api) {
		return api.ErrorMessage()
	}
	return ""
}

// Quote quotes text of a token or a server, shortened.
func Quote(s string) string { return fmt.Sprintf("%q", scrub.Text(s, "", 600)) }

// QuoteAll quotes each of the texts, with commas between them.
func QuoteAll(texts []string) string {
	quoted := make([]string, len(texts))
	for i, s := range texts {
		quoted[i] = Quote(s)
	}
	return strings.Join(quoted, ", ")
}

func ofSTS(e *vercelaws.AssumeRoleError) Failure {
	f := Failure{
		Details: []string{fmt.Sprintf("the token has the issuer %s, subject %s, audience %s", Quote(e.Issuer), Quote(e.Subject), QuoteAll(e.Audience))},
		ToDo:    flags.Replace(e.Advice()),
		Asked:   true,
		Refused: e.Code != "" && !e.Temporary(),
	}
	switch {
	case e.Code == "":
		f.Words = unanswered(e)
	case f.Refused:
		f.Words = "STS refuses: " + said(e)
	default:
		f.Words = "STS fails: " + said(e)
	}
	if !f.Refused {
		return f
	}
	switch strings.TrimSuffix(e.Code, "Exception") { // where the command knows more than the library
	case "AccessDenied":
		f.ToDo = "see that the role exists in the account that its ARN names, and that its trust policy admits the token: vercelaws doctor --help says how to find the line"
	case "ExpiredToken":
		f.ToDo = "get a new token (`vercel env pull`), and check the local clock"
	case "InvalidIdentityToken":
		f.ToDo = providerAdvice(e)
	case "IDPRejectedClaim":
		f.ToDo = "get a new token (`vercel env pull`, or deploy again): the issuer rejects this one, so it may have been revoked"
	}
	return f
}

// unanswered says why there is no answer of STS, or none that can be used.
func unanswered(e *vercelaws.AssumeRoleError) string {
	var transport *url.Error
	reason := errors.Unwrap(e)
	switch {
	case reason == nil:
		return "STS gave no credentials"
	case !e.Temporary(): // the clock is wrong, which it says
		return scrub.Text(reason.Error(), "", 600)
	case errors.As(reason, &transport):
		return "STS cannot be reached: " + scrub.Text(transport.Error(), "", 600)
	}
	return "STS does not answer as it should: " + Quote(reason.Error())
}

// providerAdvice is what to do where STS does not know the token's issuer or
// audience.
func providerAdvice(e *vercelaws.AssumeRoleError) string {
	switch text := message(e); {
	case strings.Contains(text, "No OpenIDConnect provider found"):
		return "create the provider: " + shell.AWSIAM("create-open-id-connect-provider", map[string]any{"Url": e.Issuer, "ClientIDList": e.Audience})
	case strings.Contains(text, "token audience") && len(e.Audience) > 0:
		partition, account := Account(e.RoleARN)
		return "give the provider the token's audience: " + shell.AWSIAM("add-client-id-to-open-id-connect-provider", map[string]any{
			"OpenIDConnectProviderArn": trustpolicy.ProviderARN(partition, account, e.Issuer), "ClientID": e.Audience[0],
		})
	}
	return fmt.Sprintf("see that the role's account has an IAM OIDC provider with the URL %s and the audience %s, and that the token comes unchanged from Vercel", Quote(e.Issuer), QuoteAll(e.Audience))
}

// Account returns the partition and account ID of an ARN, or nothing if it is none.
func Account(s string) (partition, id string) {
	parsed, _ := arn.Parse(s) // empty if it is none
	return parsed.Partition, parsed.AccountID
}
