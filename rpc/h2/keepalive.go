package h2

import (
	"sync"
	"time"
)

// keeper pings a client that says nothing, and ends the connection of one that
// does not answer.
type keeper struct {
	c  *conn
	mu struct {
		sync.Mutex
		timer   *time.Timer
		pinged  time.Duration // since the connection's birth; 0: no ping waits for an answer
		stopped bool
	}
}

func (c *conn) keepAlive() *keeper {
	k := &keeper{c: c}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mu.timer = time.AfterFunc(c.server.cfg.KeepaliveInterval, k.check)
	return k
}

func (k *keeper) check() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.mu.stopped {
		return
	}
	cfg := &k.c.server.cfg
	now, read := time.Since(k.c.born), time.Duration(k.c.lastRead.Load())
	if k.mu.pinged > 0 && read <= k.mu.pinged {
		k.c.abort()
		return
	}
	k.mu.pinged = 0
	if rest := cfg.KeepaliveInterval - (now - read); rest > 0 {
		k.mu.timer.Reset(rest)
		return
	}
	k.mu.pinged = now
	k.c.control(func(b []byte) []byte { return appendPing(b, false, [8]byte{}) })
	k.mu.timer.Reset(cfg.KeepaliveTimeout)
}

func (k *keeper) stop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mu.stopped = true
	k.mu.timer.Stop()
}
