package watch

import (
	"sync/atomic"

	"raftkv/rpc/feed"
	"raftkv/statemachine"
)

// bundle is a list of events that several watchers get. Its events never change;
// held counts its bytes until the last queue has let it go.
type bundle struct {
	events []*feed.Event
	bytes  int64
	refs   atomic.Int32
	held   *atomic.Int64
}

// newBundle returns one with a reference of the caller's.
func newBundle(events []*feed.Event, held *atomic.Int64) *bundle {
	b := &bundle{events: events, held: held}
	for _, e := range events {
		b.bytes += int64(e.Size())
	}
	b.refs.Store(1)
	held.Add(b.bytes)
	return b
}

func (b *bundle) acquire() { b.refs.Add(1) }

func (b *bundle) release() {
	if b.refs.Add(-1) == 0 {
		b.held.Add(-b.bytes)
	}
}

func (b *bundle) first() int64 { return b.events[0].Revision }
func (b *bundle) last() int64  { return b.events[len(b.events)-1].Revision }

// from returns the events from a revision on.
func from(events []*feed.Event, revision int64) []*feed.Event {
	for len(events) > 0 && events[0].Revision < revision {
		events = events[1:]
	}
	return events
}

// collation makes the events of some changes, each once, for the watchers of an
// index.
type collation struct {
	changes       []statemachine.Change
	plain, prevKV []*feed.Event // made when first needed
	previous      []*statemachine.KeyValue
	groups        []*group // that watch any of the changes
}

// collate finds the groups of an index that changes concern, and reads what was
// before them for those who want to know.
func collate(x *index, changes []statemachine.Change, history History) (*collation, error) {
	c := &collation{changes: changes}
	if x.size == 0 {
		return c, nil
	}
	for i := range changes {
		x.find(changes[i].Key, func(g *group) {
			if len(g.matched) == 0 {
				c.groups = append(c.groups, g)
			}
			g.matched = append(g.matched, i)
		})
	}
	return c, c.readPrevious(history)
}

func (c *collation) readPrevious(history History) error {
	places := make([]int, 0)
	needed := make([]bool, len(c.changes))
	for _, g := range c.groups {
		wanted := false
		for _, w := range g.watchers {
			wanted = wanted || w.spec.PrevKV
		}
		for _, i := range g.matched {
			if wanted && !needed[i] {
				needed[i] = true
				places = append(places, i)
			}
		}
	}
	if len(places) == 0 {
		return nil
	}
	asked := make([]statemachine.Change, len(places))
	for i, place := range places {
		asked[i] = c.changes[place]
	}
	found, err := history.Previous(asked)
	if err != nil {
		return err
	}
	c.previous = make([]*statemachine.KeyValue, len(c.changes))
	for i, place := range places {
		c.previous[place] = found[i]
	}
	return nil
}

// end makes the groups forget the changes.
func (c *collation) end() {
	for _, g := range c.groups {
		g.matched = g.matched[:0]
		if cap(g.matched) > 1024 {
			g.matched = nil
		}
	}
}

// deliver calls give for every watcher of the groups with the events it gets.
// Watchers share bundles; give acquires the one it keeps.
func (c *collation) deliver(held *atomic.Int64, give func(*watcher, *bundle)) {
	for _, g := range c.groups {
		var lists [variants]*bundle
		var made [variants]bool
		for _, w := range g.watchers {
			v := w.variant()
			if !made[v] {
				made[v] = true
				if events := c.list(g, v); len(events) > 0 {
					lists[v] = newBundle(events, held)
				}
			}
			giveFrom(w, lists[v], held, give)
		}
		for _, b := range lists {
			if b != nil {
				b.release()
			}
		}
	}
}

// giveFrom gives a watcher what it was not given before.
func giveFrom(w *watcher, b *bundle, held *atomic.Int64, give func(*watcher, *bundle)) {
	switch {
	case b == nil || b.last() < w.next:
	case b.first() >= w.next:
		give(w, b)
	default:
		own := newBundle(from(b.events, w.next), held)
		give(w, own)
		own.release()
	}
}

func (c *collation) list(g *group, v int) (list []*feed.Event) {
	for _, i := range g.matched {
		if deleted := c.changes[i].Deleted; (deleted && v&withoutDeletes != 0) || (!deleted && v&withoutPuts != 0) {
			continue
		}
		list = append(list, c.event(i, v&withPrevious != 0))
	}
	return list
}

// event encodes a change, unless that was done before.
func (c *collation) event(i int, prevKV bool) *feed.Event {
	made, previous := &c.plain, (*statemachine.KeyValue)(nil)
	if prevKV && c.previous != nil && c.previous[i] != nil {
		made, previous = &c.prevKV, c.previous[i]
	}
	if *made == nil {
		*made = make([]*feed.Event, len(c.changes))
	}
	if (*made)[i] == nil {
		(*made)[i] = feed.NewEvent(&c.changes[i], previous)
	}
	return (*made)[i]
}

// divide cuts changes into pieces of about bundleBytesMax, each of whole
// revisions.
func divide(changes []statemachine.Change) (pieces [][]statemachine.Change) {
	start, bytes := 0, 0
	for i := range changes {
		if bytes >= bundleBytesMax && changes[i].Revision.Main != changes[i-1].Revision.Main {
			pieces = append(pieces, changes[start:i])
			start, bytes = i, 0
		}
		bytes += len(changes[i].Key) + len(changes[i].Value)
	}
	if start < len(changes) {
		pieces = append(pieces, changes[start:])
	}
	return pieces
}
