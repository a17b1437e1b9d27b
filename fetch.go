package vercelaws

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/vercelaws/vercelaws/internal/recent"
	"github.com/vercelaws/vercelaws/oidc"
)

// maxOperations is how many STS operations one fetch may cost: one for the
// token at hand, and one for another if STS refuses the first as a token.
const maxOperations = 2

// fetched is the outcome of a fetch.
type fetched struct {
	creds      aws.Credentials
	token      oidc.Token    // the one STS accepted
	operations int           // how many times STS was asked
	took       time.Duration // from the first source asked to the outcome
}

// fetch gets new credentials. Where STS refuses a token as a token, one other
// candidate of the source is tried. A token refused within the last remember
// is passed over without asking STS again.
//
// This calls STS itself and not through stscreds.WebIdentityRoleProvider, which
// asks three times with a token that was refused as invalid, and hides the
// response's date.
func (p *provider) fetch(ctx context.Context, proven oidc.Token, remember time.Duration) (got fetched, err error) {
	start := time.Now()
	defer func() {
		got.took = time.Since(start)
		if got.operations > 0 && isTokenRefusal(err) {
			p.refusals.count(wall())
		}
	}()

	if err := p.refusals.pausing(wall()); err != nil {
		return got, err
	}
	client, err := p.client.sts(ctx)
	if err != nil {
		return got, err
	}
	ctx = oidc.WithProvenToken(ctx, proven)
	seen := map[string]bool{}
	var first error // the fault of the token that was the first choice
	for got.operations < maxOperations {
		token, err := p.token(ctx)
		if err != nil {
			return got, orElse(first, err)
		}
		if seen[token.Raw()] { // the source knows no other
			return got, first
		}
		seen[token.Raw()] = true
		err = p.refusals.of(token, wall().Add(-remember))
		if err == nil {
			if got.operations == 0 {
				if err := p.refusals.turn(ctx); err != nil {
					return got, orElse(first, p.failure(token, err))
				}
			}
			got.operations++
			got.creds, err = p.assume(ctx, client, token)
			if err == nil {
				got.token = token
				return got, nil
			}
			if !isTokenRefusal(err) {
				return got, err
			}
			recent.Demote(token.Raw())
		}
		first = orElse(first, err)
		ctx = oidc.WithoutToken(ctx, token)
	}
	return got, first
}

func orElse(first, second error) error {
	if first != nil {
		return first
	}
	return second
}

// token asks the source, and makes sure that it lives: a user's own source may
// not look.
func (p *provider) token(ctx context.Context) (oidc.Token, error) {
	token, err := p.source.Token(ctx)
	if err != nil {
		return oidc.Token{}, fmt.Errorf("vercelaws: no token to assume %s with: %w", p.roleARN, err)
	}
	if token.Raw() == "" {
		return oidc.Token{}, fmt.Errorf("vercelaws: Options.TokenSource returned a zero Token and no error: %w", oidc.ErrNoToken)
	}
	if err := token.CheckExpiry(time.Now()); err != nil {
		return oidc.Token{}, fmt.Errorf("vercelaws: Options.TokenSource: %w", err)
	}
	return token, nil
}

// assume is one STS operation.
func (p *provider) assume(ctx context.Context, client client, token oidc.Token) (aws.Credentials, error) {
	in := &sts.AssumeRoleWithWebIdentityInput{
		RoleArn:          aws.String(p.roleARN),
		RoleSessionName:  aws.String(p.options.RoleSessionName),
		WebIdentityToken: aws.String(token.Raw()),
		Policy:           p.options.Policy,
		PolicyArns:       p.options.PolicyARNs,
	}
	if p.options.RoleSessionName == "" {
		in.RoleSessionName = aws.String(sessionNameFor(token))
	}
	if p.options.Duration != 0 {
		in.DurationSeconds = aws.Int32(int32(p.options.Duration / time.Second))
	}
	out, err := client.AssumeRoleWithWebIdentity(ctx, in, bounded)
	if err != nil {
		failure := p.failure(token, err)
		p.refusals.add(token, failure, wall())
		return aws.Credentials{}, failure
	}
	creds, err := credentialsOf(out, wall())
	if err != nil {
		failure := p.failure(token, err)
		if errors.Is(err, errExpiredOnArrival) {
			p.refusals.pause(failure, wall()) // every token would meet the same clock
		}
		return aws.Credentials{}, failure
	}
	return creds, nil
}

// credentialsOf takes the credentials out of STS's answer.
func credentialsOf(out *sts.AssumeRoleWithWebIdentityOutput, now time.Time) (aws.Credentials, error) {
	if out == nil || out.Credentials == nil {
		return aws.Credentials{}, errors.New("the answer holds no credentials")
	}
	creds := aws.Credentials{
		AccessKeyID:     aws.ToString(out.Credentials.AccessKeyId),
		SecretAccessKey: aws.ToString(out.Credentials.SecretAccessKey),
		SessionToken:    aws.ToString(out.Credentials.SessionToken),
		Expires:         aws.ToTime(out.Credentials.Expiration),
		CanExpire:       true,
		Source:          ProviderName,
	}
	switch {
	case !creds.HasKeys() || creds.SessionToken == "":
		return aws.Credentials{}, errors.New("the answer holds credentials with an empty key or session token")
	case creds.Expires.IsZero():
		return aws.Credentials{}, errors.New("the answer holds credentials without an expiry")
	case !now.Before(creds.Expires):
		return aws.Credentials{}, expiredOnArrival(creds.Expires, now, out)
	}
	if out.AssumedRoleUser != nil {
		// arn:partition:sts::account:assumed-role/name/session
		if parts := strings.SplitN(aws.ToString(out.AssumedRoleUser.Arn), ":", 6); len(parts) == 6 {
			creds.AccountID = parts[4]
		}
	}
	return creds, nil
}

var errExpiredOnArrival = errors.New("the credentials expired on arrival")

// expiredOnArrival says what is wrong when new credentials are already dead:
// nearly always the local clock.
func expiredOnArrival(expires, now time.Time, out *sts.AssumeRoleWithWebIdentityOutput) error {
	err := fmt.Errorf("%w: they end at %s and the local clock says %s", errExpiredOnArrival,
		expires.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	date, ok := awsmiddleware.GetServerTime(out.ResultMetadata)
	if !ok || date.IsZero() {
		return err
	}
	switch ahead := now.Sub(date).Round(time.Second); {
	case ahead > 0:
		return fmt.Errorf("%w, which is %s ahead of STS's; set the local clock right", err, ahead)
	case ahead < 0:
		return fmt.Errorf("%w, which is %s behind STS's", err, -ahead)
	default:
		return fmt.Errorf("%w, as does that of STS", err)
	}
}
