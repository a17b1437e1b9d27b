package oidc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/vercelaws/vercelaws/internal/allowance"
	"github.com/vercelaws/vercelaws/internal/candidate"
	"github.com/vercelaws/vercelaws/internal/scrub"
)

const (
	exchangeAttempts     = 3
	exchangeAttemptLimit = 3 * time.Second
	exchangePause        = 100 * time.Millisecond // before the second attempt; doubles
	maxExchangeAnswer    = 64 << 10               // 64 KiB; a token has at most 20,000 characters

	// A client that does not return when its context has ended is waited for a
	// little, and then left standing.
	clientGrace = 100 * time.Millisecond
	maxStanding = 4
)

// exchanger makes the requests of an exchange, and bounds what they cost where
// they go wrong.
type exchanger struct {
	audience, jti, endpoint string
	client                  http.Client
	own                     *http.Transport // the client's, if it is not the user's

	refused  allowance.Allowance // of refused exchanges
	faulted  allowance.Allowance // of requests that faulted
	places   chan struct{}       // taken by requests that have not returned
	standing atomic.Int32        // those of them that did not return in time
}

func newExchanger(audience string, o ExchangeOptions) *exchanger {
	x := &exchanger{
		audience: audience, jti: o.JTI, endpoint: o.Endpoint,
		refused: allowance.Allowance{Burst: 4, Every: 500 * time.Millisecond},
		faulted: allowance.Allowance{Burst: 3, Every: 500 * time.Millisecond},
		places:  make(chan struct{}, maxStanding),
	}
	if o.HTTPClient != nil {
		x.client = *o.HTTPClient
	} else {
		x.own = newTransport()
		x.client.Transport = x.own
	}
	x.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if x.endpoint == "" {
		x.endpoint = ExchangeURL
	}
	return x
}

// newTransport returns one that is left by a connection which goes silent:
// HTTP/1.1 closes it with the request that timed out, where HTTP/2 would send
// the next request into it. It is kept for a few seconds only, because an
// instance that sleeps may find it dead.
func newTransport() *http.Transport {
	var http1 http.Protocols
	http1.SetHTTP1(true)
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: exchangeAttemptLimit}).DialContext,
		TLSHandshakeTimeout: exchangeAttemptLimit,
		IdleConnTimeout:     5 * time.Second,
		Protocols:           &http1,
	}
}

// fault is a failure that may pass, refusal one that will not.
func (x *exchanger) fault(from Token, status int, message string) *ExchangeError {
	return &ExchangeError{Audience: x.audience, Issuer: from.Issuer, Subject: from.Subject, Status: status, message: message}
}

func (x *exchanger) refusal(from Token, status int, message string) *ExchangeError {
	e := x.fault(from, status, message)
	e.Refused = true
	return e
}

// ended is a failure for want of time.
func (x *exchanger) ended(from Token, message string, cause error) *ExchangeError {
	e := x.fault(from, 0, message)
	if e.ended = cause; cause == nil {
		e.ended = context.DeadlineExceeded
	}
	return e
}

// exchange asks until it has an answer that counts. The time that it returns is
// until when the token may be kept, zero if not at all. Its error is an
// *ExchangeError.
func (x *exchanger) exchange(ctx context.Context, from Token) (Token, time.Time, error) {
	body, err := json.Marshal(struct {
		Token string `json:"token"`
		Aud   string `json:"aud"`
		JTI   string `json:"jti,omitempty"`
	}{from.Raw(), x.audience, x.jti})
	if err != nil {
		return Token{}, time.Time{}, x.refusal(from, 0, "the request cannot be written")
	}
	wasNotRefused, err := x.refused.Take(ctx)
	if err != nil {
		return Token{}, time.Time{}, x.ended(from, "too many exchanges were refused, so this one had no turn in time", err)
	}
	var failure *ExchangeError
	pause := exchangePause
	for attempt := 1; attempt <= exchangeAttempts; attempt++ {
		if attempt > 1 {
			wait(ctx, pause/2+rand.N(pause))
			pause *= 2
			if ctx.Err() != nil {
				break
			}
		}
		wentWell, err := x.faulted.Take(ctx)
		if err != nil {
			if failure == nil {
				failure = x.ended(from, "the endpoint faults, so this exchange had no turn in time", err)
			}
			break
		}
		answer := x.attempt(ctx, from, body)
		var token Token
		var until time.Time
		token, until, failure = x.read(answer, from)
		if failure == nil && time.Now().Before(token.Expiry) || failure != nil && failure.Refused || answer.unasked {
			wentWell() // a token that has expired serves hardly anyone, who will ask again
		}
		if failure == nil {
			wasNotRefused()
			return token, until, nil
		}
		if failure.Refused {
			return Token{}, time.Time{}, failure
		}
		if attempt == exchangeAttempts {
			failure.message += fmt.Sprintf(" (after %d attempts)", attempt)
		}
		if answer.final {
			break
		}
	}
	wasNotRefused()
	return Token{}, time.Time{}, failure
}

// wait waits for d, or until ctx ends.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// answer is what came of one request. If err is set, nothing did.
type answer struct {
	status  int
	body    []byte
	err     string
	late    bool // it was not there in time
	final   bool // another attempt makes no sense
	unasked bool // there was no request
}

// attempt makes one request. The client may be a user's own, so it runs apart:
// one that panics, ends its goroutine or never returns fails the attempt and
// nothing else.
func (x *exchanger) attempt(ctx context.Context, from Token, body []byte) answer {
	if x.standing.Load() >= maxStanding {
		return answer{err: fmt.Sprintf("ExchangeOptions.HTTPClient has not returned from %d requests, so it is not asked again until it does", maxStanding), final: true, unasked: true}
	}
	if !x.enter(ctx) {
		return answer{err: "the requests before it took too long", late: true, unasked: true}
	}
	ctx, cancel := context.WithTimeout(ctx, exchangeAttemptLimit)
	defer cancel()
	done := make(chan answer, 1)
	go func() {
		got := answer{err: "ExchangeOptions.HTTPClient ended its goroutine"}
		defer func() {
			if p := recover(); p != nil {
				got = answer{err: "ExchangeOptions.HTTPClient panicked: " + scrub.Quote(clean(fmt.Sprint(p), from), maxWords)}
			}
			<-x.places
			done <- got
		}()
		got = x.post(ctx, from, body)
	}()
	var got answer
	select {
	case got = <-done:
	case <-ctx.Done():
		wait := time.NewTimer(clientGrace)
		defer wait.Stop()
		select {
		case got = <-done:
		case <-wait.C:
			x.standing.Add(1)
			go func() {
				<-done
				x.standing.Add(-1)
			}()
			got = answer{err: fmt.Sprintf("ExchangeOptions.HTTPClient did not return within %s, though its context had ended", exchangeAttemptLimit), late: true, final: true}
		}
	}
	if got.late && x.own != nil {
		x.own.CloseIdleConnections() // others of the same age are no better
	}
	return got
}

// enter waits for a place, so that no more requests than may be left standing
// are under way. The allowances let hardly more be.
func (x *exchanger) enter(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, exchangeAttemptLimit)
	defer cancel()
	select {
	case x.places <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// post sends the request and reads what comes back.
func (x *exchanger) post(ctx context.Context, from Token, body []byte) answer {
	failed := func(what string, err error) answer {
		return answer{err: what + clean(err.Error(), from), late: ctx.Err() != nil}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, x.endpoint, bytes.NewReader(body))
	if err != nil {
		return failed("", err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json")
	response, err := x.client.Do(request)
	if err != nil {
		return failed("", err)
	}
	defer response.Body.Close()
	b, err := io.ReadAll(io.LimitReader(response.Body, maxExchangeAnswer+1))
	if err != nil {
		return failed("the answer broke off: ", err)
	}
	return answer{status: response.StatusCode, body: b}
}

// read takes the token out of a good answer. A token that is not what was asked
// for is not used.
func (x *exchanger) read(a answer, from Token) (Token, time.Time, *ExchangeError) {
	none := func(e *ExchangeError) (Token, time.Time, *ExchangeError) { return Token{}, time.Time{}, e }
	unusable := func(err error) (Token, time.Time, *ExchangeError) {
		return none(x.fault(from, a.status, "the answer's token cannot be used: "+err.Error()))
	}
	switch {
	case a.late:
		return none(x.ended(from, a.err, nil))
	case a.err != "":
		return none(x.fault(from, 0, a.err))
	case len(a.body) > maxExchangeAnswer:
		return none(x.fault(from, a.status, fmt.Sprintf("the answer is longer than %d bytes", maxExchangeAnswer)))
	case a.status/100 == 3:
		return none(x.refusal(from, a.status, "the endpoint answered with a redirect, which is not followed"))
	case a.status/100 == 4 && a.status != http.StatusTooManyRequests && a.status != http.StatusRequestTimeout:
		return none(x.refusal(from, a.status, fmt.Sprintf("refused with status %d: %s", a.status, reason(a.body, from))))
	case a.status != http.StatusOK:
		return none(x.fault(from, a.status, fmt.Sprintf("status %d: %s", a.status, reason(a.body, from))))
	}
	var out struct {
		Token  string    `json:"token"`
		Expiry *unixTime `json:"expiry"`
	}
	if err := json.Unmarshal(a.body, &out); err != nil {
		return none(x.fault(from, a.status, "the answer cannot be read: "+describeJSON(err).Error()))
	}
	token, err := parseToken(out.Token)
	if err != nil {
		return unusable(err)
	}
	switch {
	case !slices.Contains(token.Audience, x.audience):
		return unusable(errors.New("it is for another audience than was asked for"))
	case !token.sameIdentity(from):
		return unusable(errors.New("it is of another project or environment"))
	}
	if err := checkExpiry(candidate.Hints{AllowExpired: true}, token); err != nil { // else the caller decides
		return unusable(err)
	}
	if out.Expiry == nil {
		return token, time.Time{}, nil // Vercel says: do not cache
	}
	until := token.Expiry
	if out.Expiry.Before(until) {
		until = out.Expiry.Time
	}
	return token, until.Add(-exchangeMargin), nil
}

// reason is the error that an answer holds, or its beginning, quoted.
func reason(answer []byte, from Token) string {
	var out struct {
		Error string `json:"error"`
	}
	said := string(answer)
	if json.Unmarshal(answer, &out) == nil && out.Error != "" {
		said = out.Error
	}
	return scrub.Quote(clean(said, from), maxWords)
}

// maxWords is how much of another program's words a message shows.
const maxWords = 300

// clean makes text of a server or a program fit for an error.
func clean(s string, t Token) string { return strings.TrimSpace(scrub.Text(s, t.Raw(), maxWords)) }
