package listen

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"go.uber.org/zap"

	"raftkv/rpc/socket"
)

// Options tunes a Splitter.
type Options struct {
	// Deadline is how long a connection may take to finish its handshake and
	// to show its protocol. Default 10 s.
	Deadline time.Duration
	// PendingMax bounds the connections that have not done so. Default 1024.
	PendingMax int
	// Entrances are the ways into the port. Default: one, in plain text.
	Entrances []Entrance
	// Metrics counts; may be shared by several splitters. Default: not exported.
	Metrics *Metrics
	// Logger is told about refused connections. Default: nobody.
	Logger *zap.Logger
}

// EnsureDefaults fills what is zero.
func (o *Options) EnsureDefaults() {
	if o.Deadline == 0 {
		o.Deadline = 10 * time.Second
	}
	if o.PendingMax == 0 {
		o.PendingMax = 1024
	}
	if len(o.Entrances) == 0 {
		o.Entrances = []Entrance{{}}
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics()
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
}

// Validate reports every faulty value.
func (o *Options) Validate() error {
	var faults []error
	if o.Deadline <= 0 {
		faults = append(faults, fmt.Errorf("listen: Deadline %v must be positive", o.Deadline))
	}
	if o.PendingMax < 1 {
		faults = append(faults, fmt.Errorf("listen: PendingMax %d must be positive", o.PendingMax))
	}
	return errors.Join(append(faults, checkEntrances(o.Entrances))...)
}

// Splitter serves two or three protocols on one listener, in plain text, with TLS, or
// both.
type Splitter struct {
	under net.Listener
	opts  Options
	doors []*door       // one for each of opts.Entrances
	slots chan struct{} // one token per pending connection
	done  chan struct{} // closed by Close
	wg    sync.WaitGroup

	mu struct {
		sync.Mutex
		pending map[net.Conn]struct{} // being sniffed
		closed  bool
		err     error // what closing the listener below returned
	}
}

// Split starts to accept on l, which it owns from then on.
func Split(l net.Listener, opts Options) (*Splitter, error) {
	opts.EnsureDefaults()
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	s := &Splitter{
		under: l, opts: opts,
		slots: make(chan struct{}, opts.PendingMax),
		done:  make(chan struct{}),
	}
	for i := range s.opts.Entrances {
		s.doors = append(s.doors, newDoor(&s.opts.Entrances[i], l.Addr()))
	}
	s.mu.pending = make(map[net.Conn]struct{})
	s.wg.Add(1)
	go s.accept()
	return s, nil
}

// GRPC is the listener for the gRPC server of the first entrance. Closing it
// refuses connections of its protocol and leaves the others alone.
func (s *Splitter) GRPC() net.Listener { return s.doors[0].grpc }

// HTTP is the listener for net/http of the first entrance.
func (s *Splitter) HTTP() net.Listener { return s.doors[0].http }

// Halves are both listeners of an entrance, numbered as in Options.
func (s *Splitter) Halves(entrance int) (grpc, http net.Listener) {
	return s.doors[entrance].grpc, s.doors[entrance].http
}

// Other is the listener for the third protocol of an entrance, Entrance.Other.
func (s *Splitter) Other(entrance int) net.Listener { return s.doors[entrance].other }

// Close closes the port, all halves and every pending connection, and waits.
// Only the first call closes; all return the same error.
func (s *Splitter) Close() error {
	s.mu.Lock()
	if !s.mu.closed {
		s.mu.closed = true
		close(s.done)
		s.mu.err = s.under.Close()
		for c := range s.mu.pending {
			// Its goroutine sees the failure and reports nothing: we did it.
			_ = c.Close()
		}
	}
	err := s.mu.err
	s.mu.Unlock()
	s.wg.Wait()
	s.endDoors()
	return err
}

func (s *Splitter) endDoors() {
	for _, d := range s.doors {
		d.grpc.end()
		d.http.end()
		d.other.end()
	}
}

const (
	acceptPauseMin = 5 * time.Millisecond
	acceptPauseMax = time.Second
)

func (s *Splitter) accept() {
	defer s.wg.Done()
	pause := acceptPauseMin
	for {
		c, err := s.under.Accept()
		switch {
		case err == nil:
			pause = acceptPauseMin
			s.admit(socket.Wrap(c))
		case s.stopped() || errors.Is(err, net.ErrClosed):
			// Somebody closed the port below us: the servers must notice.
			s.endDoors()
			return
		default:
			s.opts.Logger.Warn("accepting failed; trying again", zap.Error(err), zap.Duration("after", pause))
			if !s.sleep(pause) {
				return
			}
			pause = min(2*pause, acceptPauseMax)
		}
	}
}

func (s *Splitter) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.done:
		return false
	}
}

func (s *Splitter) stopped() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// admit takes a slot for c and starts to sniff it, or refuses it.
func (s *Splitter) admit(c net.Conn) {
	select {
	case s.slots <- struct{}{}:
	default:
		s.opts.Metrics.refused.Add(1)
		s.reject(c, s.doors[0], nil, errTableFull)
		return
	}
	if !s.track(c) {
		<-s.slots
		_ = c.Close() // the splitter is closing
		return
	}
	s.opts.Metrics.pending.Add(1)
	s.wg.Add(1)
	go s.sniff(c)
}

var errTableFull = errors.New("too many connections have not shown their protocol yet")

func (s *Splitter) track(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed {
		return false
	}
	s.mu.pending[c] = struct{}{}
	return true
}

func (s *Splitter) forget(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.mu.pending, c)
}

// release gives the slot of admit back.
func (s *Splitter) release() {
	s.opts.Metrics.pending.Add(-1)
	<-s.slots
}
