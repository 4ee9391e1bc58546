package cluster

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports are taken from below the range that Linux and others use for outgoing
// connections: a port found free up there could be taken by a node's
// connection to its peer before the node it was meant for starts.
const (
	portMin      = 10_000
	portMax      = 32_000
	portAttempts = 1000
)

// freePorts returns loopback ports that were all free at the same time.
// Somebody else may still take one before it is used; starting then fails.
func freePorts(count int) (ports []int, err error) {
	var held []net.Listener
	defer func() {
		for _, l := range held {
			err = errors.Join(err, l.Close())
		}
	}()
	for range portAttempts {
		if len(ports) == count {
			return ports, nil
		}
		port := portMin + rand.IntN(portMax-portMin)
		listener, err := net.Listen("tcp", net.JoinHostPort(loopback, strconv.Itoa(port)))
		if err != nil {
			continue // taken, by us or by somebody else
		}
		held = append(held, listener)
		ports = append(ports, port)
	}
	return nil, fmt.Errorf("found only %d of %d free ports between %d and %d", len(ports), count, portMin, portMax)
}
