package peer

import (
	"sync"

	"go.etcd.io/raft/v3/raftpb"

	"raftkv/node"
	"raftkv/rpc/peer/peerpb"
)

// item is a raft message, a forwarded batch, or about a leader lease.
type item struct {
	message   *raftpb.Message
	lease     *peerpb.LeaderLease
	batch     []byte
	sizeBytes int
}

func messageItem(m *raftpb.Message) item {
	n := 64 + len(m.GetContext())
	for _, e := range m.GetEntries() {
		n += 24 + len(e.GetData())
	}
	return item{message: m, sizeBytes: n}
}

func leaseItem(m node.LeaseMessage) item {
	return item{sizeBytes: 64, lease: &peerpb.LeaderLease{
		Term: m.Term, SentAtNs: int64(m.SentAt), LengthNs: int64(m.Length), Promise: m.Promise,
	}}
}

func batchItem(batch []byte) item { return item{batch: batch, sizeBytes: 8 + len(batch)} }

// queue holds what one lane has to send. It is bounded by count and bytes; what
// comes when it is full, or closed, is dropped.
type queue struct {
	messagesMax, bytesMax int
	ready                 chan struct{} // capacity 1: something may be there

	mu struct {
		sync.Mutex
		items   []item
		bytes   int
		closed  bool
		dropped uint64
	}
}

func newQueue(messagesMax, bytesMax int) *queue {
	return &queue{messagesMax: messagesMax, bytesMax: bytesMax, ready: make(chan struct{}, 1)}
}

// put reports whether the item was taken. One item alone may exceed the bound
// in bytes.
func (q *queue) put(i item) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	full := len(q.mu.items) >= q.messagesMax || len(q.mu.items) > 0 && q.mu.bytes+i.sizeBytes > q.bytesMax
	if q.mu.closed || full || i.sizeBytes > MaxFrameBytes-frameOverheadBytes {
		q.mu.dropped++
		return false
	}
	q.mu.items = append(q.mu.items, i)
	q.mu.bytes += i.sizeBytes
	return true
}

// wake tells the lane's goroutine that something may be there.
func (q *queue) wake() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// frameOverheadBytes is more than a frame adds to the messages in it.
const frameOverheadBytes = 4 << 10

// take moves items to a frame until it has frameBytes, about; nil if there are
// none.
func (q *queue) take(frameBytes int) (f *peerpb.Frame, bytes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, messages := 0, 0
	for n < len(q.mu.items) && (n == 0 || bytes+q.mu.items[n].sizeBytes <= frameBytes) {
		bytes += q.mu.items[n].sizeBytes
		if q.mu.items[n].message != nil {
			messages++
		}
		n++
	}
	if n == 0 {
		return nil, 0
	}
	f = &peerpb.Frame{}
	if messages > 0 {
		f.Messages = make([]*raftpb.Message, 0, messages)
	}
	for _, i := range q.mu.items[:n] {
		switch {
		case i.message != nil:
			f.Messages = append(f.Messages, i.message)
		case i.lease != nil:
			f.Leases = append(f.Leases, i.lease)
		default:
			f.Batches = append(f.Batches, i.batch)
		}
	}
	q.mu.bytes -= bytes
	rest := copy(q.mu.items, q.mu.items[n:])
	clear(q.mu.items[rest:])
	q.mu.items = q.mu.items[:rest]
	return f, bytes
}

// discard drops everything; a closed queue takes nothing until open.
func (q *queue) discard(closed bool) (dropped int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	dropped = len(q.mu.items)
	q.mu.dropped += uint64(dropped)
	clear(q.mu.items)
	q.mu.items, q.mu.bytes, q.mu.closed = q.mu.items[:0], 0, closed
	return dropped
}

func (q *queue) open() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.mu.closed = false
}

func (q *queue) stats() (messages, bytes int, dropped uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.mu.items), q.mu.bytes, q.mu.dropped
}
