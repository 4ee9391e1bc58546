package harness

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
)

// Ports come from below the range of outgoing connections: up there a port
// that is free now may be a client's end of some connection when a node that
// was killed starts again on it.
const (
	portMin      = 12_000
	portMax      = 32_000
	portAttempts = 1000
)

// FreePorts returns consecutive ports that are free on loopback, the first of
// them. Somebody else may still take one before a node does.
func FreePorts(tb testing.TB, count int) (first int) {
	tb.Helper()
	for range portAttempts {
		first = portMin + rand.IntN(portMax-portMin-count)
		if allFree(first, count) {
			return first
		}
	}
	tb.Fatalf("found no %d consecutive free ports from %d to %d", count, portMin, portMax)
	return 0
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
