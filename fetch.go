package vercelaws

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"

	"github.com/vercelaws/vercelaws/internal/allowance"
	"github.com/vercelaws/vercelaws/internal/candidate"
	"github.com/vercelaws/vercelaws/internal/recent"
	"github.com/vercelaws/vercelaws/internal/refusals"
	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/refresh"
)

const (
	// fetchLimit bounds what is done in the background for nobody in
	// particular. A fetch is bounded by package refresh, to the same length.
	fetchLimit = 10 * time.Second

	// tokenGrace is how long a fetch that has run out of tokens waits for a
	// request that brings one. In that time the requests that came together
	// with the first have all been seen.
	tokenGrace = 10 * time.Millisecond
)

// anyToken stands for every token where STS refuses whatever it is.
const anyToken = ""

// fetcher gets credentials of a role: token after token, until STS accepts one.
// Package refresh calls it, one call at a time, and says when. This file is
// which tokens are tried; assume.go is the STS operation.
type fetcher struct {
	roleARN string
	options Options
	invalid error // what is wrong with roleARN or options
	source  oidc.TokenSource
	client  stscreds.AssumeRoleWithWebIdentityAPIClient

	known    refusals.Memory     // tokens that STS has refused
	refusals allowance.Allowance // of operations that it refuses
	faults   allowance.Allowance // of requests to STS that end in a fault

	mu       sync.Mutex // guards what follows
	proven   oidc.Token // the token that STS accepted last
	until    time.Time  // the latest expiry of a token that it accepted
	arrivals int64      // recent.Arrivals when the last fetch began its last round
}

var (
	_ refresh.Dependent       = (*fetcher)(nil)
	_ refresh.Retrier         = (*fetcher)(nil)
	_ aws.CredentialsProvider = (*fetcher)(nil)
)

// passes are the candidates in three parts: good ones first, then those that
// STS refused in earlier fetches, whoever brought them, and last those that have
// just expired, for which STS allows (candidate.Grace). In each part the order
// is the source's.
var passes = []candidate.Hints{
	{},
	{AllowRefused: true},
	{AllowRefused: true, AllowExpired: true},
}

// Retrieve is one fetch. The token in ctx is the first choice.
//
// A fetch goes on while there is another token that might do, also one that
// comes meanwhile: whoever waits for it may have brought a good one, whatever
// the others did. What that may cost STS is bounded by the allowances.
func (f *fetcher) Retrieve(ctx context.Context) (aws.Credentials, error) {
	if f.invalid != nil {
		return aws.Credentials{}, f.invalid
	}
	f.mu.Lock()
	s := &search{fetcher: f, proven: f.proven, tried: map[string]bool{}}
	f.mu.Unlock()
	seen := recent.Arrivals()
	defer func() { // also where the source or the client panics
		f.mu.Lock()
		defer f.mu.Unlock()
		f.arrivals = seen
	}()
	for ; ; seen = recent.Arrivals() {
		for _, hints := range passes {
			if creds, ok := s.pass(ctx, hints); ok {
				return creds, nil
			}
		}
		if s.over || s.chosen || !anotherComes(ctx, seen) {
			return aws.Credentials{}, s.failure()
		}
	}
}

// search is one fetch's way through the tokens.
type search struct {
	*fetcher
	proven oidc.Token
	tried  map[string]bool // by JWT
	turn   int             // of the draws among the tokens of other requests

	refused error // what STS, or an exchange, said of the first token
	none    error // why there was no token, the first time that there was none
	chosen  bool  // the caller chose the token: there is no other
	over    bool  // no other token will do
}

// pass tries the tokens that the source has under hints. It reports false when
// there is no other, or when no other will do.
func (s *search) pass(ctx context.Context, hints candidate.Hints) (aws.Credentials, bool) {
	for !s.over {
		token, err := s.next(ctx, hints)
		if err != nil {
			s.without(ctx, err)
			return aws.Credentials{}, false
		}
		if s.tried[token.Raw()] { // a source that does not heed hints
			return aws.Credentials{}, false
		}
		s.tried[token.Raw()] = true
		s.turn++
		creds, err := s.try(ctx, token)
		if err == nil {
			return creds, true
		}
		s.refused = cmp.Or(s.refused, err)
		s.over = !anotherMayDo(err)
	}
	return aws.Credentials{}, false
}

// next asks the source, and makes sure that what it gives can be used: a user's
// own source may not look.
func (s *search) next(ctx context.Context, hints candidate.Hints) (oidc.Token, error) {
	ctx = oidc.WithProvenToken(ctx, s.proven)
	hints.Proven = candidate.Of(ctx).Proven
	hints.Tried = func(raw string) bool { return s.tried[raw] }
	hints.Refused = s.known.Has
	hints.Turn = s.turn
	token, err := s.source.Token(candidate.With(ctx, hints))
	switch {
	case err != nil:
		return oidc.Token{}, fmt.Errorf("vercelaws: no token to assume %s with: %w", s.roleARN, err)
	case token.Raw() == "":
		return oidc.Token{}, fmt.Errorf("vercelaws: Options.TokenSource returned a zero Token and no error: %w", oidc.ErrNoToken)
	}
	now := time.Now()
	if hints.AllowExpired {
		now = now.Add(-candidate.Grace)
	}
	if err := token.CheckExpiry(now); err != nil {
		return oidc.Token{}, fmt.Errorf("vercelaws: Options.TokenSource: %w", err)
	}
	return token, nil
}

// without takes note that the source has no token under some hints.
func (s *search) without(ctx context.Context, err error) {
	var exchange *oidc.ExchangeError
	if errors.As(err, &exchange) {
		s.refused = cmp.Or(s.refused, err)
	}
	s.none = cmp.Or(s.none, err)
	s.chosen = candidate.Final(err)
	s.over = ctx.Err() != nil
}

// try is what STS says of token, or has said a moment ago.
func (s *search) try(ctx context.Context, token oidc.Token) (aws.Credentials, error) {
	if err := cmp.Or(s.known.Answer(anyToken), s.known.Answer(token.Raw())); err != nil {
		return aws.Credentials{}, err
	}
	giveBack, err := s.refusals.Take(ctx)
	if err != nil {
		return aws.Credentials{}, s.assumeError(token, err)
	}
	creds, err := s.assume(ctx, token)
	switch {
	case err == nil:
		giveBack()
		s.known.Forget(token.Raw())
		s.accepted(token)
	case isRefusal(err):
		s.known.Add(token.Raw(), err)
		if !anotherMayDo(err) {
			s.known.Add(anyToken, err)
		}
	case errors.As(err, new(unusableAnswer)):
		giveBack()
		s.faults.Spend() // to the client it was a success
	default:
		giveBack() // the allowance of faults has counted it
	}
	return creds, err
}

// failure is the news for those who waited.
func (s *search) failure() error { return cmp.Or(s.refused, s.none) }

// accepted takes note of a token that STS has accepted.
func (f *fetcher) accepted(token oidc.Token) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.proven = token
	if token.Expiry.After(f.until) {
		f.until = token.Expiry
	}
}

// DependsUntil is when the tokens that STS has accepted end. A deployed function
// cannot renew one: the only fresh token is the one on the next request.
func (f *fetcher) DependsUntil() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.until
}

// RetryNow reports whether a token has come since a fetch failed for want of a
// good one.
func (f *fetcher) RetryNow(err error) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return recent.Arrivals() != f.arrivals && !isFault(err)
}

// anotherComes waits a moment for a request that brings a token that was not
// seen before.
//
// A caller who joins between the last look here and the end of the SDK's single
// flight shares its failure all the same, and so does one who joins a fetch that
// has no time left for its token. That gap cannot be closed from inside;
// TestPoisonWindow measures it.
func anotherComes(ctx context.Context, seen int64) bool {
	timer := time.NewTimer(tokenGrace)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return false
	}
	return recent.Arrivals() != seen
}

// ProviderSources lets the SDK say in its user agent how the credentials were
// obtained.
func (f *fetcher) ProviderSources() []aws.CredentialSource {
	return []aws.CredentialSource{aws.CredentialSourceSTSAssumeRoleWebID}
}
