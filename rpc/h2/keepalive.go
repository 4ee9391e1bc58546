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
		pinged  time.Time // zero: no ping waits for an answer
		stopped bool
	}
}

func (c *conn) keepAlive() *keeper {
	c.lastRead.Store(time.Now().UnixNano())
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
	now, read := time.Now(), time.Unix(0, k.c.lastRead.Load())
	if !k.mu.pinged.IsZero() && !read.After(k.mu.pinged) {
		k.c.abort()
		return
	}
	k.mu.pinged = time.Time{}
	if rest := cfg.KeepaliveInterval - now.Sub(read); rest > 0 {
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
