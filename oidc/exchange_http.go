package oidc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/vercelaws/vercelaws/internal/guard"
	"github.com/vercelaws/vercelaws/internal/http1"
	"github.com/vercelaws/vercelaws/internal/jwtjson"
	"github.com/vercelaws/vercelaws/internal/leaf"
	"github.com/vercelaws/vercelaws/internal/pace"
	"github.com/vercelaws/vercelaws/internal/scrub"
)

const (
	exchangeAttempts  = 3
	firstAttemptLimit = 3 * time.Second        // its connection may be dead; the next has all the time that is left
	clientGrace       = 100 * time.Millisecond // for a client whose context has ended
	maxExchangeAnswer = 64 << 10               // 64 KiB; a token has at most 20,000 characters
)

// exchanger makes the requests of an exchange.
type exchanger struct {
	audience, jti, endpoint string
	client                  http.Client
	calls                   guard.Calls // of the client
	faults                  func() *pace.Pacer
}

func newExchanger(audience string, o ExchangeOptions) *exchanger {
	x := &exchanger{audience: audience, jti: o.JTI, endpoint: o.Endpoint}
	if x.endpoint == "" {
		x.endpoint = ExchangeURL
	}
	if o.HTTPClient != nil {
		x.client = *o.HTTPClient
		x.faults = func() *pace.Pacer { return pace.Of(o.HTTPClient) }
	} else {
		own, _ := http1.Shared(nil) // no bundle, so no error
		x.client.Transport = own
		x.faults = func() *pace.Pacer { return pace.Of(x.endpoint) }
	}
	x.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return x
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
	e.ended = cause
	return e
}

// exchange asks until there is an answer. The time that it returns is until when
// the token need not be exchanged anew, zero if it is not to be kept.
func (x *exchanger) exchange(ctx context.Context, from Token) (Token, time.Time, *ExchangeError) {
	body, err := json.Marshal(struct {
		Token string `json:"token"`
		Aud   string `json:"aud"`
		JTI   string `json:"jti,omitempty"`
	}{from.Raw(), x.audience, x.jti})
	if err != nil {
		return Token{}, time.Time{}, x.refusal(from, 0, "the request cannot be written")
	}
	var failure *ExchangeError
	for attempt := 1; attempt <= exchangeAttempts; attempt++ {
		faults := x.faults()
		end, err := faults.Begin(ctx)
		if err != nil {
			if failure == nil {
				failure = x.ended(from, "the endpoint does nothing but fail, so this exchange had no turn in time", err)
			}
			break
		}
		limit := exchangeLimit
		if attempt == 1 {
			limit = firstAttemptLimit
		}
		token, until, tried := x.attempt(ctx, limit, from, body)
		failure = tried
		expired := failure == nil && !time.Now().Before(token.Expiry) // which serves hardly anyone, who will ask again
		end(expired || failure != nil && !failure.Refused)
		switch {
		case expired:
			return token, until, nil
		case failure == nil:
			faults.Clear()
			return token, until, nil
		case failure.Refused || failure.Status != 0:
			return Token{}, time.Time{}, failure
		case attempt == exchangeAttempts:
			failure.message += fmt.Sprintf(" (after %d attempts)", attempt)
		case !pace.Pause(ctx, attempt):
			return Token{}, time.Time{}, failure
		}
	}
	return Token{}, time.Time{}, failure
}

// attempt makes one request. The client may be a user's own.
func (x *exchanger) attempt(ctx context.Context, limit time.Duration, from Token, body []byte) (Token, time.Time, *ExchangeError) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	a, err := guard.Do(ctx, &x.calls, "ExchangeOptions.HTTPClient", clientGrace, func(ctx context.Context) (answer, error) {
		return x.post(ctx, body)
	})
	switch {
	case err != nil && ctx.Err() != nil:
		return Token{}, time.Time{}, x.ended(from, clean(err.Error(), from), context.DeadlineExceeded)
	case err != nil:
		return Token{}, time.Time{}, x.fault(from, 0, clean(err.Error(), from))
	}
	return x.read(a, from)
}

// answer is what the endpoint says.
type answer struct {
	status int
	body   []byte
}

// post sends the request and reads what comes back.
func (x *exchanger) post(ctx context.Context, body []byte) (answer, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, x.endpoint, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json")
	response, err := x.client.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusSwitchingProtocols { // its body ends with the connection, whatever ctx says
		return answer{}, errors.New("the server switches to another protocol (status 101), which was not asked for")
	}
	b, err := io.ReadAll(io.LimitReader(response.Body, maxExchangeAnswer+1))
	if err != nil {
		return answer{}, fmt.Errorf("the answer broke off: %w", err)
	}
	return answer{response.StatusCode, b}, nil
}

// read takes the token out of a good answer. A token that is not what was asked
// for is not used.
func (x *exchanger) read(a answer, from Token) (Token, time.Time, *ExchangeError) {
	none := func(e *ExchangeError) (Token, time.Time, *ExchangeError) { return Token{}, time.Time{}, e }
	unusable := func(err error) (Token, time.Time, *ExchangeError) {
		return none(x.fault(from, a.status, "the answer's token cannot be used: "+err.Error()))
	}
	switch {
	case len(a.body) > maxExchangeAnswer:
		return none(x.fault(from, a.status, fmt.Sprintf("the answer is longer than %d bytes", maxExchangeAnswer)))
	case a.status/100 == 3:
		return none(x.refusal(from, a.status, "the endpoint answered with a redirect, which is not followed"))
	case a.status/100 == 4 && a.status != http.StatusTooManyRequests && a.status != http.StatusRequestTimeout:
		return none(x.refusal(from, a.status, fmt.Sprintf("refused with status %d: %s", a.status, reason(a.body, from))))
	case a.status != http.StatusOK:
		return none(x.fault(from, a.status, fmt.Sprintf("status %d: %s", a.status, reason(a.body, from))))
	}
	out, err := jwtjson.Object(string(a.body))
	if err != nil {
		return none(x.fault(from, a.status, "the answer cannot be read: "+err.Error()))
	}
	raw, _ := out["token"].Text()
	token, err := parseFrom(from.source+", exchanged", raw)
	if err != nil {
		return unusable(errors.Unwrap(err))
	}
	var expiry time.Time // as the endpoint says, or zero
	if said := out["expiry"]; said != "null" {
		if err := setTime(&expiry, said); err != nil {
			return none(x.fault(from, a.status, "the answer's expiry is not a time"))
		}
	}
	switch {
	case !slices.Contains(token.Audience, x.audience):
		return unusable(errors.New("it is for another audience than was asked for"))
	case !token.SameIdentity(from):
		return unusable(errors.New("it is of another project or environment"))
	}
	if err := token.CheckExpiry(time.Now().Add(-leaf.Grace)); err != nil { // else the caller decides
		return unusable(err)
	}
	if expiry.IsZero() {
		return token, time.Time{}, nil // Vercel says: do not cache
	}
	if token.Expiry.Before(expiry) {
		expiry = token.Expiry
	}
	return token, expiry.Add(-exchangeMargin), nil
}

// reason is the error that an answer holds, or its beginning, quoted.
func reason(body []byte, from Token) string {
	var out struct {
		Error string `json:"error"`
	}
	said := string(body)
	if json.Unmarshal(body, &out) == nil && out.Error != "" {
		said = out.Error
	}
	return scrub.Quote(clean(withoutLongWords(said), from), maxWords)
}

// withoutLongWords leaves out what may be a part of a token: an answer that
// should not hold one may all the same.
func withoutLongWords(s string) string {
	const long = 24 // bytes
	var b strings.Builder
	word := 0 // where it begins
	for i := 0; i <= len(s); i++ {
		switch {
		case i < len(s) && isBase64url(s[i]):
			continue
		case i-word < long:
			b.WriteString(s[word:i])
		default:
			b.WriteString("[…]")
		}
		word = i + 1
		b.WriteString(s[i:min(word, len(s))])
	}
	return b.String()
}

// maxWords is how much of another program's words a message shows.
const maxWords = 300

// clean makes text of a server or a program fit for an error.
func clean(s string, t Token) string { return strings.TrimSpace(scrub.Text(s, t.Raw(), maxWords)) }
