// Package oidcverify checks Vercel OIDC tokens that come in: their signature
// against the issuer's keys, and their claims. It is for servers that
// authenticate callers running on Vercel. Getting AWS credentials needs none of
// it, since STS verifies the token.
//
//	verifier := oidcverify.New("https://oidc.vercel.com/acme", "https://vercel.com/acme",
//		func(o *oidcverify.Options) {
//			o.Projects = []string{"web"}
//			o.Environments = []string{"production"}
//		})
//	http.ListenAndServe(addr, oidcverify.Middleware(verifier)(handler))
//
// # Who gets in
//
// A verifier is closed unless it is opened. Where [Options] name no project,
// only the deployment's own passes (VERCEL_PROJECT_ID); where they name no
// environment, only its own (VERCEL_TARGET_ENV, else VERCEL_ENV). Where those
// are not set either, Verify says so with [ErrNotConfigured] and lets nobody
// in.
//
// # The issuer's keys
//
// They are kept, and fetched again in the background once they are five
// minutes old. An outage of the issuer is not felt for twelve hours after the
// last fetch that went well. Keys more than an hour old, such as those of an
// instance that slept, are looked up anew first, for a second at most.
//
// A token that names a key which is not among them causes one fetch in thirty
// seconds, whoever sends how many; until the next, such a token gets
// [ErrUnavailable] and not [ErrRefused], for the key may be a new one. A bad
// signature causes none. A fetch has eight seconds, serves everyone who waits,
// and goes on when they leave.
//
// See https://vercel.com/docs/oidc/api.
package oidcverify

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/vercelaws/vercelaws/oidc"
)

// Options narrow which tokens a [Verifier] takes. Each list that is not empty
// must hold the token's claim, and an empty entry is an error.
type Options struct {
	Owners       []string // team slugs, the claim owner
	OwnerIDs     []string // team_…, the claim owner_id; these stay when a team is renamed
	Projects     []string // project names, the claim project
	ProjectIDs   []string // prj_…, the claim project_id; these stay when a project is renamed
	Environments []string // such as "production", the claim environment

	// AnyProject opens the verifier to every project of every team that the
	// issuer, the audience and the other options leave. Without it, and
	// without Projects and ProjectIDs, the token must be of the project
	// VERCEL_PROJECT_ID. Lists that are given still hold.
	AnyProject bool

	// AnyEnvironment opens the verifier to every environment: previews too,
	// which whoever may push a branch can run code in. Without it, and without
	// Environments, the token must be of the environment VERCEL_TARGET_ENV, or
	// VERCEL_ENV where that is not set. A list that is given still holds.
	AnyEnvironment bool

	// ClockTolerance is how far the local clock may be from Vercel's: a token
	// is taken so long after its exp, and before its nbf. If zero, both are
	// exact, as RFC 7519 has them.
	ClockTolerance time.Duration

	// HTTPClient fetches the issuer's discovery document and keys. If nil, one
	// with limits of its own. Redirects are not followed in any case. A client
	// that ignores its request's context holds up nobody, but four such
	// requests are all that are left standing; then the keys are not fetched
	// any more until one returns.
	HTTPClient *http.Client
}

// Verifier verifies tokens of one issuer for one audience. It is safe for
// concurrent use, and meant to be made once, since it keeps the issuer's keys.
type Verifier struct {
	issuer, audience string
	options          Options
	keys             *keySet
}

// New returns a verifier. The issuer is "https://oidc.vercel.com/<team>" for
// projects in team issuer mode and "https://oidc.vercel.com" in global mode;
// in global mode every Vercel customer has that issuer, so Owners or OwnerIDs
// must not be empty. Nothing is fetched until the first token comes.
func New(issuer, audience string, optFns ...func(*Options)) *Verifier {
	v := &Verifier{issuer: issuer, audience: audience}
	for _, fn := range optFns {
		fn(&v.options)
	}
	v.keys = newKeySet(issuer, v.options.HTTPClient)
	return v
}

// What an error of Verify matches with [errors.Is]. Each matches one of the
// three that are not ErrNotAllowed.
var (
	// ErrRefused is about the token: it is not one of the issuer's, not for
	// the audience, not live, or not allowed. (HTTP 401)
	ErrRefused = errors.New("token refused")
	// ErrNotAllowed is the part of ErrRefused that is about a good token: its
	// owner, project or environment is not among those that may pass. Such an
	// error matches both. (HTTP 403)
	ErrNotAllowed = errors.New("token not allowed")
	// ErrUnavailable says nothing of the token: it cannot be told now whether
	// it is good, since the issuer does not answer, its keys were fetched
	// moments ago and lack the one that the token names, or the caller's
	// context ended. Trying again later makes sense. (HTTP 503)
	ErrUnavailable = errors.New("cannot tell now")
	// ErrNotConfigured says that the verifier would let in too many, or
	// nobody, and what to set. No token gets another answer. (HTTP 500)
	ErrNotConfigured = errors.New("not configured")
)

const globalIssuer = "https://oidc.vercel.com"

// Verify returns the token if its signature verifies, it is live by the local
// clock, and its claims are as they should be. Errors never hold the token, and
// match [ErrRefused], [ErrUnavailable] or [ErrNotConfigured].
//
// It ends with its context, and within ten seconds in any case. Only a token
// that needs keys which are not there yet waits at all.
func (v *Verifier) Verify(ctx context.Context, raw string) (oidc.Token, error) {
	token, err := v.verify(ctx, raw)
	if err != nil {
		return oidc.Token{}, fmt.Errorf("oidcverify: %w", err)
	}
	return token, nil
}

func (v *Verifier) verify(ctx context.Context, raw string) (oidc.Token, error) {
	allowed, err := v.allowed()
	if err != nil {
		return oidc.Token{}, fmt.Errorf("%w: %w", ErrNotConfigured, err)
	}
	token, err := oidc.ParseUnverified(raw)
	if err != nil {
		return oidc.Token{}, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	// What costs nothing comes first: a token that fails here needs no keys.
	if err := v.checkClaims(token, time.Now()); err != nil {
		return oidc.Token{}, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if _, err := v.keys.VerifySignature(ctx, raw); err != nil {
		return oidc.Token{}, err
	}
	for _, a := range allowed {
		if has := a.claim(token); !slices.Contains(a.values, has) {
			return oidc.Token{}, &notAllowed{fmt.Sprintf("its %s is %s, not one of %q", a.name, quote(has), a.values)}
		}
	}
	return token, nil
}

// checkClaims judges what every token must have (RFC 7519, section 4.1). A
// gooidc.IDTokenVerifier would do so after it has verified the signature, and
// so after the issuer was asked for keys; it also allows five minutes for nbf
// in any case, and reads the token once more.
func (v *Verifier) checkClaims(token oidc.Token, now time.Time) error {
	tolerance := v.options.ClockTolerance
	switch {
	case token.Issuer != v.issuer:
		return fmt.Errorf("its issuer is %s, not %q", quote(token.Issuer), v.issuer)
	case !slices.Contains(token.Audience, v.audience):
		return fmt.Errorf("its audience is %s, not %q", quoteAll(token.Audience), v.audience)
	case !now.Before(token.Expiry.Add(tolerance)):
		return fmt.Errorf("it expired at %s", token.Expiry.UTC())
	case now.Before(token.NotBefore.Add(-tolerance)):
		return fmt.Errorf("its signature or times do not verify: it is not valid before %s", token.NotBefore.UTC())
	}
	return nil
}

// restriction is a claim and the values of it that may pass.
type restriction struct {
	name   string
	claim  func(oidc.Token) string
	values []string
}

// allowed returns what a token must be, or an error where that would be
// anything. The environment is read at each use, as @vercel/oidc does: a
// program may load it after it made its verifiers.
func (v *Verifier) allowed() ([]restriction, error) {
	o := &v.options
	switch {
	case v.audience == "":
		return nil, errors.New("New was given no audience; any token of the issuer would pass")
	case v.issuer == globalIssuer && len(o.Owners) == 0 && len(o.OwnerIDs) == 0:
		return nil, errors.New("the global issuer speaks for every Vercel team; name yours in Options.Owners or Options.OwnerIDs")
	case o.ClockTolerance < 0:
		return nil, errors.New("Options.ClockTolerance is negative")
	}
	projectIDs, environments := o.ProjectIDs, o.Environments
	if len(o.Projects) == 0 && len(projectIDs) == 0 && !o.AnyProject {
		own := os.Getenv("VERCEL_PROJECT_ID")
		if own == "" {
			return nil, errors.New("which projects may pass? VERCEL_PROJECT_ID is not set; name them in Options.Projects or Options.ProjectIDs, or open the verifier to all with Options.AnyProject")
		}
		projectIDs = []string{own}
	}
	if len(environments) == 0 && !o.AnyEnvironment {
		own := os.Getenv("VERCEL_TARGET_ENV")
		if own == "" {
			own = os.Getenv("VERCEL_ENV")
		}
		if own == "" {
			return nil, errors.New("which environments may pass? neither VERCEL_TARGET_ENV nor VERCEL_ENV is set; name them in Options.Environments, or open the verifier to all with Options.AnyEnvironment")
		}
		environments = []string{own}
	}
	all := []restriction{
		{"owner", func(t oidc.Token) string { return t.Owner }, o.Owners},
		{"owner_id", func(t oidc.Token) string { return t.OwnerID }, o.OwnerIDs},
		{"project", func(t oidc.Token) string { return t.Project }, o.Projects},
		{"project_id", func(t oidc.Token) string { return t.ProjectID }, projectIDs},
		{"environment", func(t oidc.Token) string { return t.Environment }, environments},
	}
	given := all[:0]
	for _, r := range all {
		if slices.Contains(r.values, "") { // a token without the claim would pass
			return nil, fmt.Errorf("a value that Options allow for %s is empty", r.name)
		}
		if len(r.values) > 0 {
			given = append(given, r)
		}
	}
	return given, nil
}
