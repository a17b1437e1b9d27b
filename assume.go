package vercelaws

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/vercelaws/vercelaws/internal/allowance"
	"github.com/vercelaws/vercelaws/internal/stsclient"
	"github.com/vercelaws/vercelaws/oidc"
)

// assume is one STS operation, through a web-identity role provider of
// stscreds. That one takes its token without a context, so one is made for each
// operation.
func (f *fetcher) assume(ctx context.Context, token oidc.Token) (aws.Credentials, error) {
	call := &stsCall{client: f.client, faults: &f.faults}
	name := f.options.RoleSessionName
	if name == "" {
		name = sessionNameFor(token)
	}
	provider := stscreds.NewWebIdentityRoleProvider(call, f.roleARN, identityToken(token.Raw()), func(o *stscreds.WebIdentityRoleOptions) {
		o.RoleSessionName = name
		o.Duration = f.options.Duration
		o.Policy = f.options.Policy
		o.PolicyARNs = f.options.PolicyARNs
	})
	creds, err := provider.Retrieve(ctx)
	switch {
	case call.err != nil:
		err = call.err // without the words of stscreds around it
	case err == nil:
		creds, err = call.date(creds)
	}
	if err != nil {
		return aws.Credentials{}, f.assumeError(token, err)
	}
	creds.Source = ProviderName
	return creds, nil
}

// identityToken is a JWT as stscreds asks for it.
type identityToken string

// GetIdentityToken implements [stscreds.IdentityTokenRetriever].
func (t identityToken) GetIdentityToken() ([]byte, error) { return []byte(t), nil }

// stsCall stands between stscreds and STS for one operation. It sets limits,
// makes sure that the answer is whole, and keeps its date, which stscreds drops.
type stsCall struct {
	client stscreds.AssumeRoleWithWebIdentityAPIClient
	faults *allowance.Allowance

	err      error     // why there is no answer that can be used
	answered time.Time // STS's clock, or zero
	received time.Time // the local one
}

// unusableAnswer is what STS, or who speaks for it, calls a success and is none.
type unusableAnswer struct{ error }

// Unwrap returns what is wrong with it.
func (e unusableAnswer) Unwrap() error { return e.error }

// AssumeRoleWithWebIdentity implements
// [stscreds.AssumeRoleWithWebIdentityAPIClient]. The options of stscreds are
// left out: they would have a token that STS refuses as invalid tried twice
// more.
func (c *stsCall) AssumeRoleWithWebIdentity(ctx context.Context, in *sts.AssumeRoleWithWebIdentityInput, _ ...func(*sts.Options)) (*sts.AssumeRoleWithWebIdentityOutput, error) {
	out, err := c.ask(ctx, in)
	if err == nil {
		err = c.look(out)
	}
	c.err = err
	return out, err
}

// look makes sure that the answer is whole.
func (c *stsCall) look(out *sts.AssumeRoleWithWebIdentityOutput) error {
	c.received = time.Now()
	problem := ""
	switch {
	case out == nil:
		problem = "the STS client returned no answer and no error"
	case out.Credentials == nil:
		problem = "the answer holds no credentials"
	case aws.ToString(out.Credentials.AccessKeyId) == "", aws.ToString(out.Credentials.SecretAccessKey) == "", aws.ToString(out.Credentials.SessionToken) == "":
		problem = "the answer holds credentials with an empty key or session token"
	case aws.ToTime(out.Credentials.Expiration).IsZero():
		problem = "the answer holds credentials without an expiry"
	default:
		c.answered, _ = awsmiddleware.GetServerTime(out.ResultMetadata)
		return nil
	}
	return unusableAnswer{errors.New(problem)}
}

// ask makes the operation. The SDK's client takes the allowance of faults for
// each HTTP request, also from inside a client that wraps it; for any other an
// operation is one request.
func (c *stsCall) ask(ctx context.Context, in *sts.AssumeRoleWithWebIdentityInput) (*sts.AssumeRoleWithWebIdentityOutput, error) {
	giveBack, err := c.faults.Take(ctx)
	if err != nil {
		return nil, err
	}
	// Once a request is made, the requests are counted.
	out, err := c.client.AssumeRoleWithWebIdentity(ctx, in, stsclient.Limits(c.faults, giveBack))
	if !stsclient.IsFault(err) {
		giveBack()
	}
	return out, err
}

var errExpiredOnArrival = errors.New("the credentials expired on arrival")

// date looks at the clocks. Where the local one is behind STS's, the credentials
// end sooner by it than they say, and so they are given back. Those that are
// dead as they come are an error, which is nearly always the local clock's.
func (c *stsCall) date(creds aws.Credentials) (aws.Credentials, error) {
	ahead := time.Duration(0)
	if !c.answered.IsZero() {
		ahead = c.received.Sub(c.answered)
	}
	said := creds.Expires
	creds.Expires = said.Add(min(ahead, 0))
	if c.received.Before(creds.Expires) {
		return creds, nil
	}
	err := fmt.Errorf("%w: they end at %s and the local clock says %s", errExpiredOnArrival,
		said.UTC().Format(time.RFC3339), c.received.UTC().Format(time.RFC3339))
	switch ahead := ahead.Round(time.Second); {
	case c.answered.IsZero():
	case ahead > 0:
		err = fmt.Errorf("%w, which is %s ahead of STS's; set the local clock right", err, ahead)
	case ahead < 0:
		err = fmt.Errorf("%w, which is %s behind STS's", err, -ahead)
	default:
		err = fmt.Errorf("%w, as does that of STS", err)
	}
	return aws.Credentials{}, unusableAnswer{err}
}
