package refresh

import "sync"

// maxQueue is how many events wait for a handler.
const maxQueue = 64

// queue hands events to a handler in order, on a goroutine that lives while
// there are any. Who adds one never waits. A queue without handler takes none.
type queue struct {
	handle func(Event)

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
// goroutine, loses the event at hand and no other.
func (q *queue) run() {
	empty := false
	defer func() {
		if empty {
			return
		}
		_ = recover() // the count says that something is wrong with the handler
		q.mu.Lock()
		q.dropped++
		q.mu.Unlock()
		go q.run()
	}()
	for {
		e, ok := q.next()
		if !ok {
			empty = true
			return
		}
		q.handle(e)
	}
}

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
