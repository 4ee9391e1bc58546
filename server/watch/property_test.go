package watch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"raftkv/rpc/feed"
	"raftkv/statemachine"
)

// observer is a watch of the property test, with what it was told.
type observer struct {
	spec    feed.Spec
	from    int64 // the first revision that it has to be told of
	got     []string
	known   bool
	ended   bool
	highest int64 // revision of its newest event
}

func (o *observer) watches(c *statemachine.Change) bool {
	if c.Revision.Main < o.from || (c.Deleted && o.spec.NoDelete) || (!c.Deleted && o.spec.NoPut) {
		return false
	}
	key := string(c.Key)
	switch {
	case o.spec.End == nil:
		return key == string(o.spec.Key)
	case len(o.spec.End) == 0:
		return key >= string(o.spec.Key)
	}
	return key >= string(o.spec.Key) && key < string(o.spec.End)
}

func describe(key string, revision int64, deleted bool, value, previous string) string {
	return fmt.Sprintf("%s@%d %t %s %s", key, revision, deleted, value, previous)
}

// client runs random watches on one stream and keeps what each was told.
type client struct {
	t      *testing.T
	store  *store
	s      *Stream
	rng    *rand.Rand
	mu     sync.Mutex
	active map[int64]*observer
	all    []*observer
	told   int64 // progress of all, highest
}

func (c *client) randomSpec() feed.Spec {
	key := func() []byte { return fmt.Appendf(nil, "k%d", c.rng.IntN(6)) }
	spec := feed.Spec{Key: key(), NoPut: c.rng.IntN(8) == 0, NoDelete: c.rng.IntN(8) == 0, PrevKV: c.rng.IntN(3) == 0, Fragment: c.rng.IntN(2) == 0}
	switch c.rng.IntN(4) {
	case 0:
		spec.End = []byte{}
	case 1:
		spec.End = append(spec.Key, 'z')
	case 2:
		spec.Key, spec.End = []byte("k"), []byte("l")
	}
	if now := c.store.Revision(); c.rng.IntN(2) == 0 {
		spec.StartRevision = max(1, now-c.rng.Int64N(200)+20)
	}
	return spec
}

// listen takes messages until the stream ends; now and then it dawdles by letting
// the others run.
func (c *client) listen(pause func()) {
	for {
		m, err := c.s.Next(context.Background())
		if errors.Is(err, feed.ErrStopped) {
			return
		}
		if err != nil {
			c.t.Error(err)
			return
		}
		c.take(m)
		if c.rng.IntN(200) == 0 {
			pause()
		}
	}
}

func (c *client) take(m *feed.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	resp := decode(c.t, m)
	if m.WatchID == feed.InvalidID {
		c.told = max(c.told, m.Revision)
		return
	}
	o := c.active[m.WatchID]
	switch {
	case o == nil || o.ended:
		c.t.Errorf("a message of watch %d that is no more: %v", m.WatchID, resp)
	case m.Created:
		o.known, o.from = true, o.spec.StartRevision
		if o.from == 0 {
			o.from = m.Revision + 1
		}
	case m.Canceled:
		o.ended = true
	default:
		if !o.known {
			c.t.Errorf("events before the creation: %v", resp)
		}
		for _, e := range resp.GetEvents() {
			kv := e.GetKv()
			if kv.GetModRevision() <= c.told {
				c.t.Errorf("an event of revision %d behind progress at %d", kv.GetModRevision(), c.told)
			}
			o.highest = kv.GetModRevision()
			o.got = append(o.got, describe(string(kv.GetKey()), kv.GetModRevision(), e.GetType() != 0, string(kv.GetValue()), string(e.GetPrevKv().GetValue())))
		}
		if m.Fragment {
			c.t.Errorf("a fragment of the Hub's own")
		}
	}
}

// TestAgainstModel: random writes, random watches, readers of random speed, small
// bounds. Every watch gets what the history says, once and in order.
func TestAgainstModel(t *testing.T) {
	for round := range 4 {
		t.Run(fmt.Sprint(round), func(t *testing.T) { modelRound(t, uint64(time.Now().UnixNano())) })
	}
}

func modelRound(t *testing.T, seed uint64) {
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	bounds := Config{BufferBytesMax: 1 << (6 + rng.IntN(12)), QueueRevisionsMax: 1 << rng.IntN(10), HistoryBytesMax: 1 << 20}
	h, store := newHub(t, bounds)
	var clients []*client
	var asking, listening sync.WaitGroup
	release := make(chan struct{})
	for i := range 4 {
		c := &client{t: t, store: store, s: h.Open().(*Stream), rng: rand.New(rand.NewPCG(seed, uint64(i+1))), active: map[int64]*observer{}}
		clients = append(clients, c)
		asking.Go(func() { c.askWith(rand.New(rand.NewPCG(seed, uint64(i+100))), 60) })
		first := true
		listening.Go(func() {
			c.listen(func() {
				if first && i == 0 { // one that stands still until the end
					first = false
					<-release
				}
			})
		})
	}
	writeRandom(rng, store, 600)
	close(release)
	asking.Wait()
	finish(t, h, store, clients)
	for _, c := range clients {
		c.s.Close()
	}
	listening.Wait()
	all := toldBy(store)
	for i, c := range clients {
		c.compare(t, i, all)
	}
	if stats := h.Stats(); stats.HeldBytes != 0 || stats.Pending != 0 || stats.Watchers != 0 || stats.Behind != 0 || stats.Streams != 0 {
		t.Errorf("left: %+v", stats)
	}
	t.Logf("%+v, %+v", bounds, h.Stats())
}

// askWith makes random requests, with a source of chance of its own since listen
// runs beside it.
func (c *client) askWith(rng *rand.Rand, requests int) {
	asker := client{store: c.store, s: c.s, rng: rng}
	for id := int64(1); id <= int64(requests); id++ {
		spec := asker.randomSpec()
		spec.ID = id
		o := &observer{spec: spec}
		c.mu.Lock()
		c.active[id] = o
		c.all = append(c.all, o)
		c.mu.Unlock()
		if c.s.Create(context.Background(), spec) != nil {
			return
		}
		if victim := rng.Int64N(3*id) + 1; victim < id {
			if c.s.Cancel(context.Background(), victim) != nil {
				return
			}
		}
	}
}

func writeRandom(rng *rand.Rand, store *store, batches int) {
	for range batches {
		var revisions [][]op
		for range 1 + rng.IntN(4) {
			var ops []op
			for k := range 6 {
				key := fmt.Sprintf("k%d", k)
				switch rng.IntN(6) {
				case 0:
					ops = append(ops, op{key, fmt.Appendf(nil, "v%d", rng.IntN(1000))})
				case 1:
					ops = append(ops, op{key, nil})
				}
			}
			if len(ops) > 0 {
				revisions = append(revisions, ops)
			}
		}
		if len(revisions) > 0 {
			store.commit(revisions...)
		}
	}
}

// finish waits until every client was told of the progress to the end.
func finish(t *testing.T, h *Hub, store *store, clients []*client) {
	t.Helper()
	// Watches that begin in the future must have begun.
	for range 250 {
		store.commit(put("k0", "end"))
	}
	end := store.Revision()
	deadline := time.Now().Add(time.Minute)
	for _, c := range clients {
		for {
			c.s.RequestProgress()
			c.mu.Lock()
			told := c.told
			c.mu.Unlock()
			if told >= end {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("progress %d of %d: %+v", told, end, h.Stats())
			}
			runtime.Gosched()
		}
	}
}

// told is a change as a watcher hears of it, without and with what was before.
type told struct {
	change          *statemachine.Change
	plain, previous string
}

func toldBy(store *store) (list []told) {
	before := map[string]string{}
	var revision int64
	now := map[string]string{}
	for i := range store.changes {
		c := &store.changes[i]
		key, main := string(c.Key), c.Revision.Main
		if main != revision {
			maps.Copy(before, now)
			clear(now)
			revision = main
		}
		previous := before[key]
		if c.Creates() {
			previous = ""
		}
		list = append(list, told{c, describe(key, main, c.Deleted, string(c.Value), ""), describe(key, main, c.Deleted, string(c.Value), previous)})
		now[key] = string(c.Value)
	}
	return list
}

func (c *client) compare(t *testing.T, place int, all []told) {
	t.Helper()
	checked := 0
	for _, o := range c.all {
		if !o.known {
			continue // refused
		}
		var want []string
		for i := range all {
			switch {
			case !o.watches(all[i].change):
			case o.spec.PrevKV:
				want = append(want, all[i].previous)
			default:
				want = append(want, all[i].plain)
			}
		}
		if o.ended { // anything up to its cancellation
			want = want[:min(len(o.got), len(want))]
		}
		if !slices.Equal(o.got, want) {
			t.Fatalf("client %d, %+v from %d: %d events, want %d\n got %.2000q\nwant %.2000q", place, o.spec, o.from, len(o.got), len(want), o.got, want)
		}
		checked += len(want)
	}
	if checked < 1000 {
		t.Errorf("client %d: only %d events were checked", place, checked)
	}
}
