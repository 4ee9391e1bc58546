package peer

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// setUserTimeout bounds how long the kernel resends data that nobody
// acknowledges. After a partition it would otherwise wait for minutes, and try
// again only long after the network has healed. gRPC sets it only on
// connections it dialled by itself.
func setUserTimeout(c syscall.RawConn, timeout time.Duration) error {
	var optErr error
	err := c.Control(func(fd uintptr) {
		optErr = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(timeout.Milliseconds()))
	})
	if err := errors.Join(err, optErr); err != nil {
		return fmt.Errorf("set TCP user timeout: %w", err)
	}
	return nil
}
