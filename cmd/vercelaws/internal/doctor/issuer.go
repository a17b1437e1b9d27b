package doctor

import (
	"context"
	"errors"
	"net"
	"net/url"
	"time"

	"github.com/vercelaws/vercelaws/cmd/vercelaws/internal/failure"
	"github.com/vercelaws/vercelaws/internal/scrub"
	"github.com/vercelaws/vercelaws/oidc/oidcverify"
)

// checkIssuer asks the issuer for its keys, as STS does, and verifies the
// token's signature with them.
func (e *examination) checkIssuer(ctx context.Context) Check {
	if !e.hasToken() {
		return Check{}
	}
	c := Check{Name: "issuer", Status: Failed}
	if !worthAsking(e.token.Issuer) {
		c.Summary = failure.Quote(e.token.Issuer) + " is not an https URL, so nobody asks it for keys"
		c.ToDo = []string{"check where the token comes from"}
		return c
	}
	// This check is about the signature only. Others check the token's claims and
	// its expiry.
	var audience string
	if len(e.token.Audience) > 0 {
		audience = e.token.Audience[0]
	}
	verifier, err := oidcverify.New(e.token.Issuer, audience, func(o *oidcverify.Options) {
		o.AnyProject, o.AnyEnvironment = true, true
		if e.token.Owner != "" {
			o.Owners = []string{e.token.Owner}
		}
		o.ClockTolerance = 100 * 365 * 24 * time.Hour
	})
	if err == nil {
		_, err = verifier.Verify(ctx, e.token.Raw())
	}
	switch {
	case errors.Is(err, oidcverify.ErrUnavailable):
		c.Summary = "discovery fails: " + e.clean(err)
		c.ToDo = []string{"check the network and the token's issuer: STS needs its " + failure.Quote(e.token.Issuer+"/.well-known/openid-configuration") + " as well"}
		return c
	case errors.Is(err, oidcverify.ErrNotConfigured):
		c.Summary = "the token's claims are not Vercel's: " + e.clean(err)
		c.ToDo = []string{"check where the token comes from"}
		return c
	case err != nil:
		c.Summary = "the signature does not verify: " + e.clean(err)
		c.ToDo = []string{"get the token again, unchanged: run `vercel env pull`"}
		return c
	}
	c.Status = OK
	c.Summary = "discovery and keys answer, and the token's signature verifies"
	return c
}

// worthAsking reports whether an issuer can be asked for its keys. The token
// that names it is not verified yet.
func worthAsking(issuer string) bool {
	u, err := url.Parse(issuer)
	if err != nil || u.Host == "" {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "https" || u.Scheme == "http" && ip != nil && ip.IsLoopback()
}

// clean quotes an error's message for a report. It shortens the message and
// removes the token, since the text may come from a server that was sent the token.
func (e *examination) clean(err error) string {
	return failure.Quote(scrub.Text(err.Error(), e.token.Raw(), 600))
}
