package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"raftkv/rpc/peer/peerpb"
	"raftkv/rpc/socket"
)

// link is the connection of a lane while it lasts. Whoever has something to send
// writes it at once, if the kernel takes it without waiting: the loop and the log
// writer of a node thereby reach a follower without waking another goroutine,
// which takes longer on an idle machine than the write. What the kernel does not
// take is left to the lane's goroutine, which may wait.
type link struct {
	conn net.Conn
	// socket is conn if that can be written to without waiting, which with TLS it
	// cannot; else nil.
	socket *socket.Conn
	reader *frameReader // of the goroutine that watches

	mu struct {
		sync.Mutex        // held while writing
		buffer     []byte // of the last frame
		rest       []byte // of a frame that the kernel has taken a part of
	}

	once  sync.Once
	ended chan struct{} // closed by fail
	cause error         // valid then
}

func newLink(conn net.Conn) *link {
	k := &link{conn: conn, reader: newFrameReader(conn), ended: make(chan struct{})}
	k.socket, _ = conn.(*socket.Conn)
	return k
}

// fail ends the connection; the first cause counts.
func (k *link) fail(cause error) {
	k.once.Do(func() {
		k.cause = cause
		_ = k.conn.Close() // nothing is lost by it that is not lost anyway
		close(k.ended)
	})
}

// reset says whether the other side closed the connection, as the kernel does
// when a process ends. Valid once ended is closed.
func (k *link) reset() bool {
	return errors.Is(k.cause, io.EOF) || errors.Is(k.cause, syscall.ECONNRESET) || errors.Is(k.cause, syscall.EPIPE)
}

// greet opens the lane and returns what the other side answers.
func (k *link) greet(hello *peerpb.Hello, timeout time.Duration) (*peerpb.Answer, error) {
	opening, err := appendFramed([]byte(Preface), &peerpb.Frame{Hello: hello})
	if err != nil {
		return nil, err
	}
	if err := k.conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return nil, fmt.Errorf("set a deadline: %w", err)
	}
	if _, err := k.conn.Write(opening); err != nil {
		return nil, fmt.Errorf("send hello: %w", err)
	}
	answer := &peerpb.Answer{}
	if _, err := k.reader.next(answer); err != nil {
		return nil, fmt.Errorf("await answer to hello: %w", err)
	}
	if err := k.conn.SetDeadline(time.Time{}); err != nil {
		return nil, fmt.Errorf("clear the deadline: %w", err)
	}
	return answer, nil
}

// watch reads what comes back, which are answers to questions whether the other
// side is alive, until the connection ends.
func (k *link) watch(patience time.Duration) {
	for {
		err := k.conn.SetReadDeadline(time.Now().Add(patience))
		if err == nil {
			var empty bool
			if empty, err = k.reader.next(&peerpb.Answer{}); err == nil && !empty {
				err = errors.New("the peer sent something after the handshake")
			}
		}
		if err != nil {
			k.fail(err)
			return
		}
	}
}

// directBytesMax bounds the frames that are written by whoever sends: copying a
// larger one takes longer than to wake the lane's goroutine.
const directBytesMax = 64 << 10

// trySend sends what is queued as far as that can be done without waiting; false:
// there may be more, and the lane's goroutine has to see to it.
func (k *link) trySend(l *lane) bool {
	if k.socket == nil || !k.mu.TryLock() {
		return false
	}
	defer k.mu.Unlock()
	for len(k.mu.rest) == 0 {
		more, err := k.encodeLocked(l)
		if err != nil || !more {
			return err == nil
		}
		k.mu.rest = k.mu.buffer
		if len(k.mu.rest) > directBytesMax {
			return false
		}
		if err := k.writeNowLocked(); err != nil {
			l.lost(k, err)
			return true
		}
	}
	return false
}

// writeNowLocked writes as much of rest as the kernel takes at once.
func (k *link) writeNowLocked() error {
	n, err := k.socket.TryWrite(k.mu.rest)
	k.mu.rest = k.mu.rest[n:]
	if err != nil {
		return fmt.Errorf("send frame: %w", err)
	}
	return nil
}

// send sends everything that is queued, and behind it, if asked to, the question
// whether the other side is alive. It waits for as long as that takes.
func (k *link) send(l *lane, question bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for {
		if len(k.mu.rest) > 0 {
			if _, err := k.conn.Write(k.mu.rest); err != nil {
				return fmt.Errorf("send frame: %w", err)
			}
			k.mu.rest = nil
		}
		more, err := k.encodeLocked(l)
		switch {
		case err != nil:
			return err
		case more:
			k.mu.rest = k.mu.buffer
		case question:
			k.mu.rest, question = make([]byte, lengthBytes), false
		default:
			return nil
		}
	}
}

// encodeLocked makes buffer the next frame of the lane's queue; false: there is
// none.
func (k *link) encodeLocked(l *lane) (bool, error) {
	frame, bytes := l.queue.take(l.t.opts.FrameBytes)
	if frame == nil {
		return false, nil
	}
	if cap(k.mu.buffer) > largeKeptBytes {
		k.mu.buffer = nil
	}
	var err error
	if k.mu.buffer, err = appendFramed(k.mu.buffer[:0], frame); err != nil {
		l.lost(k, err)
		return false, err
	}
	l.sent.frames.Add(1)
	l.sent.bytes.Add(uint64(bytes))
	l.sent.messages.Add(uint64(len(frame.GetMessages()) + len(frame.GetBatches()) + len(frame.GetLeases())))
	return true, nil
}

// pump sends what others leave to the lane's goroutine, until the link ends.
func (k *link) pump(ctx context.Context, l *lane) {
	defer context.AfterFunc(ctx, func() { k.fail(context.Cause(ctx)) })()
	asking := time.NewTicker(keepaliveInterval)
	defer asking.Stop()
	for {
		var err error
		select {
		case <-l.queue.ready:
			err = k.send(l, false)
		case <-asking.C:
			err = k.send(l, true)
		case <-k.ended:
			return
		}
		if err != nil {
			k.fail(err)
			return
		}
	}
}
