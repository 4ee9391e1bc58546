package harness

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// Ports come from below the range of outgoing connections: up there a port
// that is free now may be a client's end of some connection when a node that
// was killed starts again on it.
const (
	portMin    = 12_000
	portMax    = 32_000
	blockPorts = 500
)

// ports is the block of this process: tests of several packages run at the same
// time, and a port that one of them has just found free must not be found by
// another. A test process has one, so it is a variable of the package.
var ports portBlock

// portBlock hands out the ports of a block in turn. Whoever listens on the first
// one owns the block; the listener is never closed.
type portBlock struct {
	mu    sync.Mutex
	owner net.Listener
	next  int // offset from the owner's port
}

// FreePorts returns consecutive ports that are free on loopback, the first of
// them. Other tests do not get them, unless this process asks for hundreds more;
// a stranger may still take one before a node does.
func FreePorts(tb testing.TB, count int) (first int) {
	tb.Helper()
	first, err := FindPorts(count)
	if err != nil {
		tb.Fatal(err)
	}
	return first
}

// FindPorts is FreePorts for those who have no test.
func FindPorts(count int) (first int, err error) { return ports.take(count) }

func (b *portBlock) take(count int) (first int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.own(); err != nil {
		return 0, err
	}
	start := b.owner.Addr().(*net.TCPAddr).Port
	for range blockPorts {
		if b.next == 0 || b.next+count > blockPorts {
			b.next = 1
		}
		first = start + b.next
		if allFree(first, count) {
			b.next += count
			return first, nil
		}
		b.next++
	}
	return 0, fmt.Errorf("found no %d consecutive free ports from %d to %d", count, start+1, start+blockPorts-1)
}

// own takes a block that nobody has.
func (b *portBlock) own() error {
	if b.owner != nil {
		return nil
	}
	const blocks = (portMax - portMin) / blockPorts
	for _, n := range rand.Perm(blocks) {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", portMin+n*blockPorts))
		if err == nil {
			b.owner = l
			return nil
		}
	}
	return errors.New("all blocks of ports for tests are taken")
}

func allFree(first, count int) bool {
	for port := first; port < first+count; port++ {
		if Free(port) != nil {
			return false
		}
	}
	return true
}

// Free returns nil if nobody listens on a port of the loopback address.
func Free(port int) error {
	l, err := net.Listen("tcp", fmt.Sprintf("localhost:%d", port))
	if err != nil {
		return fmt.Errorf("port %d is not free: %w", port, err)
	}
	return l.Close()
}
