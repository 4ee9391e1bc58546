package node

import (
	"encoding/binary"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"go.etcd.io/raft/v3"
)

// ReadRound is one ReadIndex exchange with the leader that answers every read
// which joined it before it was sent (raft thesis, section 6.4).
type ReadRound struct {
	done chan struct{}
	err  error

	// Guarded by reads.mu until the round is sent, owned by the loop then.
	readers int
	// asked are the rounds of followers that joined this one of their leader.
	asked []readRequest

	// Owned by the loop.
	context  uint64
	index    uint64 // 0 until the leader confirmed one
	sentTick uint64
	sentTerm uint64
}

// readRequest is what a follower asked its leader for.
type readRequest struct {
	from    uint64
	context []byte
}

// askedMax bounds the requests of followers in a round. A member has few under
// way; what is beyond that is dropped, and asked again.
const askedMax = 256

// Done is closed when reads of the round may run on the local state, or when
// the node stopped; Err tells the two apart.
func (r *ReadRound) Done() <-chan struct{} { return r.done }

// Err is nil when the round was confirmed. Valid once Done is closed.
func (r *ReadRound) Err() error { return r.err }

// reads collects readers into rounds. Readers join under the lock; everything
// about rounds in flight belongs to the loop.
//
// A round costs every member messages, however many share it. So a second one is
// sent beside one in flight only for as many readers as that has: a few readers
// hardly wait for each other, and many make few rounds, each for many.
type reads struct {
	id, boot uint64
	max      int

	mu struct {
		sync.Mutex
		joining *ReadRound // takes readers; not sent yet; nil if there are none
		// enough readers make a round that the loop would send now.
		enough  int
		stopped bool
	}

	inflight    []*ReadRound
	lastContext uint64
}

func newReads(cfg *Config) *reads {
	r := &reads{id: cfg.ID, boot: cfg.Boot, max: cfg.ReadRoundsMax}
	r.mu.enough = 1
	return r
}

// join returns the round that answers a read which starts now, and whether the
// loop has to be woken to send it.
func (r *reads) join() (round *ReadRound, wake bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.stopped {
		return nil, false, ErrStopped
	}
	round = r.joiningLocked()
	round.readers++
	return round, round.readers == r.mu.enough, nil
}

func (r *reads) joiningLocked() *ReadRound {
	if r.mu.joining == nil {
		r.mu.joining = &ReadRound{done: make(chan struct{})}
	}
	return r.mu.joining
}

// joinFor adds a follower's request to the next round of this leader, by which
// all requests that wait are confirmed together.
func (r *reads) joinFor(request readRequest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if round := r.joiningLocked(); len(round.asked) < askedMax {
		round.readers++
		round.asked = append(round.asked, request)
	}
}

// start returns the context of a round to send now, or nil.
// free: a round costs no messages, so that readers need not wait for others.
func (r *reads) start(tick, term uint64, free bool) []byte {
	r.mu.Lock()
	round := r.mu.joining
	r.mu.enough = r.enough(tick, free)
	if round == nil || round.readers < r.mu.enough {
		r.mu.Unlock()
		return nil
	}
	r.mu.joining = nil
	r.mu.Unlock()
	r.inflight = append(r.inflight, round)
	return r.sent(round, tick, term)
}

// enough is how many readers a round needs that is sent now.
func (r *reads) enough(tick uint64, free bool) int {
	if len(r.inflight) >= r.max {
		return math.MaxInt
	}
	if len(r.inflight) == 0 || free {
		return 1
	}
	newest := r.inflight[len(r.inflight)-1]
	if tick-newest.sentTick > 1 {
		return 1 // it may be lost
	}
	return newest.readers
}

// sent gives the round a context that was never used before: the leader keeps
// requests by context, and an answer to an earlier one must not confirm a
// later one (etcd#21399).
func (r *reads) sent(round *ReadRound, tick, term uint64) []byte {
	r.lastContext++
	round.context, round.sentTick, round.sentTerm = r.lastContext, tick, term
	b := make([]byte, 0, 24)
	b = binary.BigEndian.AppendUint64(b, r.id)
	b = binary.BigEndian.AppendUint64(b, r.boot)
	return binary.BigEndian.AppendUint64(b, round.context)
}

// retry returns fresh contexts for the rounds that have waited retryTicks or
// were sent in another term; raft drops requests silently when leadership is
// in doubt.
func (r *reads) retry(tick, term uint64, retryTicks uint64) [][]byte {
	var contexts [][]byte
	for _, round := range r.inflight {
		if round.index == 0 && (round.sentTerm != term || tick-round.sentTick >= retryTicks) {
			contexts = append(contexts, r.sent(round, tick, term))
		}
	}
	return contexts
}

// confirmed records the index of a round and returns the requests of followers
// that are thereby answered. Answers to superseded contexts are ignored.
func (r *reads) confirmed(context []byte, index uint64) (answered []readRequest) {
	if len(context) != 24 || binary.BigEndian.Uint64(context) != r.id || binary.BigEndian.Uint64(context[8:]) != r.boot {
		return nil
	}
	c := binary.BigEndian.Uint64(context[16:])
	for _, round := range r.inflight {
		if round.context == c && round.index == 0 {
			round.index = index
			answered = append(answered, round.asked...)
			round.asked = nil
		}
	}
	return answered
}

// readRounds counts the rounds of reads that this member confirmed as leader,
// its own and those of others.
type readRounds struct{ byLease, byQuorum atomic.Uint64 }

// ReadRounds returns how many rounds of reads this member has confirmed as
// leader: by its lease, and by an exchange with a quorum that was begun.
func (c *Core) ReadRounds() (byLease, byQuorum uint64) {
	return c.confirmed.byLease.Load(), c.confirmed.byQuorum.Load()
}

// readIndex has a round of reads confirmed: at once by this member's lease, or
// by raft.
func (c *Core) readIndex(context []byte) {
	if c.leaseHolds() {
		c.confirmed.byLease.Add(1)
		commit := c.rn.BasicStatus().GetCommit()
		c.answerReads(c.reads.confirmed(context, commit), commit)
		return
	}
	if c.rn.BasicStatus().RaftState == raft.StateLeader {
		c.confirmed.byQuorum.Add(1)
	}
	c.rn.ReadIndex(context)
}

// readFor answers a follower that asks this leader for a round of reads: at once
// by the lease, or by the next round.
func (c *Core) readFor(request readRequest) {
	if c.leaseHolds() {
		c.confirmed.byLease.Add(1)
		c.answerReads([]readRequest{request}, c.rn.BasicStatus().GetCommit())
		return
	}
	c.reads.joinFor(request)
}

// release lets the readers go whose index is applied, and reports whether there
// were any.
func (r *reads) release(applied uint64) bool {
	before := len(r.inflight)
	r.inflight = slices.DeleteFunc(r.inflight, func(round *ReadRound) bool {
		if round.index == 0 || round.index > applied {
			return false
		}
		close(round.done)
		return true
	})
	return len(r.inflight) < before
}

func (r *reads) stop() {
	r.mu.Lock()
	r.mu.stopped = true
	joining := r.mu.joining
	r.mu.joining = nil
	r.mu.Unlock()
	if joining != nil {
		r.inflight = append(r.inflight, joining)
	}
	for _, round := range r.inflight {
		round.err = ErrStopped
		close(round.done)
	}
	r.inflight = nil
}
