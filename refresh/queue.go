package refresh

import (
	"context"
	"sync"

	"github.com/vercelaws/vercelaws/internal/guard"
)

// maxQueue is how many events wait for a handler.
const maxQueue = 64

// queue hands events to a handler in order, on goroutines that live while there
// are any. Who adds one never waits. A queue without handler takes none.
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

// run ends when the queue is empty. A handler that panics, or that ends its
// goroutine, loses the event at hand and no other: the count says that something
// is wrong with it.
func (q *queue) run() {
	lost := 0
	for {
		e, ok := q.next(lost)
		if !ok {
			return
		}
		lost = 0
		if _, err := guard.Do(context.Background(), &q.calls, "the handler", 0, func(context.Context) (struct{}, error) {
			q.handle(e)
			return struct{}{}, nil
		}); err != nil {
			lost = 1
		}
	}
}

// next returns the next event. As many as lost were not delivered since the last.
func (q *queue) next(lost int) (Event, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.dropped += lost
	if len(q.events) == 0 {
		q.events, q.running = nil, false
		return Event{}, false
	}
	e := q.events[0]
	q.events = q.events[1:]
	e.Dropped, q.dropped = q.dropped, 0
	return e, true
}
