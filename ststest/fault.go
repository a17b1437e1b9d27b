package ststest

import (
	"cmp"
	"math"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// Call is a call of the server. SetFault's function chooses a fault by it.
type Call struct {
	Action  string // such as "AssumeRoleWithWebIdentity"
	N       int    // the number of the call among those of its action, from 1
	RoleARN string
	token   string
}

// Fault says how a call fails. The zero value is no fault. Latency can be combined
// with any other field.
type Fault struct {
	Latency time.Duration // the server waits this long first

	// Code, Message and Status make the answer an error. Status alone makes it
	// an error without a body that STS would send.
	Code    string
	Message string
	Status  int

	Hang      bool   // takes the request and never answers
	Drip      bool   // answers one byte a second, without end
	Endless   bool   // answers as fast as it can, without end
	Reset     bool   // closes the connection without an answer
	Garbage   bool   // answers 200 with what is not XML
	Truncated bool   // sends half of a good answer
	Redirect  string // answers 307 with this location

	EmptyCredentials bool          // answers as after a success, with empty keys
	Lifetime         time.Duration // of the credentials, in place of the requested one; negative: expired on arrival

	EchoToken bool // error messages contain the token, as a careless server's might
}

// SetFault has f choose the fault of each call. Nil ends all faults.
func (s *Server) SetFault(f func(Call) Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// Always returns a chooser for SetFault that chooses f for
// AssumeRoleWithWebIdentity, and nothing for other actions.
func Always(f Fault) func(Call) Fault { return First(math.MaxInt, f) }

// First returns a chooser for SetFault that chooses f for the next n calls of
// AssumeRoleWithWebIdentity, and nothing for later ones and other actions.
func First(n int, f Fault) func(Call) Fault {
	var played atomic.Int64
	return func(c Call) Fault {
		if c.Action != "AssumeRoleWithWebIdentity" || played.Add(1) > int64(n) {
			return Fault{}
		}
		return f
	}
}

// noKey is what STS answers when it could not fetch the issuer's keys, which
// may pass: see https://github.com/aws/aws-cli/issues/7194.
var noKey = Fault{
	Status:  http.StatusBadRequest,
	Code:    "InvalidIdentityToken",
	Message: "Couldn't retrieve verification key from your identity provider,  please reference AssumeRoleWithWebIdentity documentation for requirements",
}

// Down returns, by name, the ways in which STS can fail through no fault of the
// caller. A program should survive each.
func Down() map[string]Fault {
	return map[string]Fault{
		"500":                   {Status: 500},
		"500 with a code":       {Status: 500, Code: "InternalFailure", Message: "We encountered an internal error."},
		"503":                   {Status: 503, Code: "ServiceUnavailable", Message: "The request has failed due to a temporary failure of the server."},
		"throttling":            {Status: 400, Code: "Throttling", Message: "Rate exceeded"},
		"IDPCommunicationError": {Status: 400, Code: "IDPCommunicationError", Message: "The identity provider could not be reached"},
		"verification key":      noKey,
		"hang":                  {Hang: true},
		"drip":                  {Drip: true},
		"endless":               {Endless: true},
		"reset":                 {Reset: true},
		"garbage":               {Garbage: true},
		"truncated":             {Truncated: true},
		"redirect":              {Redirect: "/elsewhere"},
		"empty credentials":     {EmptyCredentials: true},
		"expired credentials":   {Lifetime: -time.Minute},
		"latency":               {Latency: time.Minute},
	}
}

func (f Fault) echo(c Call) string {
	if !f.EchoToken || c.token == "" {
		return ""
	}
	return " (token " + c.token + ")"
}

// play produces the fault, and reports whether the call has had its answer.
func (s *Server) play(w http.ResponseWriter, r *http.Request, f Fault, c Call) bool {
	if f.Latency > 0 && !s.wait(r, f.Latency) {
		panic(http.ErrAbortHandler) // a client that is still there gets no half answer
	}
	switch {
	case f.Hang:
		s.wait(r, 0)
		panic(http.ErrAbortHandler)
	case f.Drip:
		for _, err := w.Write([]byte("<")); err == nil && s.wait(r, time.Second); _, err = w.Write([]byte("a")) {
			_ = http.NewResponseController(w).Flush()
		}
	case f.Endless:
		chunk := []byte(strings.Repeat("<a>", 10_000))
		for _, err := w.Write(chunk); err == nil; _, err = w.Write(chunk) { // until the client or Close closes the connection
		}
	case f.Reset:
		panic(http.ErrAbortHandler)
	case f.Garbage:
		_, _ = w.Write([]byte("<html><body>gateway &nbsp; " + c.token))
	case f.Redirect != "":
		w.Header().Set("Location", f.Redirect)
		w.WriteHeader(http.StatusTemporaryRedirect)
	case f.Code != "":
		writeError(w, s.options.Now(), f.echo(c), &Error{Code: f.Code, Message: f.Message, Status: cmp.Or(f.Status, http.StatusBadRequest)})
	case f.Status != 0:
		w.WriteHeader(f.Status)
	default:
		return false
	}
	return true
}

// wait waits d, or without end if d is 0. It reports false if the client or the
// server went away first.
func (s *Server) wait(r *http.Request, d time.Duration) bool {
	var over <-chan time.Time
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-over:
		return true
	case <-r.Context().Done():
		return false
	case <-s.closing:
		return false
	}
}
