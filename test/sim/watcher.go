package sim

import (
	"errors"
	"math/rand/v2"

	"raftkv/statemachine"
)

// record is what happened to the key space, by revision, as the first watcher
// that came to a revision was told. All others have to be told the same.
type record struct {
	s *simulation
	// changes of revision firstRevision and those behind it.
	changes [][]change
	// compacted is the highest revision that somebody asked to compact.
	compacted int64
}

// firstRevision is that of the first write of a new cluster.
const firstRevision = 2

// change is one event of a watch.
type change struct {
	key, value string
	deleted    bool
	create     int64
	version    int64
	lease      int64
}

// last is the newest revision that is known.
func (r *record) last() int64 { return firstRevision - 1 + int64(len(r.changes)) }

// at returns what a revision changed; nil if it is not known.
func (r *record) at(revision int64) []change {
	if revision < firstRevision || revision > r.last() {
		return nil
	}
	return r.changes[revision-firstRevision]
}

// told takes note of what a watcher of a member was told of a revision.
func (r *record) told(h *host, revision int64, changes []change) {
	known := r.at(revision)
	switch {
	case known == nil && revision == r.last()+1:
		r.changes = append(r.changes, changes)
		return
	case known == nil:
		r.s.check.fail("watch: a watcher at member %d is told of revision %d, nobody knows %d", h.id, revision, r.last()+1)
		return
	}
	same := len(known) == len(changes)
	for i := range min(len(known), len(changes)) {
		same = same && known[i] == changes[i]
	}
	if !same {
		r.s.check.fail("watch: a watcher at member %d is told that revision %d is %+v, another was told %+v", h.id, revision, changes, known)
	}
}

// watcher is a client that watches everything through one member. It outlives
// the member's processes, as one that connects again: then it asks for what
// follows the last revision that it was told of.
type watcher struct {
	host *host
	rng  *rand.Rand
	// next is what the member takes for the first revision that it was not told of,
	// seen the last one that the client was told of: what is between is lost.
	next, seen int64
}

const (
	watchQueueMax = 4 // batches; more are left to the history
	watchScanMax  = 40
)

// feed is what Apply publishes, in one process: a bounded queue as between
// Apply and the hub of a server. Which batches are collected is left to chance,
// as when watchers come and go.
type feed struct {
	p      *process
	queue  []statemachine.Progress
	missed bool // the queue was full
}

// Wants implements statemachine.Follower.
func (f *feed) Wants() bool { return f.p.host.watcher.rng.IntN(8) > 0 }

// Advance implements statemachine.Follower.
func (f *feed) Advance(progress statemachine.Progress) {
	switch {
	case len(f.queue) < watchQueueMax:
		f.queue = append(f.queue, progress)
	default:
		f.missed = true
	}
	if !progress.Collected {
		f.p.s.report.WatchSkips++
	}
	if len(f.queue) == 1 {
		f.p.after(f.p.some(watchTime), f.deliver)
	}
}

// deliver hands out what waits.
func (f *feed) deliver() {
	w := f.p.host.watcher
	for _, progress := range f.queue {
		w.take(f.p, progress)
	}
	if f.missed {
		w.catchUp(f.p)
	}
	f.queue, f.missed = nil, false
}

// take takes a batch, or what the history has in its place.
func (w *watcher) take(p *process, progress statemachine.Progress) {
	switch {
	case progress.To < w.next:
	case progress.Collected && progress.From <= w.next:
		w.tell(p, progress.Changes, progress.To)
	case p.s.opts.Planted == SkippedInstall:
		w.next = progress.To + 1
	default:
		w.catchUp(p)
	}
}

// catchUp reads what is missing from the history of the member, a little at a
// time.
func (w *watcher) catchUp(p *process) {
	if !p.state.Initialized() {
		return
	}
	for w.next <= p.state.Revision() {
		limits := statemachine.HistoryLimits{ScanMax: 1 + w.rng.IntN(watchScanMax), BytesMax: 1 + w.rng.IntN(1<<12)}
		piece, err := p.state.History(w.next, limits, nil)
		switch {
		case errors.Is(err, statemachine.ErrCompacted):
			// Such a watch is cancelled; its client begins again where it can.
			if piece.Compacted <= w.next || piece.Compacted > p.s.record.compacted {
				p.s.check.fail("watch: member %d says that revision %d is compacted up to %d, asked for were %d at most",
					p.host.id, w.next, piece.Compacted, p.s.record.compacted)
				return
			}
			p.s.report.WatchesCancelled++
			w.next, w.seen = piece.Compacted, piece.Compacted-1
		case err != nil:
			p.s.fail("member %d: history from %d: %v", p.host.id, w.next, err)
			return
		case piece.Next <= w.next:
			p.s.fail("member %d: history from %d does not move on", p.host.id, w.next)
			return
		default:
			w.tell(p, piece.Changes, piece.Next-1)
		}
	}
}

// tell gives the watcher the changes that it was not given yet, with which
// everything up to revision to is done.
func (w *watcher) tell(p *process, changes []statemachine.Change, to int64) {
	for len(changes) > 0 {
		n, revision := 1, changes[0].Revision.Main
		for n < len(changes) && changes[n].Revision.Main == revision {
			n++
		}
		if revision > w.next {
			break
		}
		if revision == w.next {
			w.receive(p, revision, plain(changes[:n]))
			w.next++
		}
		changes = changes[n:]
	}
	if w.next <= to {
		p.s.check.fail("watch: a watcher at member %d is told of revisions up to %d, but not of %d", p.host.id, to, w.next)
		w.next = to + 1
	}
}

// receive is the client's end. Every revision changes something, so it knows
// which one comes next.
func (w *watcher) receive(p *process, revision int64, changes []change) {
	p.s.report.WatchEvents += len(changes)
	if revision != w.seen+1 {
		p.s.check.fail("watch: a watcher at member %d is told of revision %d behind %d", w.host.id, revision, w.seen)
	}
	w.seen = revision
	p.s.record.told(w.host, revision, changes)
}

func plain(changes []statemachine.Change) []change {
	out := make([]change, len(changes))
	for i := range changes {
		c := &changes[i]
		out[i] = change{key: string(c.Key), deleted: c.Deleted}
		if !c.Deleted {
			out[i].value, out[i].create, out[i].version, out[i].lease = string(c.Value), c.CreateRevision, c.Version, c.Lease
		}
	}
	return out
}
