// Package oidcverify checks Vercel OIDC tokens that come in: their signature
// against the issuer's keys, and their claims. It is for servers that
// authenticate callers running on Vercel. Getting AWS credentials needs none of
// it, since STS verifies the token.
//
//	verifier, err := oidcverify.New("https://oidc.vercel.com/acme", "https://vercel.com/acme",
//		func(o *oidcverify.Options) {
//			o.Projects = []string{"web"}
//			o.Environments = []string{"production"}
//		})
//	if err != nil {
//		log.Fatal(err)
//	}
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
// They are kept, and fetched again in the background once they are five minutes
// old. A key that the issuer has withdrawn is gone after the next fetch. While the
// issuer does not answer, or answers with something that is no set of keys, those
// of the last fetch serve for twelve hours. Keys more than an hour old, such as
// those of an instance that slept, are fetched anew first, for a second at most.
// Where the keys are (the discovery document's jwks_uri) is read again each hour.
//
// A token that names a key which is not among them causes one fetch in thirty
// seconds, of the discovery document too, however many such tokens come. Until
// the next, such a token gets [ErrUnavailable] and not [ErrRefused], for the key
// may be a new one. A bad signature causes no fetch. A fetch has eight seconds,
// serves everyone who waits, and goes on when they leave. At most 4,096 callers
// wait at once; further ones get ErrUnavailable.
//
// RSA keys of 2,048 to 8,192 bits serve, if nothing in the key says that it is for
// something else than RS256 signatures (RFC 7517, sections 4.2 to 4.4). Of keys
// with one ID the first four serve. Keys are not searched for known weaknesses of
// how they were made, such as ROCA: who issues the tokens is trusted with that.
//
// See https://vercel.com/docs/oidc/api.
package oidcverify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
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
	// that ignores its request's context holds up nobody, but while four such
	// requests have not returned, the keys are not fetched.
	HTTPClient *http.Client
}

// Verifier verifies tokens of one issuer for one audience. It is safe for
// concurrent use, and meant to be made once by [New], since it keeps the issuer's
// keys.
type Verifier struct {
	issuer, audience string
	tolerance        time.Duration
	allowed          [len(restricted)][]string // for each of restricted; all pass where it is empty
	// The deployment's own project and environment take the place of the list.
	ownProject, ownEnvironment bool
	keys                       *keySet
}

// restricted are the claims that [Options] can restrict.
var restricted = [...]struct {
	name  string
	claim func(*oidc.Token) string
}{
	{"owner", func(t *oidc.Token) string { return t.Owner }},
	{"owner_id", func(t *oidc.Token) string { return t.OwnerID }},
	{"project", func(t *oidc.Token) string { return t.Project }},
	projectID:   {"project_id", func(t *oidc.Token) string { return t.ProjectID }},
	environment: {"environment", func(t *oidc.Token) string { return t.Environment }},
}

const projectID, environment = 3, 4 // where they are in restricted

// New returns a verifier. The issuer is "https://oidc.vercel.com/<team>" for
// projects in team issuer mode and "https://oidc.vercel.com" in global mode, and
// the audience "https://vercel.com/<team>" unless tokens are exchanged for another
// (https://vercel.com/docs/oidc/reference). In global mode every Vercel customer
// has that issuer, so Owners or OwnerIDs must not be empty. An http issuer is for
// tests: on the way to it, anyone could answer with keys of their own. Nothing is
// fetched until the first token comes.
//
// The error matches [ErrNotConfigured] and says what to correct: the issuer is not
// an http or https URL as issuers have them (OpenID Connect Discovery 1.0, section
// 2: no query, no fragment) or ends in "/", there is no audience, or Options would
// let anyone in, or nobody. Lists in Options are copied.
func New(issuer, audience string, optFns ...func(*Options)) (*Verifier, error) {
	var o Options
	for _, fn := range optFns {
		fn(&o)
	}
	if err := check(issuer, audience, &o); err != nil {
		return nil, fmt.Errorf("oidcverify: %w: %w", ErrNotConfigured, err)
	}
	v := &Verifier{
		issuer: issuer, audience: audience, tolerance: o.ClockTolerance, keys: newKeySet(issuer, o.HTTPClient),
		ownProject:     len(o.Projects) == 0 && len(o.ProjectIDs) == 0 && !o.AnyProject,
		ownEnvironment: len(o.Environments) == 0 && !o.AnyEnvironment,
	}
	for i, list := range o.lists() {
		v.allowed[i] = slices.Clone(list)
	}
	return v, nil
}

// lists returns the lists of values that may pass, for each of restricted.
func (o *Options) lists() [len(restricted)][]string {
	return [...][]string{o.Owners, o.OwnerIDs, o.Projects, o.ProjectIDs, o.Environments}
}

const globalIssuer = "https://oidc.vercel.com"

// check says what is wrong with the arguments of New.
func check(issuer, audience string, o *Options) error {
	const such = `give one such as "https://oidc.vercel.com/<team>"`
	u, err := url.Parse(issuer)
	switch {
	case issuer == "":
		return errors.New("New was given no issuer; " + such)
	case err != nil, u.Scheme != "https" && u.Scheme != "http", u.Host == "",
		u.Host != strings.ToLower(u.Host), u.String() != issuer, strings.ContainsAny(issuer, "?#@"):
		return fmt.Errorf("the issuer %s is not the URL of an issuer; %s", quote(issuer), such)
	case strings.HasSuffix(issuer, "/"):
		return fmt.Errorf("the issuer %s ends in a slash, which no issuer of Vercel's does; %s", quote(issuer), such)
	case audience == "":
		return errors.New(`New was given no audience; any token of the issuer would pass; give one such as "https://vercel.com/<team>"`)
	case strings.TrimSpace(audience) != audience:
		return fmt.Errorf("the audience %s has white space around it", quote(audience))
	case issuer == globalIssuer && len(o.Owners) == 0 && len(o.OwnerIDs) == 0:
		return errors.New("the global issuer speaks for every Vercel team; name yours in Options.Owners or Options.OwnerIDs")
	case o.ClockTolerance < 0:
		return errors.New("Options.ClockTolerance is negative")
	}
	for i, list := range o.lists() {
		if slices.Contains(list, "") { // a token without the claim would pass
			return fmt.Errorf("a value that Options allow for %s is empty", restricted[i].name)
		}
	}
	return nil
}

// The errors that an error of Verify matches with [errors.Is]. Each error matches
// ErrRefused, ErrUnavailable or ErrNotConfigured.
var (
	// ErrRefused is about the token: it is not one of the issuer's, not for
	// the audience, not live, or not allowed. (HTTP 401)
	ErrRefused = errors.New("token refused")
	// ErrNotAllowed is the part of ErrRefused that is about a good token: its
	// owner, project or environment is not among those that may pass. Such an
	// error matches both. (HTTP 403)
	ErrNotAllowed = errors.New("token not allowed")
	// ErrUnavailable says that the token could not be verified now: the issuer
	// does not answer, its keys were fetched moments ago and lack the one that
	// the token names, too many callers wait for the keys, or the caller's context
	// ended. Try again later. (HTTP 503)
	ErrUnavailable = errors.New("cannot tell now")
	// ErrNotConfigured says that the verifier would let in too many, or nobody,
	// and which option to set. Every token gets this error. New returns it. Verify
	// returns it if the deployment's own project or environment may pass, but the
	// environment variables do not say which that is. (HTTP 500)
	ErrNotConfigured = errors.New("not configured")
)

// Verify returns the token if its signature verifies, it has not expired by the
// local clock, and its claims may pass. Errors never contain the token, and
// match [ErrRefused], [ErrUnavailable] or [ErrNotConfigured].
//
// Verify returns when its context ends, and within ten seconds in any case. It
// waits only if it needs keys that must be fetched first.
func (v *Verifier) Verify(ctx context.Context, raw string) (oidc.Token, error) {
	token, err := v.verify(ctx, raw)
	if err != nil {
		return oidc.Token{}, fmt.Errorf("oidcverify: %w", err)
	}
	return token, nil
}

func (v *Verifier) verify(ctx context.Context, raw string) (oidc.Token, error) {
	allowed, err := v.whoPasses()
	if err != nil {
		return oidc.Token{}, fmt.Errorf("%w: %w", ErrNotConfigured, err)
	}
	token, err := oidc.ParseUnverified(raw)
	if err != nil {
		return oidc.Token{}, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	// The cheap checks come first: a token that fails them needs no keys.
	if err := v.checkClaims(&token, time.Now()); err != nil {
		return oidc.Token{}, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if err := v.keys.verify(ctx, raw); err != nil {
		return oidc.Token{}, err
	}
	for i, values := range allowed {
		if has := restricted[i].claim(&token); len(values) > 0 && !slices.Contains(values, has) {
			return oidc.Token{}, &notAllowed{fmt.Sprintf("its %s is %s, not one of %q", restricted[i].name, quote(has), values)}
		}
	}
	return token, nil
}

// checkClaims checks the claims that every token must have (RFC 7519, section 4.1).
func (v *Verifier) checkClaims(token *oidc.Token, now time.Time) error {
	switch {
	case token.Issuer != v.issuer:
		return fmt.Errorf("its issuer is %s, not %q", quote(token.Issuer), v.issuer)
	case !slices.Contains(token.Audience, v.audience):
		return fmt.Errorf("its audience is %s, not %q", quoteAll(token.Audience), v.audience)
	case !now.Before(token.Expiry.Add(v.tolerance)):
		return fmt.Errorf("it expired at %s", token.Expiry.UTC())
	case now.Before(token.NotBefore.Add(-v.tolerance)):
		return fmt.Errorf("it is not valid before %s", token.NotBefore.UTC())
	}
	return nil
}

// whoPasses returns the values that may pass, or an error if every value would. The
// environment variables are read at each use, as in @vercel/oidc: a program may
// load them after it made its verifiers.
func (v *Verifier) whoPasses() (allowed [len(restricted)][]string, err error) {
	if v == nil || v.keys == nil {
		return allowed, errors.New("the Verifier was not made by New")
	}
	allowed = v.allowed
	if v.ownProject {
		own := os.Getenv("VERCEL_PROJECT_ID")
		if own == "" {
			return allowed, errors.New("which projects may pass? VERCEL_PROJECT_ID is not set; name them in Options.Projects or Options.ProjectIDs, or open the verifier to all with Options.AnyProject")
		}
		allowed[projectID] = []string{own}
	}
	if v.ownEnvironment {
		own := cmp.Or(os.Getenv("VERCEL_TARGET_ENV"), os.Getenv("VERCEL_ENV"))
		if own == "" {
			return allowed, errors.New("which environments may pass? neither VERCEL_TARGET_ENV nor VERCEL_ENV is set; name them in Options.Environments, or open the verifier to all with Options.AnyEnvironment")
		}
		allowed[environment] = []string{own}
	}
	return allowed, nil
}
