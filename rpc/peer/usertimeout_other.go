//go:build !linux

package peer

import (
	"syscall"
	"time"
)

// setUserTimeout has no portable equivalent; keepalive finds dead connections
// somewhat later.
func setUserTimeout(syscall.RawConn, time.Duration) error { return nil }
