package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/cmd/vercelaws/internal/setup"
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
		o.Client = sts.NewFromConfig(e.config)
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
	if !errors.As(err, &e.refusal) {
		message := strings.TrimPrefix(e.clean(err), "failed to refresh cached credentials, ")
		c.Summary = strings.TrimPrefix(message, "vercelaws: ")
		return c
	}
	c.Summary = "STS refuses: " + e.refusalWords()
	c.ToDo = e.advice()
	return c
}

// refusalWords is what STS said, without what the library adds for a log.
func (e *examination) refusalWords() string {
	var api smithy.APIError
	if errors.As(e.refusal, &api) {
		return e.clean(fmt.Errorf("%s: %s", api.ErrorCode(), api.ErrorMessage()))
	}
	return e.clean(e.refusal)
}

// advice says what to do about the refusal, as far as it can be told without
// the role's trust policy.
func (e *examination) advice() []string {
	words := e.refusalWords()
	switch {
	case e.refusal.Code == "AccessDenied" && e.TrustPolicy != nil:
		return nil // the next check says it
	case e.refusal.Code == "AccessDenied":
		return e.neededPolicy()
	case strings.Contains(words, "No OpenIDConnect provider found"):
		return []string{fmt.Sprintf("create the provider: aws iam create-open-id-connect-provider --url %s --client-id-list %s",
			e.refusal.Issuer, strings.Join(e.refusal.Audience, " "))}
	case strings.Contains(words, "token audience"):
		return []string{fmt.Sprintf("give the provider the token's audience: aws iam add-client-id-to-open-id-connect-provider --open-id-connect-provider-arn %s --client-id %s",
			e.providerARN(e.refusal.Issuer, nil), strings.Join(e.refusal.Audience, " "))}
	}
	full := e.refusal.Error() // it ends in one sentence of advice
	if i := strings.LastIndex(full, "): "); i >= 0 {
		full = full[i+3:]
	}
	return []string{full}
}

// neededPolicy is the trust policy that would admit the token.
func (e *examination) neededPolicy() []string {
	todo := []string{"see that the role exists: aws iam get-role --role-name " + roleName(e.RoleARN)}
	spec, ok := setup.SpecOf(e.refusal.Issuer, e.refusal.Subject, e.refusal.Audience)
	spec.Partition, spec.AccountID = account(e.RoleARN)
	if ok {
		if policy, err := trustpolicy.Build(spec); err == nil {
			todo = append(todo, "give the role this trust policy, or find the difference with --trust-policy FILE:\n"+policy.String())
			return todo
		}
	}
	return append(todo, "find what its trust policy lacks with --trust-policy FILE")
}

// checkIdentity uses the credentials.
func (e *examination) checkIdentity(ctx context.Context) Check {
	if e.provider == nil {
		return Check{}
	}
	c := Check{Name: "identity", Status: Failed}
	cfg := e.config.Copy()
	cfg.Credentials = e.provider
	identity, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		c.Summary = "GetCallerIdentity fails: " + e.clean(err)
		c.ToDo = []string{"check the clock, and what stands between here and AWS: the credentials are new"}
		return c
	}
	c.Status = OK
	c.Summary = *identity.Arn
	return c
}
