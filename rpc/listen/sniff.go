package listen

import (
	"context"
	"crypto/tls"
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

// protocol is what a connection speaks, by its first bytes.
type protocol uint8

const (
	protocolHTTP  protocol = iota // anything that has no preface
	protocolGRPC                  // HTTP/2
	protocolOther                 // that of Entrance.Other
)

// sniff runs for one connection, from its acceptance until a server has it.
func (s *Splitter) sniff(raw net.Conn) {
	defer s.wg.Done()
	defer s.release()
	ctx, cancel := context.WithTimeout(context.Background(), s.opts.Deadline)
	defer cancel()
	c, err := s.identify(ctx, raw)
	// Close must not touch what may be a server's a moment later; hand heeds it.
	s.forget(raw)
	if err == nil {
		err = s.hand(ctx, c)
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
		s.reject(raw, c.door, c.tls, err)
	}
}

// identified is a connection whose entrance and protocol are known, or as much
// of them as was found out before an error.
type identified struct {
	door   *door
	tls    *tls.Conn // nil in plain text
	conn   net.Conn
	speaks protocol
}

// identify finds the entrance, finishes the handshake, if there is one, and
// reads as little as tells the protocol.
func (s *Splitter) identify(ctx context.Context, raw net.Conn) (identified, error) {
	found := identified{door: s.doors[0]}
	deadline, _ := ctx.Deadline()
	if err := raw.SetDeadline(deadline); err != nil {
		return found, fmt.Errorf("setting the sniffing deadline: %w", err)
	}
	c, head, secure, err := s.peek(raw)
	if err != nil {
		return found, err
	}
	if secure {
		if found.tls, found.door, err = s.handshake(ctx, c); err != nil {
			return found, err
		}
		c = found.tls
	} else {
		found.door = s.plain()
	}
	if head, found.speaks, err = readHead(c, head, found.door.Other); err != nil {
		return found, fmt.Errorf("reading the first bytes: %w", err)
	}
	if err := raw.SetDeadline(time.Time{}); err != nil {
		return found, fmt.Errorf("clearing the sniffing deadline: %w", err)
	}
	found.conn = &replayed{Conn: c, head: head}
	return found, nil
}

// peek tells whether TLS comes in, reading the first bytes where that is open.
// In plain text they are returned, else they are put back.
func (s *Splitter) peek(raw net.Conn) (c net.Conn, head []byte, secure bool, err error) {
	if s.plain() == nil {
		return raw, nil, true, nil
	}
	head = make([]byte, len(preface))
	n, err := io.ReadAtLeast(raw, head, 1)
	head = head[:n]
	switch {
	case err != nil:
		return nil, nil, false, fmt.Errorf("reading the first bytes: %w", err)
	case head[0] != recordHandshake:
		return raw, head, false, nil
	case len(s.secured()) == 0:
		return nil, nil, false, errTLSOnPlain
	}
	return &replayed{Conn: raw, head: head}, nil, true, nil
}

// recordHandshake is how every TLS connection begins (RFC 8446, section 5.1).
const recordHandshake = 0x16

var errTLSOnPlain = errors.New("a TLS handshake on a port that serves plain text only")

// readHead goes on reading behind head until the bytes differ from both prefaces
// or complete one. other may be "": then nothing begins with it.
func readHead(r io.Reader, head []byte, other string) (read []byte, speaks protocol, err error) {
	buf := make([]byte, len(preface))
	n := copy(buf, head)
	for {
		isGRPC := string(buf[:n]) == preface[:n]
		isOther := other != "" && string(buf[:n]) == other[:n]
		switch {
		case n > 0 && !isGRPC && !isOther:
			return buf[:n], protocolHTTP, nil
		case n == len(preface) && isGRPC:
			return buf, protocolGRPC, nil
		case n == len(preface):
			return buf, protocolOther, nil
		}
		k, err := r.Read(buf[n:])
		n += k
		if err != nil && k == 0 {
			return nil, protocolHTTP, err
		}
	}
}

// hand gives c to a server, which may take its time to accept, but not beyond
// the deadline: an unserved half must not fill the table.
func (s *Splitter) hand(ctx context.Context, c identified) error {
	to := c.door.half(c.speaks)
	select {
	case to.conns <- c.conn:
		return nil
	case <-to.ended:
		return errNotServed
	case <-s.done:
		return errNotServed
	case <-ctx.Done():
		return fmt.Errorf("waiting for the server to accept: %w", ctx.Err())
	}
}

var errNotServed = errors.New("its protocol is not served here")

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
