package oidc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/vercelaws/vercelaws/internal/scrub"
)

const (
	exchangeAttempts     = 3
	exchangeAttemptLimit = 3 * time.Second
	exchangePause        = 100 * time.Millisecond // before the second attempt; doubles
	maxExchangeAnswer    = 64 << 10               // 64 KiB; a token has at most 20,000 characters
)

// exchangeRefused is an answer that asking again would not change.
type exchangeRefused struct{ msg string }

// Error says what the endpoint said.
func (e *exchangeRefused) Error() string { return e.msg }

// exchanger makes the requests of an exchange.
type exchanger struct {
	audience, jti, endpoint string
	client                  http.Client
}

func newExchanger(audience string, o ExchangeOptions) exchanger {
	x := exchanger{audience: audience, jti: o.JTI, endpoint: o.Endpoint}
	if o.HTTPClient != nil {
		x.client = *o.HTTPClient
	}
	x.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if x.endpoint == "" {
		x.endpoint = ExchangeURL
	}
	return x
}

// exchange asks until it has an answer that counts. The time that it returns is
// until when the token may be kept, zero if not at all.
func (x *exchanger) exchange(ctx context.Context, from Token) (Token, time.Time, error) {
	body, err := json.Marshal(struct {
		Token string `json:"token"`
		Aud   string `json:"aud"`
		JTI   string `json:"jti,omitempty"`
	}{from.Raw(), x.audience, x.jti})
	if err != nil {
		return Token{}, time.Time{}, err
	}
	pause := exchangePause
	for attempt := 1; ; attempt++ {
		token, until, err := x.attempt(ctx, from, body)
		var refused *exchangeRefused
		if err == nil || errors.As(err, &refused) {
			return token, until, err
		}
		if attempt == exchangeAttempts {
			return Token{}, time.Time{}, fmt.Errorf("%w (after %d attempts)", err, attempt)
		}
		timer := time.NewTimer(pause/2 + rand.N(pause))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return Token{}, time.Time{}, err
		}
		pause *= 2
	}
}

func (x *exchanger) attempt(ctx context.Context, from Token, body []byte) (Token, time.Time, error) {
	none := func(err error) (Token, time.Time, error) { return Token{}, time.Time{}, err }
	ctx, cancel := context.WithTimeout(ctx, exchangeAttemptLimit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, x.endpoint, bytes.NewReader(body))
	if err != nil {
		return none(&exchangeRefused{"the endpoint is not a URL"})
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json")
	response, err := x.client.Do(request)
	if err != nil {
		return none(errors.New(clean(err.Error(), from)))
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxExchangeAnswer+1))
	switch {
	case err != nil:
		return none(fmt.Errorf("the answer broke off: %s", clean(err.Error(), from)))
	case len(answer) > maxExchangeAnswer:
		return none(fmt.Errorf("the answer is longer than %d bytes", maxExchangeAnswer))
	}
	switch status := response.StatusCode; {
	case status == http.StatusOK:
		return x.read(answer, from)
	case status/100 == 3:
		return none(&exchangeRefused{"the endpoint answered with a redirect, which is not followed"})
	case status/100 == 4 && status != http.StatusTooManyRequests && status != http.StatusRequestTimeout:
		return none(&exchangeRefused{fmt.Sprintf("refused with status %d: %s", status, reason(answer, from))})
	default:
		return none(fmt.Errorf("status %d: %s", status, reason(answer, from)))
	}
}

// read takes the token out of a good answer. A token that is not what was asked
// for is not used.
func (x *exchanger) read(answer []byte, from Token) (Token, time.Time, error) {
	none := func(err error) (Token, time.Time, error) { return Token{}, time.Time{}, err }
	var out struct {
		Token  string    `json:"token"`
		Expiry *unixTime `json:"expiry"`
	}
	if err := json.Unmarshal(answer, &out); err != nil {
		return none(fmt.Errorf("the answer cannot be read: %w", describeJSON(err)))
	}
	token, err := parseToken(out.Token)
	if err != nil {
		return none(fmt.Errorf("the answer's token cannot be used: %w", err))
	}
	switch {
	case !slices.Contains(token.Audience, x.audience):
		return none(errors.New("the answer's token is for another audience than was asked for"))
	case !token.sameIdentity(from):
		return none(errors.New("the answer's token is of another project or environment"))
	}
	if err := token.CheckExpiry(time.Now()); err != nil {
		return none(fmt.Errorf("the answer's token cannot be used: %w", err))
	}
	token.source, token.explicit = from.source+", exchanged", from.explicit
	if out.Expiry == nil {
		return token, time.Time{}, nil // Vercel says: do not cache
	}
	until := token.Expiry
	if out.Expiry.Before(until) {
		until = out.Expiry.Time
	}
	return token, until.Add(-exchangeMargin), nil
}

// reason is the error that an answer holds, or its beginning.
func reason(answer []byte, from Token) string {
	var out struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(answer, &out) == nil && out.Error != "" {
		return clean(out.Error, from)
	}
	return clean(string(answer), from)
}

// clean makes text of a server or a program fit for an error.
func clean(s string, t Token) string { return strings.TrimSpace(scrub.Text(s, t.Raw(), 300)) }
