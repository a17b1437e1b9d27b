package refresh

import (
	"context"
	"sync"

	"github.com/vercelaws/vercelaws/internal/guard"
)

// maxQueue is how many events wait for a handler.
const maxQueue = 64

// queue calls a handler with each event, in order. Add does not wait for it. A
// goroutine runs only while there are events. A queue without a handler keeps none.
type queue struct {
	handle func(Event)
	calls  guard.Calls

	mu      sync.Mutex // guards what follows
	events  []Event
	dropped int
	running bool
}

func (q *queue) add(e Event) {
	if q.handle == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.events) == maxQueue {
		q.dropped++
		return
	}
	q.events = append(q.events, e)
	if !q.running {
		q.running = true
		go q.run()
	}
}

// run calls the handler until the queue is empty. If the handler panics or ends its
// goroutine, that event counts as dropped.
func (q *queue) run() {
	for {
		e, ok := q.next()
		if !ok {
			return
		}
		_, err := guard.Do(context.Background(), &q.calls, "the handler", 0, func(context.Context) (struct{}, error) {
			q.handle(e)
			return struct{}{}, nil
		})
		if err != nil {
			q.mu.Lock()
			q.dropped++
			q.mu.Unlock()
		}
	}
}

// next removes the next event and returns it, with the number of dropped ones.
func (q *queue) next() (Event, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.events) == 0 {
		q.events, q.running = nil, false
		return Event{}, false
	}
	e := q.events[0]
	q.events = q.events[1:]
	e.Dropped, q.dropped = q.dropped, 0
	return e, true
}
