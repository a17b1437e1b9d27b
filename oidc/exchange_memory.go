package oidc

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/vercelaws/vercelaws/internal/refusals"
)

const (
	maxExchanged   = 64               // exchanged tokens kept by one source
	maxExchanges   = 64               // under way at a time
	exchangeMargin = 30 * time.Second // before expiry, a new one is fetched
)

// exchangeMemory is what a source knows of tokens that it has exchanged, or
// tried to.
type exchangeMemory struct {
	refused refusals.Memory // source tokens that the endpoint has refused

	mu    sync.Mutex  // guards what follows
	kept  []exchanged // newest first
	calls map[tokenID]*exchangeCall
}

// exchanged is a source token and what it was exchanged for last.
type exchanged struct {
	id       tokenID // of from
	from     Token
	token    Token
	until    time.Time // token is given out until then; zero if it is not to be kept
	explicit bool      // only ever given by ContextWithToken
}

// exchangeCall is one exchange that any number of callers wait for.
type exchangeCall struct {
	done  chan struct{}
	token Token // to be read after done
	err   error
}

var errBusy = errors.New("too many other exchanges are under way")

// lookUp returns the outcome that is known for from, or the call to wait for,
// which it has start begin if there is none.
func (m *exchangeMemory) lookUp(from Token, start func(*exchangeCall)) (*exchangeCall, Token, error) {
	id, now := idOf(from.Raw()), time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if k := m.find(id); k != nil && now.Before(k.until) {
		k.explicit = k.explicit && from.explicit
		return nil, k.token, nil
	}
	if err := m.refused.Answer(from.Raw()); err != nil {
		return nil, Token{}, err
	}
	if call := m.calls[id]; call != nil {
		return call, Token{}, nil
	}
	if len(m.calls) >= maxExchanges {
		return nil, Token{}, errBusy
	}
	call := &exchangeCall{done: make(chan struct{})}
	if m.calls == nil {
		m.calls = make(map[tokenID]*exchangeCall)
	}
	m.calls[id] = call
	start(call)
	return call, Token{}, nil
}

// store ends call with its outcome.
func (m *exchangeMemory) store(from Token, call *exchangeCall, token Token, until time.Time, err error) {
	id := idOf(from.Raw())
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.calls, id)
	m.refused.Forget(from.Raw())
	var failure *ExchangeError
	switch {
	case err == nil:
		m.keep(exchanged{id, from, token, until, from.explicit})
	case errors.As(err, &failure) && failure.Refused:
		m.refused.Add(from.Raw(), err)
	}
	call.token, call.err = token, err
	close(call.done)
}

// keep needs mu.
func (m *exchangeMemory) keep(k exchanged) {
	if i := slices.IndexFunc(m.kept, func(other exchanged) bool { return other.id == k.id }); i >= 0 {
		k.explicit = k.explicit && m.kept[i].explicit
		m.kept = slices.Delete(m.kept, i, i+1)
	}
	m.kept = slices.Insert(m.kept, 0, k)
	if len(m.kept) > maxExchanged {
		m.kept = slices.Delete(m.kept, maxExchanged, len(m.kept))
	}
}

// find needs mu.
func (m *exchangeMemory) find(id tokenID) *exchanged {
	for i := range m.kept {
		if m.kept[i].id == id {
			return &m.kept[i]
		}
	}
	return nil
}

// becameOf returns the JWT for which the source token was exchanged last, if it
// was.
func (m *exchangeMemory) becameOf(id tokenID) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if k := m.find(id); k != nil {
		return k.token.Raw()
	}
	return ""
}

// originOf returns the source token of which an exchanged one came, if it is
// kept.
func (m *exchangeMemory) originOf(raw string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range m.kept {
		if k.token.Raw() == raw {
			return k.from.Raw()
		}
	}
	return ""
}

// alive returns a kept token of from's identity that can be used.
func (m *exchangeMemory) alive(ctx context.Context, from Token) (Token, bool) {
	m.mu.Lock()
	kept := slices.Clone(m.kept)
	m.mu.Unlock()
	for _, k := range kept {
		if !k.explicit && !k.until.IsZero() && k.from.sameIdentity(from) && check(ctx, k.token) == nil {
			return k.token, true
		}
	}
	return Token{}, false
}
