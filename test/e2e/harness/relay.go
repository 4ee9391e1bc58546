package harness

import (
	"io"
	"net"
	"sync"
	"testing"
)

// Relay passes TCP connections on to an address, until they are cut.
type Relay struct {
	listener net.Listener
	to       string
	workers  sync.WaitGroup

	mu     sync.Mutex
	closed bool
	open   map[net.Conn]struct{}
}

// NewRelay relays from a port of its own, until the test ends.
func NewRelay(tb testing.TB, to string) *Relay {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	r := &Relay{listener: listener, to: to, open: map[net.Conn]struct{}{}}
	r.workers.Go(r.accept)
	tb.Cleanup(func() {
		r.mu.Lock()
		r.closed = true
		r.mu.Unlock()
		if err := listener.Close(); err != nil {
			tb.Error(err)
		}
		r.Cut()
		r.workers.Wait()
	})
	return r
}

// Address is where the relay listens.
func (r *Relay) Address() string { return r.listener.Addr().String() }

// Cut breaks every connection, as a firewall that restarts does, and returns how
// many there were. New ones are relayed.
func (r *Relay) Cut() (connections int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for conn := range r.open {
		_ = conn.Close() // that it breaks is the point
	}
	connections = len(r.open) / 2
	clear(r.open)
	return connections
}

func (r *Relay) accept() {
	for {
		in, err := r.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", r.to)
		if err != nil {
			_ = in.Close() // as if nobody listened here
			continue
		}
		r.mu.Lock()
		if r.closed {
			r.mu.Unlock()
			_, _ = in.Close(), out.Close()
			return
		}
		r.open[in], r.open[out] = struct{}{}, struct{}{}
		r.mu.Unlock()
		r.workers.Go(func() { r.pass(in, out) })
		r.workers.Go(func() { r.pass(out, in) })
	}
}

// pass copies one direction; when it ends, so does the connection.
func (r *Relay) pass(from, to net.Conn) {
	_, _ = io.Copy(to, from) // how it broke does not matter
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, conn := range []net.Conn{from, to} {
		_ = conn.Close()
		delete(r.open, conn)
	}
}
