//go:build !linux

package wire

import (
	"errors"
	"net"
)

// Supported says whether connections can be told apart here.
const Supported = false

func (n *Network) owner(net.Conn) (int, error) {
	return 0, errors.New("who dials can be told on Linux only")
}
