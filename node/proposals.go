package node

import (
	"slices"
	"sync"
)

// Result answers one proposed command.
type Result struct {
	// Value is the state machine's answer; nil when Err is set.
	Value any
	// Index is the log entry that carried the command, 0 if it is not known.
	Index uint64
	// Err is the state machine's refusal or one of this package's errors.
	Err error
}

// Pending is one command on its way.
type Pending struct {
	command   []byte
	done      chan Result
	abandoned bool // guarded by proposals.mu
	taken     bool // guarded by proposals.mu: it has left the queue
}

// Done delivers the result, once.
func (p *Pending) Done() <-chan Result { return p.done }

// batch is a set of commands that share one log entry.
type batch struct {
	id       uint64
	pendings []*Pending
	data     []byte
	// The leader and term it was last handed to; term 0: to nobody yet.
	sentTo   uint64
	sentTerm uint64
	sentTick uint64
}

// proposals holds the commands that wait to be packed and the batches that are
// proposed but not applied.
//
// Clients enqueue and abandon, the loop takes batches, the applier answers.
// A batch is registered before it can be proposed, so its answer always finds
// it (invariant 8).
type proposals struct {
	self, boot uint64
	cfg        *Config

	mu struct {
		sync.Mutex
		queue      []*Pending // in order; holds abandoned ones until swept
		abandoned  int        // of the queue
		queueBytes int        // of those that still wait
		inflight   map[uint64]*batch
		bytes      int // payload bytes in flight
		next       uint64
		stopped    bool
	}
}

func newProposals(cfg *Config) *proposals {
	p := &proposals{self: cfg.ID, boot: cfg.Boot, cfg: cfg}
	p.mu.inflight = make(map[uint64]*batch)
	p.mu.next = 1
	return p
}

// enqueue admits a command or refuses it at once.
func (p *proposals) enqueue(command []byte) (*Pending, error) {
	if len(command) > p.cfg.CommandBytesMax {
		return nil, ErrTooLarge
	}
	pending := &Pending{command: command, done: make(chan Result, 1)}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.mu.stopped:
		return nil, ErrStopped
	case len(p.mu.queue)-p.mu.abandoned >= p.cfg.QueueCommandsMax,
		p.mu.queueBytes > 0 && p.mu.queueBytes+len(command) > p.cfg.QueueBytesMax:
		return nil, ErrBusy
	}
	p.mu.queue = append(p.mu.queue, pending)
	p.mu.queueBytes += len(command)
	return pending, nil
}

// abandon gives up waiting. The returned result says whether the command can
// still be applied; a result that arrived meanwhile wins.
func (p *proposals) abandon(pending *Pending) Result {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case r := <-pending.done:
		return r
	default:
	}
	if pending.taken {
		return Result{Err: ErrUnknownOutcome}
	}
	pending.abandoned = true
	p.mu.queueBytes -= len(pending.command)
	pending.command = nil
	p.mu.abandoned++
	p.sweepLocked()
	return Result{Err: ErrNotApplied}
}

// sweepLocked drops abandoned commands once they are half of the queue, so that
// without a leader the queue holds those that still wait and not more again.
func (p *proposals) sweepLocked() {
	if 2*p.mu.abandoned <= len(p.mu.queue) {
		return
	}
	p.mu.queue = slices.DeleteFunc(p.mu.queue, func(pending *Pending) bool { return pending.abandoned })
	p.mu.abandoned = 0
}

// take packs the next batch from the queue and registers it, or returns nil
// when nothing waits or the window is full.
func (p *proposals) take() *batch {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.windowFullLocked() {
		return nil
	}
	var pendings []*Pending
	var commands [][]byte
	bytes, used := 0, 0
	for _, pending := range p.mu.queue {
		size := len(pending.command)
		if len(commands) > 0 && (len(commands) >= p.cfg.BatchCommandsMax || bytes+size > p.cfg.BatchBytesMax) {
			break
		}
		used++
		if pending.abandoned {
			p.mu.abandoned--
			continue
		}
		p.mu.queueBytes -= size
		pending.taken = true
		pendings = append(pendings, pending)
		commands = append(commands, pending.command)
		bytes += size
	}
	p.dequeueLocked(used)
	if len(pendings) == 0 {
		return nil
	}
	b := &batch{id: p.mu.next, pendings: pendings, data: p.cfg.Pack(p.mu.next, commands)}
	for _, pending := range pendings {
		pending.command = nil
	}
	p.mu.next++
	p.mu.inflight[b.id] = b
	p.mu.bytes += len(b.data)
	return b
}

// ready says whether take would find something.
func (p *proposals) ready() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.mu.queue) > p.mu.abandoned && !p.windowFullLocked()
}

func (p *proposals) windowFullLocked() bool {
	return len(p.mu.inflight) >= p.cfg.WindowBatches || p.mu.bytes >= p.cfg.WindowBytes || p.spreadExceededLocked()
}

// name returns the number of a batch that somebody else packs.
func (p *proposals) name() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.next++
	return p.mu.next - 1
}

func (p *proposals) spreadExceededLocked() bool {
	for id := range p.mu.inflight {
		if p.mu.next-id >= batchIDSpread {
			return true
		}
	}
	return false
}

// dequeueLocked drops the first n of the queue and keeps its array.
func (p *proposals) dequeueLocked(n int) {
	rest := copy(p.mu.queue, p.mu.queue[n:])
	clear(p.mu.queue[rest:])
	p.mu.queue = p.mu.queue[:rest]
}

// unresolved returns the batches in flight, oldest first.
func (p *proposals) unresolved() []*batch {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.mu.inflight) == 0 {
		return nil
	}
	batches := make([]*batch, 0, len(p.mu.inflight))
	for _, b := range p.mu.inflight {
		batches = append(batches, b)
	}
	slices.SortFunc(batches, func(a, b *batch) int { return int(a.id) - int(b.id) })
	return batches
}

// answer delivers the results of an applied envelope if this boot proposed it.
// It is the callback of StateMachine.Apply.
func (p *proposals) answer(index, proposer, boot, id uint64, results []any) {
	if proposer != p.self || boot != p.boot {
		return
	}
	b := p.remove(id)
	if b == nil {
		return
	}
	for i, pending := range b.pendings {
		r := Result{Index: index}
		switch v := results[i].(type) {
		case error:
			r.Err = v
		default:
			r.Value = v
		}
		pending.done <- r
	}
}

func (p *proposals) remove(id uint64) *batch {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.mu.inflight[id]
	if b != nil {
		delete(p.mu.inflight, id)
		p.mu.bytes -= len(b.data)
	}
	return b
}

// failInflight answers every batch in flight with ErrUnknownOutcome: a snapshot
// replaced the entries that would have answered them.
func (p *proposals) failInflight() {
	for _, b := range p.unresolved() {
		if p.remove(b.id) != nil {
			for _, pending := range b.pendings {
				pending.done <- Result{Err: ErrUnknownOutcome}
			}
		}
	}
}

// stop refuses further commands and answers all that wait.
func (p *proposals) stop() {
	p.mu.Lock()
	p.mu.stopped = true
	queue := p.mu.queue
	p.mu.queue, p.mu.queueBytes = nil, 0
	p.mu.Unlock()
	for _, pending := range queue {
		if !pending.abandoned {
			pending.done <- Result{Err: ErrStopped}
		}
	}
	p.failInflight()
}

// queued returns how many commands wait and how many batches are in flight.
func (p *proposals) queued() (commands, batches int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.mu.queue), len(p.mu.inflight)
}
