// Package oidcverify checks Vercel OIDC tokens that come in: their signature
// against the issuer's keys, and their claims. It is for servers that
// authenticate callers running on Vercel. Getting AWS credentials needs none of
// it, since STS verifies the token.
//
//	verifier := oidcverify.New("https://oidc.vercel.com/acme", "https://vercel.com/acme",
//		func(o *oidcverify.Options) { o.Projects = []string{"web"} })
//	token, err := verifier.Verify(ctx, raw)
//
// See https://vercel.com/docs/oidc/api.
package oidcverify

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	gooidc "github.com/coreos/go-oidc/v3/oidc"

	"github.com/vercelaws/vercelaws/oidc"
)

// Options narrow which tokens a [Verifier] takes. Each list that is not empty
// must hold the token's claim. Without any, every deployment of the issuer's
// teams passes that asks for the audience.
type Options struct {
	Owners       []string // team slugs, the claim owner
	Projects     []string // project names, the claim project
	ProjectIDs   []string // prj_…, the claim project_id; these stay when a project is renamed
	Environments []string // such as "production", the claim environment

	// HTTPClient fetches the issuer's discovery document and keys. If nil,
	// http.DefaultClient.
	HTTPClient *http.Client
}

// Verifier verifies tokens of one issuer for one audience. It is safe for
// concurrent use, and meant to be made once: it keeps the issuer's keys, and
// fetches them again when a token names a key that it does not know.
type Verifier struct {
	issuer, audience string
	options          Options

	mu       sync.Mutex
	verifier *gooidc.IDTokenVerifier // nil until the discovery document was read
}

// New returns a verifier. The issuer is "https://oidc.vercel.com/<team>" for
// projects in team issuer mode and "https://oidc.vercel.com" in global mode;
// in global mode every Vercel customer has that issuer, so Owners must not be
// empty. Nothing is fetched until the first token comes.
func New(issuer, audience string, optFns ...func(*Options)) *Verifier {
	v := &Verifier{issuer: issuer, audience: audience}
	for _, fn := range optFns {
		fn(&v.options)
	}
	return v
}

// ErrRefused matches errors about the token, in contrast to those about
// reaching the issuer.
var ErrRefused = errors.New("token refused")

// Verify returns the token if its signature verifies, it is live by the local
// clock, and its claims are as they should be. Errors never hold the token.
func (v *Verifier) Verify(ctx context.Context, raw string) (oidc.Token, error) {
	refuse := func(format string, args ...any) (oidc.Token, error) {
		return oidc.Token{}, fmt.Errorf("oidcverify: %w: "+format, append([]any{ErrRefused}, args...)...)
	}
	if v.audience == "" {
		return oidc.Token{}, errors.New("oidcverify: New was given no audience; any token of the issuer would pass")
	}
	if v.issuer == globalIssuer && len(v.options.Owners) == 0 {
		return oidc.Token{}, errors.New("oidcverify: the global issuer speaks for every Vercel team; name yours in Options.Owners")
	}
	token, err := oidc.Parse(raw)
	if err != nil {
		return refuse("%w", err)
	}
	if token.Issuer != v.issuer {
		return refuse("its issuer is %q, not %q", token.Issuer, v.issuer)
	}
	if !slices.Contains(token.Audience, v.audience) {
		return refuse("its audience is %q, not %q", token.Audience, v.audience)
	}
	verifier, err := v.discover(ctx)
	if err != nil {
		return oidc.Token{}, err
	}
	if _, err := verifier.Verify(v.withClient(ctx), raw); err != nil {
		var expired *gooidc.TokenExpiredError
		if errors.As(err, &expired) {
			return refuse("it expired at %s", expired.Expiry.UTC())
		}
		if strings.Contains(err.Error(), "fetching keys") { // go-oidc has no type for it
			return oidc.Token{}, errors.New("oidcverify: cannot reach the issuer for its keys")
		}
		return refuse("its signature or times do not verify") // go-oidc's own words can hold parts of the token
	}
	for _, c := range []struct {
		name, has string
		allowed   []string
	}{
		{"owner", token.Owner, v.options.Owners},
		{"project", token.Project, v.options.Projects},
		{"project_id", token.ProjectID, v.options.ProjectIDs},
		{"environment", token.Environment, v.options.Environments},
	} {
		if len(c.allowed) > 0 && !slices.Contains(c.allowed, c.has) {
			return refuse("its %s is %q, not one of %q", c.name, c.has, c.allowed)
		}
	}
	return token, nil
}

const globalIssuer = "https://oidc.vercel.com"

func (v *Verifier) withClient(ctx context.Context) context.Context {
	if v.options.HTTPClient == nil {
		return ctx
	}
	return gooidc.ClientContext(ctx, v.options.HTTPClient)
}

// discover reads the discovery document once. A failure is not remembered.
func (v *Verifier) discover(ctx context.Context) (*gooidc.IDTokenVerifier, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.verifier != nil {
		return v.verifier, nil
	}
	// The provider keeps the context's client for its keys, not its deadline.
	provider, err := gooidc.NewProvider(v.withClient(ctx), v.issuer)
	if err != nil {
		return nil, fmt.Errorf("oidcverify: cannot reach the issuer: %w", err)
	}
	v.verifier = provider.Verifier(&gooidc.Config{ClientID: v.audience, SupportedSigningAlgs: []string{gooidc.RS256}})
	return v.verifier, nil
}
