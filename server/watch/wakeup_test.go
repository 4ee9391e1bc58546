package watch

import (
	"context"
	"runtime"
	"testing"
	"time"

	"raftkv/rpc/feed"
)

type anyHistory = History // whose name is that of a method too

// gatedHistory stops whoever asks for the revision until it is opened.
type gatedHistory struct {
	anyHistory
	asked, open chan struct{}
}

func (g *gatedHistory) Revision() int64 {
	g.asked <- struct{}{}
	<-g.open
	return g.anyHistory.Revision()
}

// TestAWatchOfThePastIsCountedBeforeItsAnswer: the answer to a creation wakes the
// sender, which takes it from the queue without Hub.mu and goes back to sleep if
// no watcher is behind. One that is must have been counted by then, or it waits
// for whatever wakes the stream next.
func TestAWatchOfThePastIsCountedBeforeItsAnswer(t *testing.T) {
	h, store := newHub(t, Config{})
	store.commit(put("a", "1"))
	gate := &gatedHistory{store, make(chan struct{}), make(chan struct{})}
	h.history = gate
	s := open(t, h)
	ended := make(chan error, 1)
	go func() {
		ended <- s.Create(context.Background(), feed.Spec{Key: []byte("a"), StartRevision: 1})
	}()
	<-gate.asked
	s.mu.Lock() // the queue: the answer cannot get there
	close(gate.open)
	for deadline := time.Now().Add(time.Minute); s.lagging.Load() == 0; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Error("the creation waits for the queue, and the watcher is not counted yet")
			break
		}
	}
	s.mu.Unlock()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	h.history = store
	if created, event := next(t, s), next(t, s); !created.GetCreated() || len(event.GetEvents()) != 1 {
		t.Errorf("%v, then %v", created, event)
	}
}
