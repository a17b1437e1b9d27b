package oidc

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
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
	firstAttemptLimit = 3 * time.Second        // its connection may be dead; later attempts have all the time that is left
	clientGrace       = 100 * time.Millisecond // how long a client may take to return after its context has ended
	maxExchangeAnswer = 64 << 10               // 64 KiB; a token has at most 20,000 characters
)

// exchanger makes the requests of an exchange.
type exchanger struct {
	audience, jti, endpoint string
	client                  http.Client
	calls                   guard.Calls // of client
	paced                   any         // what shares faults: the caller's client, or the endpoint
}

func newExchanger(audience string, o ExchangeOptions) *exchanger {
	x := &exchanger{audience: audience, jti: o.JTI, endpoint: cmp.Or(o.Endpoint, ExchangeURL)}
	if o.HTTPClient != nil {
		x.client = *o.HTTPClient
		x.paced = o.HTTPClient
	} else {
		own, _ := http1.Shared(nil) // no bundle, so no error
		x.client.Transport = own
		x.paced = x.endpoint
	}
	x.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return x
}

// fault returns the error for a failure that may pass by itself.
func (x *exchanger) fault(from Token, status int, message string) *ExchangeError {
	return &ExchangeError{Audience: x.audience, Issuer: from.Issuer, Subject: from.Subject, Status: status, message: message}
}

// refusal returns the error for a failure that will come again.
func (x *exchanger) refusal(from Token, status int, message string) *ExchangeError {
	e := x.fault(from, status, message)
	e.Refused = true
	return e
}

// ended returns the error for an exchange whose context ended for cause.
func (x *exchanger) ended(from Token, message string, cause error) *ExchangeError {
	e := x.fault(from, 0, message)
	e.ended = cause
	return e
}

// exchange makes attempts until the endpoint answers.
func (x *exchanger) exchange(ctx context.Context, from Token) (exchanged, *ExchangeError) {
	body, _ := json.Marshal(struct { // strings alone, so no error
		Token string `json:"token"`
		Aud   string `json:"aud"`
		JTI   string `json:"jti,omitempty"`
	}{from.Raw(), x.audience, x.jti})
	var failure *ExchangeError
	limit := firstAttemptLimit
	for attempt := 1; ; attempt++ {
		faults := pace.Of(x.paced)
		end, err := faults.Begin(ctx, attempt-1)
		if err != nil {
			if failure == nil {
				failure = x.ended(from, "the endpoint keeps failing, so no request was made in time", err)
			}
			return exchanged{}, failure
		}
		var got exchanged
		got, failure = x.attempt(ctx, limit, from, body)
		expired := failure == nil && !time.Now().Before(got.token.Expiry)
		end(expired || failure != nil && !failure.Refused) // an expired token counts as a failure: its caller will soon ask again
		switch {
		case failure == nil:
			if !expired {
				faults.Clear()
			}
			return got, nil
		case failure.Refused || failure.Status != 0:
			return exchanged{}, failure
		case attempt == exchangeAttempts:
			failure.message += fmt.Sprintf(" (after %d attempts)", attempt)
			return exchanged{}, failure
		case !pace.Pause(ctx, attempt):
			return exchanged{}, failure
		}
		limit = exchangeLimit
	}
}

// attempt makes one request.
func (x *exchanger) attempt(ctx context.Context, limit time.Duration, from Token, body []byte) (exchanged, *ExchangeError) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	a, err := guard.Do(ctx, &x.calls, "ExchangeOptions.HTTPClient", clientGrace, func(ctx context.Context) (answer, error) {
		return x.post(ctx, body)
	})
	if err == nil {
		return x.read(a, from)
	}
	message := clean(http1.WithoutText(err).Error(), from)
	if ctx.Err() != nil {
		return exchanged{}, x.ended(from, message, context.DeadlineExceeded)
	}
	return exchanged{}, x.fault(from, 0, message)
}

// answer is the endpoint's answer.
type answer struct {
	status int
	body   []byte
}

// post sends the request and reads the answer.
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

// read reads the token in an answer, and makes sure that it is the one that was
// asked for.
func (x *exchanger) read(a answer, from Token) (exchanged, *ExchangeError) {
	fault := func(message string) (exchanged, *ExchangeError) { return exchanged{}, x.fault(from, a.status, message) }
	unusable := func(err error) (exchanged, *ExchangeError) {
		return fault("the answer's token cannot be used: " + err.Error())
	}
	switch {
	case len(a.body) > maxExchangeAnswer:
		return fault(fmt.Sprintf("the answer is longer than %d bytes", maxExchangeAnswer))
	case a.status/100 == 3:
		return exchanged{}, x.refusal(from, a.status, "the endpoint answered with a redirect, which is not followed")
	case a.status/100 == 4 && a.status != http.StatusTooManyRequests && a.status != http.StatusRequestTimeout:
		return exchanged{}, x.refusal(from, a.status, fmt.Sprintf("refused with status %d: %s", a.status, reason(a.body, from)))
	case a.status != http.StatusOK:
		return fault(fmt.Sprintf("status %d: %s", a.status, reason(a.body, from)))
	}
	out, err := jwtjson.Object(string(a.body))
	if err != nil {
		return fault("the answer cannot be read: " + err.Error())
	}
	raw, _ := out["token"].Text()
	token, err := parseFrom(from.source+", exchanged", raw)
	if err != nil {
		return unusable(errors.Unwrap(err))
	}
	var expiry time.Time // as the answer says, or zero
	if said := out["expiry"]; said != "null" {
		if err := setTime(&expiry, said); err != nil {
			return fault("the answer's expiry is not a time")
		}
	}
	switch {
	case !slices.Contains(token.Audience, x.audience):
		return unusable(errors.New("it is for another audience than was asked for"))
	case !token.SameIdentity(from):
		return unusable(errors.New("it is of another project or environment"))
	}
	// The caller decides about a token that STS still accepts.
	if err := token.CheckExpiry(time.Now().Add(-leaf.Grace)); err != nil {
		return unusable(err)
	}
	got := exchanged{raw: from.Raw, token: token}
	if !expiry.IsZero() { // without it, Vercel says not to cache the token
		if token.Expiry.Before(expiry) {
			expiry = token.Expiry
		}
		got.until = expiry.Add(-exchangeMargin)
	}
	return got, nil
}

// reason returns the error member of an answer, or the answer's beginning, quoted.
func reason(body []byte, from Token) string {
	out, _ := jwtjson.Object(string(body))
	said, _ := out["error"].Text()
	if said == "" {
		said = string(body)
	}
	return scrub.Quote(clean(withoutLongWords(said), from), maxWords)
}

// withoutLongWords removes each word that could be a part of a token, since an
// error can hold a token by mistake.
func withoutLongWords(s string) string {
	const long = 24                       // bytes
	words := regexp.MustCompile(`[\w-]+`) // of base64url (RFC 4648, section 5); not compiled where a program starts
	return words.ReplaceAllStringFunc(s, func(word string) string {
		if len(word) < long {
			return word
		}
		return "[…]"
	})
}

// maxWords is how many bytes of text from a server or program a message shows.
const maxWords = 300

// clean makes text from a server or program fit for an error message.
func clean(s string, t Token) string { return strings.TrimSpace(scrub.Text(s, t.Raw(), maxWords)) }
