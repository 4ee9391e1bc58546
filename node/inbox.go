package node

import (
	"sync"

	"go.etcd.io/raft/v3/raftpb"
)

// inbox collects what goroutines have for the core, for whoever drives it next.
// Messages of peers are bounded and dropped beyond the bounds; everything else is
// bounded by its sender: completions by the tasks that were handed out, calls by
// their callers that wait.
type inbox struct {
	cfg *Config

	mu struct {
		sync.Mutex
		items
		bytes   int
		dropped uint64
	}
}

type items struct {
	messages  []*raftpb.Message
	forwarded []forwarded
	leases    []leaseFrom
	writes    []writeDone
	applied   []Applied
	calls     []func(*Core)
}

type forwarded struct {
	from  uint64
	batch []byte
}

type leaseFrom struct {
	from    uint64
	message LeaseMessage
}

type writeDone struct {
	bytes int
	own   []*raftpb.Message
}

func newInbox(cfg *Config) *inbox {
	return &inbox{cfg: cfg}
}

func (b *inbox) put(f func(*items)) {
	b.mu.Lock()
	f(&b.mu.items)
	b.mu.Unlock()
}

func (b *inbox) message(m *raftpb.Message) bool {
	size := messageBytes(m)
	b.mu.Lock()
	if !b.roomLocked(len(b.mu.messages), size) {
		b.mu.Unlock()
		return false
	}
	b.mu.bytes += size
	b.mu.messages = append(b.mu.messages, m)
	b.mu.Unlock()
	return true
}

func (b *inbox) forward(from uint64, batch []byte) bool {
	b.mu.Lock()
	if !b.roomLocked(len(b.mu.forwarded), len(batch)) {
		b.mu.Unlock()
		return false
	}
	b.mu.bytes += len(batch)
	b.mu.forwarded = append(b.mu.forwarded, forwarded{from, batch})
	b.mu.Unlock()
	return true
}

func (b *inbox) lease(from uint64, m LeaseMessage) {
	b.mu.Lock()
	if !b.roomLocked(len(b.mu.leases), 0) {
		b.mu.Unlock()
		return
	}
	b.mu.leases = append(b.mu.leases, leaseFrom{from, m})
	b.mu.Unlock()
}

func (b *inbox) roomLocked(count, bytes int) bool {
	if count < b.cfg.InboxMessagesMax && (b.mu.bytes == 0 || b.mu.bytes+bytes <= b.cfg.InboxBytesMax) {
		return true
	}
	b.mu.dropped++
	return false
}

// take returns everything and leaves empty, reused slices behind.
func (b *inbox) take(empty items) items {
	b.mu.Lock()
	defer b.mu.Unlock()
	full := b.mu.items
	b.mu.items, b.mu.bytes = empty, 0
	return full
}

// reset empties the slices for reuse.
func (i items) reset() items {
	clear(i.messages)
	clear(i.forwarded)
	clear(i.leases)
	clear(i.writes)
	clear(i.applied)
	clear(i.calls)
	return items{i.messages[:0], i.forwarded[:0], i.leases[:0], i.writes[:0], i.applied[:0], i.calls[:0]}
}

func (b *inbox) droppedCount() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.dropped
}

func messageBytes(m *raftpb.Message) int {
	n := 64
	for _, e := range m.GetEntries() {
		n += len(e.GetData()) + 16
	}
	return n
}

// taskQueue hands tasks of the core to one worker, in order. Its length is
// bounded by the core: writes by Config.WriteBytesMax, applies by raft's quota
// of committed entries that are being applied.
type taskQueue[T any] struct {
	mu     sync.Mutex
	filled sync.Cond
	tasks  []T
	closed bool
}

func newTaskQueue[T any]() *taskQueue[T] {
	q := &taskQueue[T]{}
	q.filled.L = &q.mu
	return q
}

func (q *taskQueue[T]) put(tasks []T) {
	if len(tasks) == 0 {
		return
	}
	q.mu.Lock()
	q.tasks = append(q.tasks, tasks...)
	q.mu.Unlock()
	q.filled.Signal()
}

// take blocks for tasks and returns all there are; nil once the queue is closed.
func (q *taskQueue[T]) take() []T {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.tasks) == 0 && !q.closed {
		q.filled.Wait()
	}
	if q.closed {
		return nil
	}
	tasks := q.tasks
	q.tasks = nil
	return tasks
}

func (q *taskQueue[T]) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.filled.Broadcast()
}

func (q *taskQueue[T]) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.tasks)
}
