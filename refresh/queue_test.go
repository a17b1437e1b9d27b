//go:build go1.25

package refresh

import (
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAQueueHoldsSixtyFourAndCountsTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []Event
		release := make(chan struct{})
		q := &queue{handle: func(e Event) { <-release; got = append(got, e) }}
		add := func(n int) {
			for range n {
				q.add(Event{Took: time.Duration(len(got))})
			}
			synctest.Wait()
		}
		add(1)      // with the handler
		add(64 + 3) // as many as wait, and three
		close(release)
		synctest.Wait()
		require.Len(t, got, 1+64)
		dropped := 0
		for _, e := range got {
			dropped += e.Dropped
		}
		assert.Equal(t, 3, dropped)
		assert.Equal(t, 3, got[1].Dropped, "told with the next")
		add(1)
		require.Len(t, got, 1+64+1)
		assert.Zero(t, got[65].Dropped, "once")
	})
}

func TestAQueueWithoutHandlerKeepsNothing(t *testing.T) {
	var q queue
	q.add(Event{})
	assert.Empty(t, q.events)
	assert.False(t, q.running)
}

func TestAHandlerThatPanicsOrLeavesLosesOneEvent(t *testing.T) {
	for name, misbehave := range map[string]func(){"panics": func() { panic("no") }, "leaves": runtime.Goexit} {
		synctest.Test(t, func(t *testing.T) {
			var got []Event
			q := &queue{handle: func(e Event) {
				if e.Took == 1 {
					misbehave()
				}
				got = append(got, e)
			}}
			for i := range 4 {
				q.add(Event{Took: time.Duration(i)})
			}
			synctest.Wait()
			assert.Equal(t, []Event{{Took: 0}, {Took: 2, Dropped: 1}, {Took: 3}}, got, name)
			assert.False(t, q.running, name)
			q.add(Event{Took: 9})
			synctest.Wait()
			assert.Equal(t, Event{Took: 9}, got[len(got)-1], name)
		})
	}
}
