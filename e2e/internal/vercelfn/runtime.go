package vercelfn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// invocationTime is how long a function may work on one event.
const invocationTime = time.Minute

// runtimeAPI serves AWS Lambda's runtime API to one function. See
// https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
type runtimeAPI struct {
	mux    http.ServeMux
	queue  chan *invocation // events that the function has not yet taken
	closed chan struct{}    // closed by close

	mu    sync.Mutex
	taken map[string]*invocation // guarded by mu; by request id
	count int                    // guarded by mu
}

// invocation is one event and its answer.
type invocation struct {
	event  []byte
	answer chan answer // buffered, for one
}

// answer is what a function made of an event.
type answer struct {
	body []byte
	err  error
}

func newRuntimeAPI() *runtimeAPI {
	a := &runtimeAPI{
		queue:  make(chan *invocation),
		closed: make(chan struct{}),
		taken:  make(map[string]*invocation),
	}
	const prefix = "/2018-06-01/runtime/"
	a.mux.HandleFunc("GET "+prefix+"invocation/next", a.next)
	a.mux.HandleFunc("POST "+prefix+"invocation/{id}/response", a.response)
	a.mux.HandleFunc("POST "+prefix+"invocation/{id}/error", a.failure)
	return a
}

// errEnded is why a function that has ended does not answer.
var errEnded = errors.New("the function has ended")

// invoke hands the event to the function and waits for its answer, until ctx
// is done or the function has ended.
func (a *runtimeAPI) invoke(ctx context.Context, ended <-chan struct{}, event []byte) ([]byte, error) {
	inv := &invocation{event: event, answer: make(chan answer, 1)}
	select {
	case a.queue <- inv:
	case <-ended:
		return nil, errEnded
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	select {
	case answer := <-inv.answer:
		return answer.body, answer.err
	case <-ended:
		return nil, errEnded
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// close lets the function's wait for its next event end.
func (a *runtimeAPI) close() { close(a.closed) }

// next answers when there is an event.
func (a *runtimeAPI) next(w http.ResponseWriter, r *http.Request) {
	select {
	case inv := <-a.queue:
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Lambda-Runtime-Aws-Request-Id", a.take(inv))
		h.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(time.Now().Add(invocationTime).UnixMilli(), 10))
		h.Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:123456789012:function:e2e")
		_, _ = w.Write(inv.event)
	case <-a.closed:
		http.Error(w, "the function is being stopped", http.StatusGone)
	case <-r.Context().Done():
	}
}

// take remembers an invocation that the function works on, and gives it an id.
func (a *runtimeAPI) take(inv *invocation) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.count++
	id := fmt.Sprintf("00000000-0000-4000-8000-%012d", a.count)
	a.taken[id] = inv
	return id
}

// response takes a function's answer.
func (a *runtimeAPI) response(w http.ResponseWriter, r *http.Request) {
	a.deliver(w, r, func(body []byte) answer { return answer{body: body} })
}

// failure takes a function's report that it failed.
func (a *runtimeAPI) failure(w http.ResponseWriter, r *http.Request) {
	a.deliver(w, r, func(body []byte) answer {
		return answer{err: fmt.Errorf("the function failed: %s", body)}
	})
}

func (a *runtimeAPI) deliver(w http.ResponseWriter, r *http.Request, as func([]byte) answer) {
	id := r.PathValue("id")
	a.mu.Lock()
	inv := a.taken[id]
	delete(a.taken, id)
	a.mu.Unlock()
	if inv == nil {
		http.Error(w, "no such invocation", http.StatusBadRequest)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		inv.answer <- answer{err: fmt.Errorf("reading the function's answer: %w", err)}
		return
	}
	inv.answer <- as(body)
	w.WriteHeader(http.StatusAccepted)
}
