package node

import (
	"encoding/binary"
	"slices"
	"sync"
)

// ReadRound is one ReadIndex exchange with the leader that answers every read
// which joined it before it was sent (raft thesis, section 6.4).
type ReadRound struct {
	done chan struct{}
	err  error

	// Owned by the loop.
	context  uint64
	index    uint64 // 0 until the leader confirmed one
	sentTick uint64
	sentTerm uint64
}

// Done is closed when reads of the round may run on the local state, or when
// the node stopped; Err tells the two apart.
func (r *ReadRound) Done() <-chan struct{} { return r.done }

// Err is nil when the round was confirmed. Valid once Done is closed.
func (r *ReadRound) Err() error { return r.err }

// reads collects readers into rounds. Readers join under the lock; everything
// about rounds in flight belongs to the loop.
type reads struct {
	id, boot uint64
	max      int

	mu struct {
		sync.Mutex
		joining *ReadRound // takes readers; not sent yet; nil if there are none
		stopped bool
	}

	inflight    []*ReadRound
	lastContext uint64
}

func newReads(cfg *Config) *reads {
	return &reads{id: cfg.ID, boot: cfg.Boot, max: cfg.ReadRoundsMax}
}

// join returns the round that answers a read which starts now, and whether the
// loop has to be woken to send it.
func (r *reads) join() (round *ReadRound, first bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.stopped {
		return nil, false, ErrStopped
	}
	if r.mu.joining == nil {
		r.mu.joining = &ReadRound{done: make(chan struct{})}
		first = true
	}
	return r.mu.joining, first, nil
}

// start returns the context of a round to send now, or nil.
func (r *reads) start(tick, term uint64) []byte {
	if len(r.inflight) >= r.max {
		return nil
	}
	r.mu.Lock()
	round := r.mu.joining
	r.mu.joining = nil
	r.mu.Unlock()
	if round == nil {
		return nil
	}
	r.inflight = append(r.inflight, round)
	return r.sent(round, tick, term)
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

// confirmed records the index of a round. Answers to superseded contexts are
// ignored.
func (r *reads) confirmed(context []byte, index uint64) {
	if len(context) != 24 || binary.BigEndian.Uint64(context) != r.id || binary.BigEndian.Uint64(context[8:]) != r.boot {
		return
	}
	c := binary.BigEndian.Uint64(context[16:])
	for _, round := range r.inflight {
		if round.context == c && round.index == 0 {
			round.index = index
		}
	}
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
