package watch

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"raftkv/rpc/feed"
)

// collect reads until the event of a revision has come, and checks that every
// revision before it came once and in order.
func collect(t *testing.T, s *Stream, from, to int64) {
	t.Helper()
	for want := from; want <= to; {
		resp := next(t, s)
		if resp.GetCanceled() {
			t.Fatalf("%v before revision %d", resp, want)
		}
		for _, e := range resp.GetEvents() {
			if got := e.GetKv().GetModRevision(); got != want {
				t.Fatalf("event of revision %d where %d is due", got, want)
			}
			want++
		}
	}
}

// TestReaderThatStops: what waits for a client that does not read is bounded, and
// when it reads on it gets everything once.
func TestReaderThatStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const writes = 20_000
		h, store := newHub(t, Config{})
		stuck, live := open(t, h), open(t, h)
		created(t, stuck, everything)
		created(t, live, everything)
		value := string(bytes.Repeat([]byte("v"), 1000))
		for i := range writes {
			store.commit(put("k", value))
			if i%100 == 99 {
				synctest.Wait()
				if stats := h.Stats(); stats.HeldBytes > 2*(queueBytesMax+bundleBytesMax) || stats.Pending > 2*(queueMessagesMin+queueMessagesByWatcher) {
					t.Fatalf("after %d writes: %+v", i, stats)
				}
				collect(t, live, int64(i-99+2), int64(i+2))
			}
		}
		synctest.Wait()
		stats := h.Stats()
		if stats.Behind != 1 || stats.Spills == 0 || stats.ApplyBlocked != 0 || stats.QueuedRevisions != 0 {
			t.Errorf("%+v", stats)
		}
		collect(t, stuck, 2, writes+1)
		// It keeps up again, as soon as it waits for more.
		done := make(chan struct{})
		go func() {
			defer close(done)
			collect(t, stuck, writes+2, writes+3)
		}()
		store.commit(put("k", "last but one"))
		collect(t, live, writes+2, writes+2)
		synctest.Wait()
		if stats := h.Stats(); stats.Behind != 0 || stats.HeldBytes != 0 || stats.Pending != 0 {
			t.Errorf("in the end: %+v", stats)
		}
		store.commit(put("k", "last"))
		<-done
	})
}

// TestQueuesTogether: many streams that do not read stay within the bound of all
// of them, and do not keep a live one from its events.
func TestQueuesTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const streams, bound = 200, 1 << 20
		h, store := newHub(t, Config{BufferBytesMax: bound, HistoryBytesMax: 1 << 20})
		live := open(t, h)
		created(t, live, everything)
		var stuck []*Stream
		for i := range streams {
			s := open(t, h)
			created(t, s, feed.Spec{Key: fmt.Appendf(nil, "k%d", i)})
			stuck = append(stuck, s)
		}
		value := string(bytes.Repeat([]byte("v"), 10_000))
		for i := range 20 * streams {
			store.commit(put(fmt.Sprintf("k%d", i%streams), value))
			synctest.Wait()
			if held := h.Stats().HeldBytes; held > bound+2*int64(len(value)) {
				t.Fatalf("after %d writes %d bytes wait", i, held)
			}
			collect(t, live, int64(i+2), int64(i+2))
		}
		for i, s := range stuck {
			for n := 0; n < 20; {
				for _, e := range next(t, s).GetEvents() {
					if want := int64(2 + i + n*streams); e.GetKv().GetModRevision() != want {
						t.Fatalf("stream %d: revision %d where %d is due", i, e.GetKv().GetModRevision(), want)
					}
					n++
				}
			}
		}
	})
}

// TestHubFallsBehind: batches that find the queue full are read from the history,
// by the Hub, for all synced watchers at once.
func TestHubFallsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, store := idleHub(t, Config{QueueRevisionsMax: 50, QueueBytesMax: 1000})
		var streams []*Stream
		for range 20 {
			s := open(t, h)
			created(t, s, everything)
			streams = append(streams, s)
		}
		for i := range 1000 {
			store.commit(put("k", fmt.Sprint(i)))
		}
		if stats := h.Stats(); stats.QueuedRevisions > 50 || stats.QueuedBytes > 1000 || stats.SkippedBatches < 900 {
			t.Errorf("%+v", stats)
		}
		start(t, h)
		synctest.Wait()
		for _, s := range streams {
			collect(t, s, 2, 1001)
		}
		stats := h.Stats()
		if stats.CaughtUpRevisions < 900 || stats.Behind != 0 || stats.QueuedBytes != 0 {
			t.Errorf("%+v", stats)
		}
		if store.reads > 20 {
			t.Errorf("the history was read %d times", store.reads)
		}
	})
}

// TestHubBehindCompaction: what is compacted before the Hub got to it ends its
// watchers, each with the reason.
func TestHubBehindCompaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, store := idleHub(t, Config{QueueRevisionsMax: 5})
		s := open(t, h)
		created(t, s, everything)
		future := everything
		future.StartRevision = 90
		created(t, s, future)
		for i := range 50 {
			store.commit(put("k", fmt.Sprint(i)))
		}
		store.compact(40)
		start(t, h)
		synctest.Wait() // a reader that is quicker than the hub would see the first events
		// What waited in its queue went with it: that, too, was to be read again.
		if resp := next(t, s); !resp.GetCanceled() || resp.GetCompactRevision() != 40 || resp.GetWatchId() != 0 {
			t.Errorf("%v", resp)
		}
		for i := range 45 {
			store.commit(put("k", fmt.Sprint(i)))
		}
		collect(t, s, 90, 96)
	})
}

// TestSnapshotInstalled: one step over many revisions, whose changes nobody has
// collected, is read from the history.
func TestSnapshotInstalled(t *testing.T) {
	h, store := newHub(t, Config{})
	s := open(t, h)
	created(t, s, everything)
	var revisions [][]op
	for i := range 3000 {
		revisions = append(revisions, put("k", fmt.Sprint(i)))
	}
	h.Advance(store.write(false, revisions...))
	collect(t, s, 2, 3001)
}

// TestFairTurns: a watcher with far to go does not keep one that has little to go
// on the same stream waiting.
func TestFairTurns(t *testing.T) {
	h, store := newHub(t, Config{})
	var revisions [][]op
	for i := range 20 * pieceScanMax {
		revisions = append(revisions, put([]string{"a", "b"}[i%2], "v"))
	}
	h.Advance(store.write(false, revisions...))
	s := open(t, h)
	create(t, s, feed.Spec{Key: []byte("a"), StartRevision: 2})
	create(t, s, feed.Spec{Key: []byte("b"), StartRevision: store.Revision() - 1})
	before := 0
	for {
		resp := next(t, s)
		if resp.GetWatchId() == 1 && len(resp.GetEvents()) > 0 {
			break
		}
		before += len(resp.GetEvents())
	}
	if before > 2*pieceScanMax {
		t.Errorf("%d events of the other came first", before)
	}
}

// TestTenThousandStreams: streams that nobody reads cost no memory that grows.
func TestTenThousandStreams(t *testing.T) {
	const streams, bound = 10_000, 4 << 20
	h, store := newHub(t, Config{BufferBytesMax: bound})
	for i := range streams {
		s := open(t, h)
		create(t, s, feed.Spec{Key: fmt.Appendf(nil, "k%d", i%100)})
	}
	value := string(bytes.Repeat([]byte("v"), 1000))
	for i := range 2000 {
		store.commit(put(fmt.Sprintf("k%d", i%100), value))
		if held := h.Stats().HeldBytes; held > bound+bundleBytesMax {
			t.Fatalf("%d bytes wait", held)
		}
	}
	last := open(t, h)
	created(t, last, everything)
	store.commit(put("k0", "last"))
	if m, err := last.Next(context.Background()); err != nil || m.Revision != 2002 {
		t.Errorf("%+v, %v", m, err)
	}
}
