// Package demo shows on one machine how a deployment's token becomes AWS
// credentials, and what a refused token looks like.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/cmd/vercelaws/internal/terminal"
	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/oidc/oidctest"
	"github.com/vercelaws/vercelaws/ststest"
	"github.com/vercelaws/vercelaws/trustpolicy"
)

const (
	roleARN     = "arn:aws:iam::" + ststest.Account + ":role/web"
	callerARN   = "arn:aws:sts::" + ststest.Account + ":assumed-role/web/vercel-web-production"
	assumeRole  = "AssumeRoleWithWebIdentity"
	whoAmI      = "GetCallerIdentity"
	shortestRun = 14 * time.Minute // before the first refresh of credentials of an hour, which is drawn from the 15th minute on
)

// story is a demo under way.
type story struct {
	out    io.Writer
	issuer *oidctest.Server // Vercel
	aws    *ststest.Server
	step   int
}

// Run tells the story to out. It returns an error if a step did not do what
// it says, or if out cannot be written.
func Run(ctx context.Context, out io.Writer) error {
	issuer := oidctest.NewServer()
	defer issuer.Close()
	server := ststest.NewServer(func(o *ststest.Options) { o.HTTPClient = issuer.Client() })
	defer server.Close()
	s := &story{out: out, issuer: issuer, aws: server}

	policy, err := s.configure()
	if err != nil {
		return err
	}
	production := deploy(server)
	defer production.server.Close()
	preview := deploy(server)
	defer preview.server.Close()

	for _, step := range []func() error{
		func() error { return s.introduce(policy) },
		func() error { return s.first(ctx, production) },
		func() error { return s.second(ctx, production) },
		func() error { return s.refused(ctx, preview) },
	} {
		if err := step(); err != nil {
			return fmt.Errorf("demo, step %d: %w", s.step, err)
		}
	}
	return nil
}

// configure sets up the AWS account: a role for production alone.
func (s *story) configure() (*trustpolicy.Document, error) {
	policy, err := trustpolicy.Build(trustpolicy.Spec{
		AccountID:    ststest.Account,
		Teams:        []string{"acme"},
		Projects:     []string{"web"},
		Environments: []string{"production"},
		BaseIssuer:   s.issuer.URL,
	})
	if err != nil {
		return nil, err
	}
	s.aws.AddProvider(s.issuer.Issuer(), s.issuer.Audience())
	s.aws.AddRole(ststest.Role{ARN: roleARN, TrustPolicy: policy.String()})
	return policy, nil
}

func (s *story) introduce(policy *trustpolicy.Document) error {
	return s.tell("An OIDC issuer stands in for Vercel, and an STS for AWS.", fmt.Sprintf(
		`Both run on this machine, and nothing leaves it:

  Vercel  %s
  AWS     %s

The AWS account has a role, %s.
Its trust policy admits one project's production deployments:

%s`, s.issuer.URL, s.aws.URL, roleARN, indent(policy.String())))
}

// first is the request that needs credentials.
func (s *story) first(ctx context.Context, d *deployment) error {
	raw := s.issuer.Mint()
	token, err := oidc.ParseUnverified(raw)
	if err != nil {
		return err
	}
	if err := s.tell("A request arrives, with the deployment's token in "+oidc.Header+".", fmt.Sprintf(
		`  issuer       %s
  subject      %s
  audience     %s
  environment  %s
  expires in   %s`, token.Issuer, token.Subject, strings.Join(token.Audience, ", "), token.Environment, rounded(time.Until(token.Expiry)))); err != nil {
		return err
	}

	status, a, err := d.request(ctx, raw)
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return fmt.Errorf("the handler answered %d: %w", status, <-d.log)
	}
	creds, err := d.provider.Retrieve(ctx)
	if err != nil {
		return err
	}
	session, ok := s.aws.Session(creds.AccessKeyID)
	serve := time.Until(creds.Expires)
	switch {
	case !ok:
		return errors.New("STS does not know the credentials")
	case session.Subject != token.Subject || session.RoleARN != roleARN:
		return fmt.Errorf("STS gave credentials of %s to %s", session.RoleARN, session.Subject)
	case s.aws.Calls(assumeRole) != 1:
		return fmt.Errorf("STS had %d calls of %s, not 1", s.aws.Calls(assumeRole), assumeRole)
	case serve < shortestRun || !creds.Expires.Before(session.Expires):
		return fmt.Errorf("the credentials would be refreshed in %s", serve)
	}
	if err := s.tell("The handler uses an AWS client, so the provider asks STS for credentials.", fmt.Sprintf(
		`  operation    %s, not signed: no key is stored anywhere
  role         %s
  session      %s
  lifetime     %s; a refresh in the background is due after %s`,
		assumeRole, session.RoleARN, session.Name, rounded(time.Until(session.Expires)), rounded(serve))); err != nil {
		return err
	}
	if a.ARN != callerARN || a.Account != ststest.Account || s.aws.Calls(whoAmI) != 1 {
		return fmt.Errorf("the caller is %s", a.ARN)
	}
	return s.tell("The client signs its request, and AWS answers who is calling.", fmt.Sprintf(
		`  operation    %s, signature checked
  account      %s
  caller       %s`, whoAmI, a.Account, a.ARN))
}

// second is a request that finds credentials in the cache.
func (s *story) second(ctx context.Context, d *deployment) error {
	start := time.Now()
	status, a, err := d.request(ctx, s.issuer.Mint())
	took := time.Since(start)
	switch assumed, asked := s.aws.Calls(assumeRole), s.aws.Calls(whoAmI); {
	case err != nil:
		return err
	case status != http.StatusOK:
		return fmt.Errorf("the handler answered %d: %w", status, <-d.log)
	case a.ARN != callerARN:
		return fmt.Errorf("the caller is %s", a.ARN)
	case assumed != 1 || asked != 2:
		return fmt.Errorf("STS had %d calls of %s and %d of %s, not 1 and 2", assumed, assumeRole, asked, whoAmI)
	default:
		return s.tell("A second request uses the same credentials.", fmt.Sprintf(
			`  caller       %s
  calls        %s: %d, as before; %s: %d
  took         %s in all`, a.ARN, assumeRole, assumed, whoAmI, asked, took.Round(10*time.Microsecond)))
	}
}

// refused is a token that the trust policy does not admit.
func (s *story) refused(ctx context.Context, d *deployment) error {
	status, _, err := d.request(ctx, s.issuer.Mint(func(c *oidctest.Claims) { c.Environment = "preview" }))
	if err != nil {
		return err
	}
	if status != http.StatusBadGateway {
		return fmt.Errorf("the preview deployment's handler answered %d", status)
	}
	var refusal *vercelaws.AssumeRoleError
	switch logged := <-d.log; {
	case !errors.As(logged, &refusal):
		return fmt.Errorf("not an AssumeRoleError: %w", logged)
	case refusal.Code != "AccessDenied":
		return fmt.Errorf("STS said %s", refusal.Code)
	}
	result, ok := s.aws.LastRefusal()
	changes := result.Changes()
	if !ok || result.Allowed() || len(changes) != 1 || !strings.Contains(changes[0], refusal.Subject) {
		return fmt.Errorf("the trust policy's explanation is %q", result)
	}
	if err := s.tell("A preview deployment tries the same role, and STS refuses its token.", fmt.Sprintf(
		`The handler logs an AssumeRoleError:

%s

The trust policy, evaluated for this token as IAM does:

%s`, "  "+terminal.Wrap(refusal.Error(), 80, 2), indent(strings.TrimSpace(result.String())))); err != nil {
		return err
	}
	_, err = fmt.Fprint(s.out, "\nEach step was checked. For your own project:\n\n"+
		"  vercelaws trust-policy --help   writes the AWS side\n"+
		"  vercelaws doctor --help         says why a token is refused\n")
	return err
}

// tell writes one numbered step.
func (s *story) tell(title, text string) error {
	separator := ""
	if s.step++; s.step > 1 {
		separator = "\n"
	}
	_, err := fmt.Fprintf(s.out, "%s%d. %s\n\n%s\n", separator, s.step, title, text)
	return err
}
