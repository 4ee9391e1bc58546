package watch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"raftkv/rpc/feed"
)

var everything = feed.Spec{Key: []byte{0}, End: []byte{}}

func TestEventsOfARevisionTogether(t *testing.T) {
	h, store := newHub(t, Config{})
	type watch struct {
		spec feed.Spec
		want string
	}
	for name, w := range map[string]watch{
		"key":      {feed.Spec{Key: []byte("b")}, "b=1 b- | b=2"},
		"range":    {feed.Spec{Key: []byte("a"), End: []byte("c")}, "a=1 b=1 | a=2 b- | b=2"},
		"from key": {feed.Spec{Key: []byte("b"), End: []byte{}}, "b=1 | b- c=2 | b=2"},
		"no put":   {feed.Spec{Key: []byte{0}, End: []byte{}, NoPut: true}, "b-"},
		"no del":   {feed.Spec{Key: []byte{0}, End: []byte{}, NoDelete: true}, "a=1 b=1 | a=2 c=2 | b=2"},
		"prev":     {feed.Spec{Key: []byte{0}, End: []byte{}, PrevKV: true}, "a=1 b=1 | a=2<1 b-<1 c=2 | b=2"},
		"past":     {feed.Spec{Key: []byte{0}, End: []byte{}, StartRevision: 1}, "before=0 | a=1 b=1 | a=2 b- c=2 | b=2"},
		"future":   {feed.Spec{Key: []byte{0}, End: []byte{}, StartRevision: 4}, "a=2 b- c=2 | b=2"},
	} {
		t.Run(name, func(t *testing.T) {
			h, store = newHub(t, Config{})
			store.commit(put("before", "0"))
			s := open(t, h)
			if resp := created(t, s, w.spec); resp.GetHeader().GetRevision() != 2 || resp.GetWatchId() != 0 {
				t.Errorf("created %v", resp)
			}
			store.commit([]op{{"a", []byte("1")}, {"b", []byte("1")}}, []op{{"a", []byte("2")}, {"b", nil}, {"c", []byte("2")}})
			store.commit(put("b", "2"))
			var got []string
			want := strings.ReplaceAll(w.want, " | ", " ")
			if name == "key" {
				want = "b=1 b- b=2"
			}
			for len(got) < len(strings.Fields(want)) {
				resp := next(t, s)
				checkWhole(t, resp.GetHeader().GetRevision(), texts(resp))
				got = append(got, texts(resp)...)
			}
			if strings.Join(got, " ") != want {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

// checkWhole: the third revision is never cut.
func checkWhole(t *testing.T, revision int64, got []string) {
	t.Helper()
	if slices.Contains(got, "a=2") && slices.Contains(got, "a=1") == slices.Contains(got, "c=2") && !slices.Contains(got, "c=2") && !slices.Contains(got, "b-") {
		t.Errorf("revision %d: %v", revision, got)
	}
}

func TestIDs(t *testing.T) {
	h, store := newHub(t, Config{})
	s := open(t, h)
	refused := func(spec feed.Spec, reason string) {
		t.Helper()
		if resp := created(t, s, spec); resp.GetWatchId() != -1 || !resp.GetCanceled() || resp.GetCancelReason() != reason {
			t.Errorf("%+v: %v", spec, resp)
		}
	}
	for _, want := range []int64{0, 1} {
		if got := created(t, s, everything).GetWatchId(); got != want {
			t.Errorf("id %d, want %d", got, want)
		}
	}
	chosen := everything
	chosen.ID = 2
	if got := created(t, s, chosen).GetWatchId(); got != 2 {
		t.Errorf("id %d", got)
	}
	refused(chosen, "mvcc: duplicate watch ID provided on the WatchStream")
	refused(feed.Spec{Key: []byte("b"), End: []byte("a")}, "mvcc: watcher range is empty")
	refused(feed.Spec{Key: []byte("a"), End: []byte("a")}, "mvcc: watcher range is empty")
	if got := created(t, s, everything).GetWatchId(); got != 3 {
		t.Errorf("id %d beside a chosen one", got)
	}
	ctx := context.Background()
	for _, id := range []int64{2, 99, 2} { // unknown ids are not answered
		if err := s.Cancel(ctx, id); err != nil {
			t.Fatal(err)
		}
	}
	if resp := next(t, s); !resp.GetCanceled() || resp.GetWatchId() != 2 || resp.GetCancelReason() != "" {
		t.Errorf("cancelled: %v", resp)
	}
	if got := created(t, s, chosen).GetWatchId(); got != 2 {
		t.Errorf("id %d again", got)
	}
	store.commit(put("k", "v"))
	ids := map[int64]bool{}
	for range 4 {
		ids[next(t, s).GetWatchId()] = true
	}
	if len(ids) != 4 {
		t.Errorf("events of %v", ids)
	}
}

func TestNothingAfterCancel(t *testing.T) {
	h, store := newHub(t, Config{})
	s := open(t, h)
	created(t, s, everything)
	past := everything
	past.StartRevision = 2
	store.commit(put("a", "1"))
	created2 := false
	create(t, s, past)
	store.commit(put("a", "2"))
	for _, id := range []int64{0, 1} {
		if err := s.Cancel(context.Background(), id); err != nil {
			t.Fatal(err)
		}
	}
	cancelled := map[int64]bool{}
	for len(cancelled) < 2 {
		resp := next(t, s)
		switch {
		case resp.GetCanceled():
			cancelled[resp.GetWatchId()] = true
		case resp.GetCreated():
			created2 = true
		case cancelled[resp.GetWatchId()]:
			t.Errorf("%v behind the cancellation", resp)
		}
	}
	if stats := h.Stats(); !created2 || stats.Watchers != 0 || stats.Behind != 0 || stats.HeldBytes != 0 || stats.Pending != 0 {
		t.Errorf("left: %+v", stats)
	}
}

func TestCompacted(t *testing.T) {
	h, store := newHub(t, Config{})
	for i := range 10 {
		store.commit(put("k", fmt.Sprint(i)))
	}
	store.compact(6)
	s := open(t, h)
	old := everything
	old.StartRevision = 5
	if resp := created(t, s, old); resp.GetCanceled() {
		t.Errorf("created: %v", resp)
	}
	resp := next(t, s)
	if !resp.GetCanceled() || resp.GetCompactRevision() != 6 || resp.GetWatchId() != 0 || resp.GetHeader().GetRevision() != 0 || resp.GetCancelReason() != "" {
		t.Errorf("compacted: %v", resp)
	}
	old.StartRevision = 6
	created(t, s, old)
	if resp := next(t, s); len(resp.GetEvents()) != 6 || resp.GetHeader().GetRevision() != 11 {
		t.Errorf("from the compacted revision: %v", resp)
	}
	// The id of the dead one is taken until it is cancelled, and progress does
	// not wait for it.
	dup := everything
	dup.ID = 1
	if resp := created(t, s, dup); resp.GetWatchId() != -1 {
		t.Errorf("taken id: %v", resp)
	}
	s.RequestProgress()
	if resp := next(t, s); resp.GetWatchId() != -1 || resp.GetHeader().GetRevision() != 11 {
		t.Errorf("progress: %v", resp)
	}
	if err := s.Cancel(context.Background(), 0); err != nil {
		t.Fatal(err)
	}
	if resp := next(t, s); !resp.GetCanceled() || resp.GetCompactRevision() != 0 {
		t.Errorf("cancelled: %v", resp)
	}
}

// TestProgressOrder: progress comes behind all events, also those that are still
// to be read from history, and never of a revision older than the request.
func TestProgressOrder(t *testing.T) {
	h, store := newHub(t, Config{})
	for i := range 5000 {
		store.commit(put("k", fmt.Sprint(i)))
	}
	s := open(t, h)
	s.RequestProgress() // without a watch there is nothing to tell
	old := everything
	old.StartRevision = 1
	created(t, s, old)
	created(t, s, feed.Spec{Key: []byte("other")})
	s.RequestProgress()
	seen := int64(0)
	for {
		resp := next(t, s)
		if len(resp.GetEvents()) > 0 {
			seen = resp.GetEvents()[len(resp.GetEvents())-1].GetKv().GetModRevision()
			continue
		}
		if resp.GetWatchId() != -1 || resp.GetHeader().GetRevision() != 5001 || seen != 5001 {
			t.Errorf("progress %v behind event %d", resp, seen)
		}
		break
	}
	synctest.Test(t, func(t *testing.T) {
		h, store := newHub(t, Config{})
		s := open(t, h)
		created(t, s, feed.Spec{Key: []byte("k"), StartRevision: 3})
		s.RequestProgress()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if m, err := s.Next(ctx); err == nil {
			t.Errorf("progress of a watch that has not begun: %+v", m)
		}
		store.commit(put("x", "1"))
		store.commit(put("k", "2"))
		if resp := next(t, s); len(resp.GetEvents()) != 1 {
			t.Errorf("%v", resp)
		}
		if resp := next(t, s); resp.GetHeader().GetRevision() != 3 || resp.GetWatchId() != -1 {
			t.Errorf("%v", resp)
		}
	})
}

func TestProgressNotify(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, store := newHub(t, Config{ProgressInterval: time.Minute})
		s := open(t, h)
		spec := feed.Spec{Key: []byte("k"), ProgressNotify: true}
		created(t, s, spec)
		created(t, s, feed.Spec{Key: []byte("k")})
		store.commit(put("other", "1"))
		began := time.Now()
		if resp := next(t, s); resp.GetWatchId() != 0 || resp.GetHeader().GetRevision() != 2 || len(resp.GetEvents()) > 0 {
			t.Errorf("%v", resp)
		}
		if took := time.Since(began); took < time.Minute || took > 67*time.Second {
			t.Errorf("after %v", took)
		}
		// An event stands for progress: the next interval is skipped.
		store.commit(put("k", "1"))
		next(t, s)
		next(t, s)
		began = time.Now()
		if resp := next(t, s); len(resp.GetEvents()) > 0 {
			t.Errorf("%v", resp)
		}
		if took := time.Since(began); took < 2*time.Minute-7*time.Second {
			t.Errorf("after %v", took)
		}
		// A client that does not read piles nothing up: the ticks happen while
		// somebody waits for a message, and one waits at most.
		synctest.Wait()
	})
}

func TestStopEndsStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := idleHub(t, Config{})
		ctx, cancel := context.WithCancel(t.Context())
		go h.Run(ctx)
		s := open(t, h)
		ended := make(chan error, 1)
		go func() {
			_, err := s.Next(context.Background())
			ended <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-ended; !errors.Is(err, feed.ErrStopped) {
			t.Errorf("%v", err)
		}
		synctest.Wait()
		late := open(t, h)
		if _, err := late.Next(context.Background()); !errors.Is(err, feed.ErrStopped) {
			t.Errorf("opened late: %v", err)
		}
		if err := late.Create(context.Background(), everything); !errors.Is(err, feed.ErrStopped) {
			t.Errorf("created late: %v", err)
		}
	})
}

// TestAnswersAreBounded: who asks and does not read is not read.
func TestAnswersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := newHub(t, Config{})
		s := open(t, h)
		asked := 0
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 3 * controlsMax {
				create(t, s, everything)
				s.RequestProgress()
				asked++
			}
		}()
		synctest.Wait()
		if asked != controlsMax {
			t.Errorf("%d answers wait", asked)
		}
		for range 3*controlsMax + 1 {
			next(t, s)
			synctest.Wait()
		}
		<-done
	})
}

func TestHistoryFails(t *testing.T) {
	h, store := newHub(t, Config{})
	store.commit(put("k", "1"))
	store.failure = errors.New("disk on fire")
	s := open(t, h)
	spec := everything
	spec.StartRevision = 1
	created(t, s, spec)
	if _, err := s.Next(context.Background()); !errors.Is(err, store.failure) {
		t.Errorf("%v", err)
	}
}
