package lessor

import (
	"container/heap"
	"math"
	"time"

	"raftkv/statemachine"
	"raftkv/statemachine/envelope"
)

// held is what a Book knows of a lease. Times are milliseconds after the
// book's base: with nanoseconds the longest time to live would overflow.
type held struct {
	deadlineMS int64
	// queuedMS is the time of the lease's entry in the queue of expiries, which is
	// not later than the deadline. Entries with another one are left from a lease
	// that had the id before.
	queuedMS   int64
	ttlSeconds int64
	// recordedSeconds is what the replicated state says is left; 0: all.
	recordedSeconds int64
	// doomed: it is being revoked.
	doomed bool
}

// Book knows the deadlines of all leases during one term of a leader.
type Book struct {
	base     time.Time
	graceMS  int64 // what every lease that is loaded gets on top
	retryMS  int64
	everyMS  int64 // the checkpoint interval
	leases   map[int64]held
	expiries queue
	records  queue // of leases longer than the checkpoint interval
	// loading: gone remembers what ended meanwhile, for Load not to bring back.
	gone map[int64]struct{}
	// confirmed is when the newest question began by which a quorum confirmed that
	// this member leads; zero: none that the book knows of.
	confirmed time.Time
	window    time.Duration // how long that holds for RenewNow
}

// BookConfig sets up a Book.
type BookConfig struct {
	// Grace is what leases that are loaded get on top of what is left of them:
	// the election timeout.
	Grace time.Duration
	// RetryInterval is when a lease that expired is given out again if it was
	// not revoked.
	RetryInterval time.Duration
	// CheckpointInterval is how often what is left of a long lease is given out.
	CheckpointInterval time.Duration
}

// NewBook returns an empty book that is loading.
func NewBook(now time.Time, cfg BookConfig) *Book {
	return &Book{
		base: now, graceMS: cfg.Grace.Milliseconds(), retryMS: cfg.RetryInterval.Milliseconds(),
		everyMS: cfg.CheckpointInterval.Milliseconds(), window: cfg.Grace / 2, leases: make(map[int64]held), gone: make(map[int64]struct{}),
	}
}

func (b *Book) at(now time.Time) int64 { return now.Sub(b.base).Milliseconds() }

// Load adds a lease of the state as it was when the book began to be told of
// changes, or later.
func (b *Book) Load(now time.Time, l statemachine.Lease) {
	if _, gone := b.gone[l.ID]; gone {
		return
	}
	if _, known := b.leases[l.ID]; known {
		return
	}
	b.add(now, l, b.graceMS)
}

// Loaded says that every lease was loaded.
func (b *Book) Loaded() { b.gone = nil }

// Change follows what Apply did.
func (b *Book) Change(now time.Time, c statemachine.LeaseChange) {
	switch {
	case c.Gone:
		delete(b.leases, c.ID)
		if b.gone != nil {
			b.gone[c.ID] = struct{}{}
		}
		b.tidy()
	case c.Granted:
		if b.gone != nil {
			delete(b.gone, c.ID)
		}
		b.add(now, c.Lease, 0)
	default:
		if l, ok := b.leases[c.ID]; ok {
			l.recordedSeconds = c.RemainingSeconds
			b.leases[c.ID] = l
		} else if b.gone != nil {
			b.add(now, c.Lease, b.graceMS) // Load has not come to it
		}
	}
}

func (b *Book) add(now time.Time, l statemachine.Lease, graceMS int64) {
	left := l.TTLSeconds
	if l.RemainingSeconds > 0 {
		left = l.RemainingSeconds
	}
	h := held{deadlineMS: b.at(now) + 1000*left + graceMS, ttlSeconds: l.TTLSeconds, recordedSeconds: l.RemainingSeconds}
	h.queuedMS = h.deadlineMS
	b.leases[l.ID] = h
	heap.Push(&b.expiries, item{h.deadlineMS, l.ID})
	if 1000*l.TTLSeconds > b.everyMS {
		heap.Push(&b.records, item{b.at(now) + b.everyMS, l.ID})
	}
}

// State is what became of a lease that was asked for.
type State uint8

// States.
const (
	// Unknown: there is no such lease.
	Unknown State = iota
	// Live: the answer is what it says.
	Live
	// Expiring: it is over and will be revoked, by this leader or perhaps not.
	Expiring
	// Recorded: something is recorded as remaining, which must be withdrawn
	// before the lease can be renewed.
	Recorded
)

// Renew starts the time to live of a lease anew and returns it.
func (b *Book) Renew(now time.Time, id int64) (ttlSeconds int64, state State) {
	l, ok := b.leases[id]
	switch {
	case !ok:
		return 0, Unknown
	case l.doomed || l.deadlineMS <= b.at(now):
		return 0, Expiring
	case l.recordedSeconds > 0:
		return 0, Recorded
	}
	// Never earlier than before: a grace may reach further.
	l.deadlineMS = max(l.deadlineMS, b.at(now)+1000*l.ttlSeconds)
	b.leases[id] = l
	return l.ttlSeconds, Live
}

// Confirmed says that a quorum has confirmed, after begun, that this member leads
// the term of the book.
func (b *Book) Confirmed(begun time.Time) {
	if begun.After(b.confirmed) {
		b.confirmed = begun
	}
}

// RenewNow renews a lease without asking a quorum; false: it has to be asked. The
// leadership was confirmed less than half a grace ago, so whoever may lead by
// now has read the leases after that, and gives each a whole grace more than the
// time to live that is answered here. That a lease is not there is never said
// this way: another leader may have granted it.
func (b *Book) RenewNow(now time.Time, id int64) (ttlSeconds int64, ok bool) {
	if b.gone != nil || b.confirmed.IsZero() || since(b.confirmed, now) >= b.window {
		return 0, false
	}
	ttlSeconds, state := b.Renew(now, id)
	return ttlSeconds, state == Live
}

// since is the time that went by, by the monotonic clock or by that of the wall
// if it says more: the first stands still while the machine sleeps, and perhaps
// while its virtual machine is paused.
func since(begun, now time.Time) time.Duration {
	return max(now.Sub(begun), now.Round(0).Sub(begun.Round(0)).Abs())
}

// Left returns what is left of a lease, and what was granted.
func (b *Book) Left(now time.Time, id int64) (left time.Duration, ttlSeconds int64, state State) {
	l, ok := b.leases[id]
	if !ok {
		return 0, 0, Unknown
	}
	leftMS := max(0, l.deadlineMS-b.at(now))
	if leftMS > math.MaxInt64/int64(time.Millisecond) {
		return math.MaxInt64, l.ttlSeconds, Live
	}
	return time.Duration(leftMS) * time.Millisecond, l.ttlSeconds, Live
}

// Len is the number of leases.
func (b *Book) Len() int { return len(b.leases) }

// AnyExpired tells whether Expired would return something.
func (b *Book) AnyExpired(now time.Time) bool { return len(b.expired(now, 1, false)) > 0 }

// Expired returns up to limit leases to be revoked. One that is not revoked
// within the retry interval is returned again.
func (b *Book) Expired(now time.Time, limit int) []int64 { return b.expired(now, limit, true) }

func (b *Book) expired(now time.Time, limit int, take bool) (ids []int64) {
	nowMS := b.at(now)
	for len(b.expiries) > 0 && len(ids) < limit {
		first := &b.expiries[0]
		l, ok := b.leases[first.id]
		switch {
		case first.atMS > nowMS:
			return ids
		case !ok || l.queuedMS != first.atMS:
			heap.Pop(&b.expiries)
		case l.deadlineMS > nowMS: // it was renewed
			b.requeue(l, l.deadlineMS)
		default:
			ids = append(ids, first.id)
			if !take {
				return ids
			}
			l.doomed = true
			b.requeue(l, nowMS+b.retryMS)
		}
	}
	return ids
}

// requeue puts the first entry of the expiries, which is l's, at another time.
func (b *Book) requeue(l held, atMS int64) {
	l.queuedMS = atMS
	first := &b.expiries[0]
	b.leases[first.id] = l
	first.atMS = atMS
	heap.Fix(&b.expiries, 0)
}

// Due returns up to limit leases of which less is left than is recorded, by at
// least the checkpoint interval.
func (b *Book) Due(now time.Time, limit int) (due []envelope.RemainingTTL) {
	nowMS := b.at(now)
	for len(b.records) > 0 && len(due) < limit && b.records[0].atMS <= nowMS {
		first := &b.records[0]
		l, ok := b.leases[first.id]
		leftMS := l.deadlineMS - nowMS
		if !ok || l.doomed || leftMS <= 0 {
			heap.Pop(&b.records)
			continue
		}
		id, known := first.id, l.ttlSeconds
		if l.recordedSeconds > 0 {
			known = l.recordedSeconds
		}
		first.atMS = nowMS + b.everyMS
		heap.Fix(&b.records, 0)
		// A second more is not too much: a lease lives at least its time.
		left := (leftMS + 999) / 1000
		if 1000*(known-left) >= b.everyMS {
			due = append(due, envelope.RemainingTTL{ID: id, Seconds: left})
			// From here on it may be recorded: a renewal meanwhile must withdraw it.
			l.recordedSeconds = left
			b.leases[id] = l
		}
	}
	return due
}

// tidyMin is how many entries a queue may have in any case.
const tidyMin = 1024

// tidy makes a queue anew once most of its entries are of leases that have
// gone, or were granted again since.
func (b *Book) tidy() {
	if len(b.expiries) >= max(tidyMin, 2*len(b.leases)) {
		all := make(queue, 0, len(b.leases))
		for id, l := range b.leases {
			all = append(all, item{l.queuedMS, id})
		}
		heap.Init(&all)
		b.expiries = all
	}
	if len(b.records) >= max(tidyMin, 2*len(b.leases)) {
		first := make(map[int64]int64, len(b.leases))
		for _, i := range b.records {
			at, ok := first[i.id]
			if _, known := b.leases[i.id]; known && (!ok || i.atMS < at) {
				first[i.id] = i.atMS
			}
		}
		all := make(queue, 0, len(first))
		for id, at := range first {
			all = append(all, item{at, id})
		}
		heap.Init(&all)
		b.records = all
	}
}

// item is an entry of a queue: a lease and when to look at it.
type item struct {
	atMS int64
	id   int64
}

// queue is a heap of items, the earliest first; equal times in the order of
// ids, so that the order is the same for everyone.
type queue []item

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return q[i].atMS < q[j].atMS || q[i].atMS == q[j].atMS && q[i].id < q[j].id
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(item)) }
func (q *queue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}
