package client

import (
	"context"
	"slices"
	"sync"
	"time"

	"raftkv/rpc/kvstream/frames"
	"raftkv/rpc/kvstream/kvpb"
)

// laneKind tells what the frames of a lane carry.
type laneKind int

const (
	laneWrites laneKind = iota
	laneReads
	laneStale
)

// call is one operation of a caller.
type call struct {
	// What is asked for: write, or key of a read.
	write        frames.Write
	key          []byte
	countHolders bool

	// done gets a token when the rest is set.
	done    chan struct{}
	written Written
	read    frames.ReadResult
	err     error

	// Guarded by the lane.
	sent      bool // it is, or was, part of a frame
	abandoned bool // nobody waits for it any more
}

// frame is a frame that was not answered yet.
type frame struct {
	wire     *kvpb.Frame
	calls    []*call
	attempts int // how often it was sent
	answered bool
	lost     bool // the answer was that there is no such session
	sentAt   time.Time
}

// lane carries one kind of operations over one stream at a time.
//
// Callers put calls into the queue. run, one goroutine, keeps a stream open while
// there is work, cuts frames from the queue while fewer than FramesInFlight are
// under way, and sends those that were not answered again whenever it has to
// begin another stream. What comes in is handled by one goroutine for each
// stream, which run waits for.
type lane struct {
	client *Client
	cfg    SessionConfig
	kind   laneKind
	pool   sync.Pool // of *call

	wake chan struct{} // holds one: there is something to do for run

	mu struct {
		sync.Mutex
		queue     []*call // in order
		abandoned int     // of the queue
		inflight  []*frame
		nextID    uint64
		sequence  uint64 // of the newest frame of the session
		moving    bool   // another member leads: send nothing more here
		broken    error  // why the stream is to end
		trouble   error  // why nothing could be sent lately, for errors of calls
		closed    bool
	}

	// Owned by run.
	session struct{ cluster, id uint64 }
	current *endpoint // of the stream
	avoid   *endpoint // the one that failed last
	movedAt time.Time // when the lane last moved to a leader
	backoff time.Duration
}

func newLane(c *Client, cfg SessionConfig, kind laneKind) *lane {
	l := &lane{client: c, cfg: cfg, kind: kind, wake: make(chan struct{}, 1)}
	l.pool.New = func() any { return &call{done: make(chan struct{}, 1)} }
	return l
}

func (l *lane) newCall() *call { return l.pool.Get().(*call) }

// recycle takes a call back that was answered.
func (l *lane) recycle(c *call) {
	done := c.done
	*c = call{done: done}
	l.pool.Put(c)
}

func (l *lane) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// bounded gives a context without a deadline the default one.
func (l *lane) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, l.cfg.Timeout)
}

// do queues a call and waits for it. An error settles what became of a write.
func (l *lane) do(ctx context.Context, c *call) error {
	if err := ctx.Err(); err != nil {
		return l.notApplied(err)
	}
	if err := l.enqueue(c); err != nil {
		return err
	}
	var expired <-chan time.Time
	if _, ok := ctx.Deadline(); !ok {
		t := time.NewTimer(l.cfg.Timeout)
		defer t.Stop()
		expired = t.C
	}
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return l.abandon(c, ctx.Err())
	case <-expired:
		return l.abandon(c, context.DeadlineExceeded)
	}
}

func (l *lane) enqueue(c *call) error {
	l.mu.Lock()
	switch {
	case l.mu.closed:
		l.mu.Unlock()
		return l.notApplied(ErrSessionClosed)
	case len(l.mu.queue)-l.mu.abandoned >= l.cfg.Calls:
		l.mu.Unlock()
		return l.notApplied(ErrTooManyCalls)
	}
	l.mu.queue = append(l.mu.queue, c)
	// Otherwise run looks at the queue when a frame is answered.
	room := len(l.mu.inflight) < l.cfg.FramesInFlight
	l.mu.Unlock()
	if room {
		l.signal()
	}
	return nil
}

// abandon gives up waiting. A result that arrived meanwhile wins.
func (l *lane) abandon(c *call, reason error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-c.done:
		return c.err
	default:
	}
	c.abandoned = true
	if l.mu.trouble != nil {
		reason = &troubled{error: reason, trouble: l.mu.trouble}
	}
	if c.sent && l.kind == laneWrites {
		return &UnknownOutcomeError{Endpoint: "the cluster", Err: reason}
	}
	if !c.sent {
		l.mu.abandoned++
		l.sweepLocked()
	}
	return l.notApplied(reason)
}

// troubled is why nobody waits any more, with what kept the lane from sending
// lately: that is told, but says nothing of this call, and must not match what an
// error of a call matches.
type troubled struct {
	error
	trouble error
}

func (e *troubled) Error() string { return e.error.Error() + " (" + e.trouble.Error() + ")" }
func (e *troubled) Unwrap() error { return e.error }

// sweepLocked drops abandoned calls once they are half of the queue.
func (l *lane) sweepLocked() {
	if 2*l.mu.abandoned <= len(l.mu.queue) {
		return
	}
	l.mu.queue = slices.DeleteFunc(l.mu.queue, func(c *call) bool { return c.abandoned })
	l.mu.abandoned = 0
}

func (l *lane) notApplied(reason error) error {
	return &UnavailableError{Write: l.kind == laneWrites, Endpoints: []*EndpointError{{Endpoint: "session", Err: reason}}}
}

// finishLocked answers a call.
func (l *lane) finish(c *call, err error) {
	c.err = err
	c.done <- struct{}{}
}

// cutLocked makes the next frame of what waits, nil if nothing does.
func (l *lane) cutLocked() *frame {
	bytes, n := 0, 0
	var calls []*call
	for _, c := range l.mu.queue {
		size := len(c.key) + 8
		if l.kind == laneWrites {
			size = frames.WriteSize(&c.write)
		}
		if len(calls) > 0 && (len(calls) >= l.cfg.FrameOps || bytes+size > l.cfg.FrameBytes) {
			break
		}
		n++
		if c.abandoned {
			l.mu.abandoned--
			continue
		}
		if calls == nil {
			calls = make([]*call, 0, min(len(l.mu.queue), l.cfg.FrameOps))
		}
		c.sent = true
		calls = append(calls, c)
		bytes += size
	}
	rest := copy(l.mu.queue, l.mu.queue[n:])
	clear(l.mu.queue[rest:])
	l.mu.queue = l.mu.queue[:rest]
	if len(calls) == 0 {
		return nil
	}
	return l.frameLocked(calls, bytes)
}

// frameLocked encodes calls, once, and counts the frame as in flight.
func (l *lane) frameLocked(calls []*call, bytes int) *frame {
	body := make([]byte, 0, bytes)
	f := &frame{calls: calls, wire: &kvpb.Frame{}}
	for _, c := range calls {
		if l.kind == laneWrites {
			body = frames.AppendWrite(body, &c.write)
			f.wire.CountHolders = f.wire.CountHolders || c.countHolders
		} else {
			body = frames.AppendRead(body, c.key)
		}
	}
	l.mu.nextID++
	f.wire.Id = l.mu.nextID
	if l.kind == laneWrites {
		l.mu.sequence++
		f.wire.Sequence, f.wire.Writes = l.mu.sequence, body
	} else {
		f.wire.Reads, f.wire.Serializable = body, l.kind == laneStale
	}
	l.mu.inflight = append(l.mu.inflight, f)
	return f
}
