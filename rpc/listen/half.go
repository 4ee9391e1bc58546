package listen

import (
	"net"
	"sync"
)

// half is the listener of one protocol. conns is unbuffered: a connection is
// either with its sniffing goroutine or accepted, never forgotten in between.
type half struct {
	addr  net.Addr
	conns chan net.Conn
	ended chan struct{}
	once  sync.Once
}

func newHalf(addr net.Addr) *half {
	return &half{addr: addr, conns: make(chan net.Conn), ended: make(chan struct{})}
}

func (h *half) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.ended:
		return nil, net.ErrClosed
	}
}

// Close ends this half only; the port stays open for the others.
func (h *half) Close() error {
	h.end()
	return nil
}

func (h *half) Addr() net.Addr { return h.addr }

func (h *half) end() { h.once.Do(func() { close(h.ended) }) }
