package watch

import (
	"sync/atomic"

	"go.etcd.io/etcd/pkg/v3/adt"

	"raftkv/rpc/feed"
)

// watcher is one watch of a stream. Hub.mu guards what changes.
type watcher struct {
	stream *Stream
	spec   feed.Spec
	id     int64
	// next is the first revision that the watcher was not given; while it is
	// synced what the Hub handed out counts, too.
	next int64
	// place is where it stands in its group while it is in the Hub's index.
	group *group
	place int
	// missed is the first revision that did not fit into the queue of its stream
	// while a batch is handed out; 0: none.
	missed int64
	// compacted: it was cancelled because of a compaction; its id stays taken
	// until the client cancels it, as in etcd.
	compacted bool
	// gone: cancelled; nothing is sent any more.
	gone atomic.Bool
	// known belongs to the sender: its creation was sent.
	known bool

	// Of Stream.mu: quiet is whether no event was sent since the last progress
	// interval, announced whether a message of progress waits in the queue.
	quiet, announced bool
}

// What of a change a watcher gets, as bits.
const (
	withoutPuts = 1 << iota
	withoutDeletes
	withPrevious

	variants = 1 << iota
)

func (w *watcher) variant() (v int) {
	if w.spec.NoPut {
		v |= withoutPuts
	}
	if w.spec.NoDelete {
		v |= withoutDeletes
	}
	if w.spec.PrevKV {
		v |= withPrevious
	}
	return v
}

// single tells whether one key is watched.
func (w *watcher) single() bool { return w.spec.End == nil }

func (w *watcher) interval() adt.Interval {
	return adt.NewStringAffineInterval(string(w.spec.Key), string(w.spec.End))
}

// group is the watchers of one key, or of one range.
type group struct {
	watchers []*watcher
	// matched are the changes of the batch at hand, by their place in it.
	matched []int
}

func (g *group) add(w *watcher) {
	w.group, w.place = g, len(g.watchers)
	g.watchers = append(g.watchers, w)
}

func (g *group) remove(w *watcher) {
	last := len(g.watchers) - 1
	moved := g.watchers[last]
	g.watchers[w.place], moved.place = moved, w.place
	g.watchers[last] = nil
	g.watchers, w.group = g.watchers[:last], nil
}

// index finds the watchers of a key.
type index struct {
	keys   map[string]*group
	ranges adt.IntervalTree // of *group
	size   int
}

func newIndex() *index {
	return &index{keys: make(map[string]*group), ranges: adt.NewIntervalTree()}
}

func (x *index) add(w *watcher) {
	x.size++
	if w.single() {
		g := x.keys[string(w.spec.Key)]
		if g == nil {
			g = &group{}
			x.keys[string(w.spec.Key)] = g
		}
		g.add(w)
		return
	}
	if found := x.ranges.Find(w.interval()); found != nil {
		found.Val.(*group).add(w)
		return
	}
	g := &group{}
	g.add(w)
	x.ranges.Insert(w.interval(), g)
}

func (x *index) remove(w *watcher) {
	x.size--
	g := w.group
	g.remove(w)
	switch {
	case len(g.watchers) > 0:
	case w.single():
		delete(x.keys, string(w.spec.Key))
	default:
		x.ranges.Delete(w.interval())
	}
}

// contains tells whether anybody watches a key.
func (x *index) contains(key []byte) bool {
	if _, ok := x.keys[string(key)]; ok {
		return true
	}
	return x.ranges.Len() > 0 && x.ranges.Intersects(adt.NewStringAffinePoint(string(key)))
}

// find calls f for the groups that watch a key.
func (x *index) find(key []byte, f func(*group)) {
	if g, ok := x.keys[string(key)]; ok {
		f(g)
	}
	if x.ranges.Len() == 0 {
		return
	}
	for _, v := range x.ranges.Stab(adt.NewStringAffinePoint(string(key))) {
		f(v.Val.(*group))
	}
}
