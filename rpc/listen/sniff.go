package listen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// preface is what an HTTP/2 client with prior knowledge sends first (RFC 9113,
// section 3.4).
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// sniff runs for one connection, from its acceptance until a server has it.
func (s *Splitter) sniff(raw net.Conn) {
	defer s.wg.Done()
	defer s.release()
	ctx, cancel := context.WithTimeout(context.Background(), s.opts.Deadline)
	defer cancel()
	c, to, err := s.identify(ctx, raw)
	// Close must not touch what may be a server's a moment later; hand heeds it.
	s.forget(raw)
	if err == nil {
		err = s.hand(ctx, c, to)
	}
	switch {
	case err == nil:
	case s.stopped():
		_ = raw.Close() // likely closed already, by Close
	case errors.Is(err, io.EOF):
		// A port scan or a health check of a load balancer: not worth a line.
		_ = raw.Close()
	default:
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
			s.opts.Metrics.timedOut.Add(1)
		}
		s.reject(raw, err)
	}
}

// identify finishes the handshake, if there is one, and reads as little as
// tells the protocol.
func (s *Splitter) identify(ctx context.Context, raw net.Conn) (net.Conn, *half, error) {
	deadline, _ := ctx.Deadline()
	if err := raw.SetDeadline(deadline); err != nil {
		return nil, nil, fmt.Errorf("setting the sniffing deadline: %w", err)
	}
	c := raw
	if s.opts.Handshake != nil {
		var err error
		if c, err = s.opts.Handshake(ctx, raw); err != nil {
			return nil, nil, fmt.Errorf("handshake: %w", err)
		}
	}
	head, http2, err := readHead(c)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the first bytes: %w", err)
	}
	if err := raw.SetDeadline(time.Time{}); err != nil {
		return nil, nil, fmt.Errorf("clearing the sniffing deadline: %w", err)
	}
	to := s.http
	if http2 {
		to = s.grpc
	}
	return &replayed{Conn: c, head: head}, to, nil
}

// readHead reads until the bytes differ from the preface or complete it.
func readHead(r io.Reader) (head []byte, http2 bool, err error) {
	buf := make([]byte, len(preface))
	n := 0
	for n < len(preface) {
		k, err := r.Read(buf[n:])
		n += k
		if n > 0 && string(buf[:n]) != preface[:n] {
			return buf[:n], false, nil
		}
		if err != nil && n < len(preface) {
			return nil, false, err
		}
	}
	return buf, true, nil
}

// hand gives c to a server, which may take its time to accept, but not beyond
// the deadline: an unserved half must not fill the table.
func (s *Splitter) hand(ctx context.Context, c net.Conn, to *half) error {
	select {
	case to.conns <- c:
		return nil
	case <-to.ended:
		return errNotServed
	case <-s.done:
		return errNotServed
	case <-ctx.Done():
		return fmt.Errorf("waiting for the server to accept: %w", ctx.Err())
	}
}

var errNotServed = errors.New("its protocol is not served any more")

// replayed is a connection whose first bytes were read already.
type replayed struct {
	net.Conn
	head []byte // not yet read again; only Read touches it
}

// Read returns the sniffed bytes first. Like every net.Conn it may not be
// called by two readers who both want the start of the stream.
func (c *replayed) Read(p []byte) (int, error) {
	if len(c.head) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.head)
	c.head = c.head[n:]
	return n, nil
}

// NetConn returns the connection below, a *tls.Conn after a TLS handshake.
func (c *replayed) NetConn() net.Conn { return c.Conn }
