package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/cmd/vercelaws/internal/failure"
	"github.com/vercelaws/vercelaws/cmd/vercelaws/internal/setup"
	"github.com/vercelaws/vercelaws/cmd/vercelaws/internal/shell"
	"github.com/vercelaws/vercelaws/internal/stsclient"
	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/trustpolicy"
)

// checkRole assumes the role, as a provider does.
func (e *examination) checkRole(ctx context.Context) Check {
	c := Check{Name: "role", Status: Skipped}
	switch {
	case e.RoleARN == "":
		c.Summary = "no role was given"
		c.ToDo = []string{"give --role-arn ARN or set AWS_ROLE_ARN"}
		return c
	case !e.hasToken() || !e.hasSTS:
		c.Summary = "not tried"
		return c
	}
	provider := vercelaws.NewProvider(e.RoleARN, func(o *vercelaws.Options) {
		o.Client = e.client(e.config)
		o.Audience = e.Audience
		o.TokenSource = oidc.TokenSourceFunc(func(context.Context) (oidc.Token, error) { return e.token, nil })
	})
	start := time.Now()
	_, err := provider.Retrieve(ctx)
	took := time.Since(start).Round(time.Millisecond)
	if err == nil {
		e.provider = provider
		c.Status = OK
		c.Summary = fmt.Sprintf("STS gave credentials of %s within %s", e.RoleARN, took)
		return c
	}
	c.Status = Failed
	f := failure.Of(err)
	c.Summary = f.Words
	var asked *vercelaws.AssumeRoleError
	if !errors.As(err, &asked) {
		return c
	}
	if f.Refused {
		e.refusal = asked
	}
	switch {
	case asked.Code != "AccessDenied":
		c.ToDo = []string{f.ToDo}
	case e.TrustPolicy == nil:
		c.ToDo = e.neededPolicy()
	}
	return c
}

// neededPolicy is what to do if STS answers AccessDenied and no policy was given.
// It has the trust policy of a role for the chosen environment. If none was chosen,
// that is the token's, unless it is development: a developer who examines a role
// for production has such a token.
func (e *examination) neededPolicy() []string {
	todo := []string{"see that the role exists, and find the line that refuses the token: " + e.getRole() + " | vercelaws doctor --role-arn " + shell.Word(e.RoleARN) + " --trust-policy -"}
	environment := cmp.Or(e.Environment, e.own())
	if e.Environment == "" && environment == "development" {
		return append(todo, `say what the role is for: the token is of "development", and a role for production should not admit that. doctor --environment production prints the policy that a role for production needs`)
	}
	spec, ok := setup.SpecOf(e.refusal.Issuer, inEnvironment(e.refusal.Subject, environment), e.refusal.Audience)
	spec.Partition, spec.AccountID = failure.Account(e.RoleARN)
	if !ok {
		return todo
	}
	policy, err := trustpolicy.Build(spec)
	if err != nil {
		return todo
	}
	return append(todo, fmt.Sprintf("compare: a role that is meant for this project's %s, and for nothing else, has this trust policy:\n%s", failure.Quote(environment), policy))
}

// checkIdentity uses the credentials.
func (e *examination) checkIdentity(ctx context.Context) Check {
	if e.provider == nil {
		return Check{}
	}
	c := Check{Name: "identity", Status: Failed}
	cfg := e.config.Copy()
	cfg.Credentials = e.provider
	identity, err := e.client(cfg).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		if e.isNotAWS() && hasNoOperation(err) {
			// MinIO and Ceph, for two, have no such operation.
			c.Status = Unknown
			c.Summary = "the endpoint is not AWS's, and does not tell whose credentials these are: " + e.clean(err)
			return c
		}
		c.Summary = "GetCallerIdentity fails: " + e.clean(err)
		c.ToDo = []string{"check the clock, and what stands between here and AWS: the credentials are new"}
		return c
	}
	c.Status = OK
	c.Summary = failure.Quote(aws.ToString(identity.Arn))
	return c
}

// isNotAWS reports whether this command's STS is that of another store.
func (e *examination) isNotAWS() bool {
	to, err := stsclient.Endpoint(context.Background(), e.client(e.config))
	return err == nil && !strings.Contains(to.Hostname(), ".amazonaws.") && !strings.HasSuffix(to.Hostname(), ".api.aws")
}

// hasNoOperation reports whether err is an answer that may mean that a store has
// no such operation: one of status 4xx or 501 that does not speak of credentials.
func hasNoOperation(err error) bool {
	var api smithy.APIError
	if errors.As(err, &api) {
		switch api.ErrorCode() {
		case "InvalidClientTokenId", "InvalidAccessKeyId", "ExpiredToken", "RequestExpired", "RequestTimeTooSkewed", "SignatureDoesNotMatch":
			return false
		}
	}
	var answer *smithyhttp.ResponseError
	if !errors.As(err, &answer) || answer.Response == nil {
		return false
	}
	status := answer.HTTPStatusCode()
	return status/100 == 4 || status == http.StatusNotImplemented
}
