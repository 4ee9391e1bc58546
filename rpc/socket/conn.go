package socket

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
)

// callBytesMax bounds one call (invariant 1): copying as much takes some 20 us.
const callBytesMax = 64 << 10

// Conn is a TCP connection whose calls the scheduler is not told of.
type Conn struct {
	*net.TCPConn
	raw     syscall.RawConn
	in, out direction
}

// direction is what Read or Write is about. Its call is a value that lives as
// long as the connection, since a closure for each would be garbage.
type direction struct {
	sync.Mutex
	call func(fd uintptr) (done bool)
	p    []byte
	n    int
	err  syscall.Errno
	try  bool // not to wait
}

// Wrap returns c as a Conn if it is a TCP connection, else as it is.
func Wrap(c net.Conn) net.Conn {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return c
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return c
	}
	s := &Conn{TCPConn: tcp, raw: raw}
	s.in.call, s.out.call = s.in.read, s.out.write
	return s
}

// Read is net.Conn's.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 || len(p) > callBytesMax {
		return c.TCPConn.Read(p)
	}
	n, err := c.in.do(c.raw.Read, p, false)
	switch {
	case err != nil:
		err = c.fault("read", err)
	case n == 0:
		err = io.EOF
	}
	return n, err
}

// Write is net.Conn's.
func (c *Conn) Write(p []byte) (int, error) {
	if len(p) > callBytesMax {
		return c.TCPConn.Write(p)
	}
	return c.write(p, false)
}

// TryWrite writes as many of p as the kernel takes at once, callBytesMax at most.
func (c *Conn) TryWrite(p []byte) (int, error) {
	return c.write(p[:min(len(p), callBytesMax)], true)
}

func (c *Conn) write(p []byte, try bool) (int, error) {
	n, err := c.out.do(c.raw.Write, p, try)
	if err != nil {
		err = c.fault("write", err)
	}
	return n, err
}

// fault words an error of a call, or of net around it, as net would.
func (c *Conn) fault(call string, err error) error {
	switch e := err.(type) {
	case syscall.Errno:
		err = os.NewSyscallError(call, e)
	case *net.OpError:
		err = e.Err
	}
	return &net.OpError{Op: call, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}

// do moves p by calls under the control of net, which waits in between and knows
// of deadlines and of Close.
func (d *direction) do(control func(func(uintptr) bool) error, p []byte, try bool) (int, error) {
	d.Lock()
	defer d.Unlock()
	d.p, d.n, d.err, d.try = p, 0, 0, try
	err := control(d.call)
	d.p = nil
	if err == nil && d.err != 0 {
		err = d.err
	}
	return d.n, err
}

func (d *direction) read(fd uintptr) (done bool) {
	for {
		n, err := rawRead(fd, d.p)
		switch err {
		case 0:
			d.n = n
			return true
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false
		default:
			d.err = err
			return true
		}
	}
}

func (d *direction) write(fd uintptr) (done bool) {
	for d.n < len(d.p) {
		n, err := rawWrite(fd, d.p[d.n:])
		switch err {
		case 0:
			if n == 0 {
				d.err = syscall.EIO // or it would go on for ever
				return true
			}
			d.n += n
		case syscall.EINTR:
		case syscall.EAGAIN:
			return d.try
		default:
			d.err = err
			return true
		}
	}
	return true
}
