package h2

import (
	"fmt"
	"math"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/status"
)

// unpad returns the payload of DATA or HEADERS without padding and priority.
func unpad(f frame) ([]byte, error) {
	p, padding := f.payload, 0
	if f.flags.Has(http2.FlagDataPadded) {
		if len(p) == 0 {
			return nil, connError{http2.ErrCodeFrameSize, "padding without its length"}
		}
		padding, p = int(p[0]), p[1:]
	}
	if f.kind == http2.FrameHeaders && f.flags.Has(http2.FlagHeadersPriority) {
		if len(p) < 5 {
			return nil, connError{http2.ErrCodeFrameSize, "a priority cut short"}
		}
		if on := uint32(p[0]&127)<<24 | uint32(p[1])<<16 | uint32(p[2])<<8 | uint32(p[3]); on == f.stream {
			return nil, connError{http2.ErrCodeProtocol, "a stream that depends on itself"}
		}
		p = p[5:]
	}
	if padding > len(p) {
		return nil, connError{http2.ErrCodeProtocol, "more padding than payload"}
	}
	return p[:len(p)-padding], nil
}

// headers takes in a header block: that of a new request, or what ends one.
func (c *conn) headers(f frame) error {
	if f.stream%2 == 0 {
		return connError{http2.ErrCodeProtocol, "HEADERS of a stream that clients cannot begin"}
	}
	block, err := unpad(f)
	if err != nil {
		return err
	}
	if !f.flags.Has(http2.FlagHeadersEndHeaders) {
		if block, err = c.continued(f.stream, block); err != nil {
			return err
		}
	}
	if err := c.heads.read(block); err != nil {
		return err
	}
	ends := f.flags.Has(http2.FlagHeadersEndStream)
	c.mu.Lock()
	s, last := c.mu.streams[f.stream], c.mu.last
	if f.stream > last {
		c.mu.last = f.stream
	}
	room := c.room()
	c.mu.Unlock()
	switch {
	case s != nil:
		return c.trailers(s, ends)
	case f.stream <= last:
		return connError{http2.ErrCodeStreamClosed, fmt.Sprintf("HEADERS of stream %d, which ended or never began", f.stream)}
	}
	return c.begin(f.stream, ends, room)
}

// room tells whether the connection may have a request more. The caller holds
// mu.
func (c *conn) room() bool {
	bound := c.server.cfg.ConcurrentStreamsMax
	return c.mu.running < bound && uint32(len(c.mu.streams)) < bound && c.mu.drain != drainFinal
}

// continued reads the rest of a header block, which nothing may interrupt.
func (c *conn) continued(stream uint32, first []byte) ([]byte, error) {
	block := append([]byte(nil), first...)
	for read := len(first); ; {
		f, err := c.in.next()
		switch {
		case err != nil:
			return nil, err
		case f.kind != http2.FrameContinuation || f.stream != stream:
			return nil, connError{http2.ErrCodeProtocol, "a header block was interrupted"}
		}
		// Frames count, too: empty ones could go on for ever.
		if read += frameHeaderBytes + len(f.payload); read > blockBytesMax {
			return nil, connError{http2.ErrCodeEnhanceYourCalm, "too many headers"}
		}
		block = append(block, f.payload...)
		if f.flags.Has(http2.FlagContinuationEndHeaders) {
			return block, nil
		}
	}
}

// trailers end what the client sends on a stream; their fields mean nothing.
func (c *conn) trailers(s *stream, ends bool) error {
	h := &c.heads.head
	c.mu.Lock()
	closed := s.in.ended
	c.mu.Unlock()
	switch {
	case closed:
		return streamError{s.id, http2.ErrCodeStreamClosed}
	case !ends || h.method != "" || h.scheme != "" || h.path != "" || h.authority != "" || h.malformed:
		return streamError{s.id, http2.ErrCodeProtocol}
	}
	return c.receive(s, nil, true)
}

// begin starts a request.
func (c *conn) begin(id uint32, ends, room bool) error {
	h := &c.heads.head
	switch {
	case !h.complete():
		return streamError{id, http2.ErrCodeProtocol}
	case !room:
		return streamError{id, http2.ErrCodeRefusedStream}
	case ends && h.length > 0:
		return streamError{id, http2.ErrCodeProtocol}
	}
	s := &stream{conn: c, id: id, receiveWindow: int64(c.server.cfg.StreamWindowBytes)}
	s.in = inbox{buffers: &c.server.buffers, bytesMax: c.server.cfg.MessageBytesMax, declared: h.length, ended: ends}
	fault := s.describe(c.heads, c.server)
	c.mu.Lock()
	s.sendWindow = c.mu.streamWindow
	c.mu.streams[id] = s
	start := fault == nil && (s.method.stream != nil || ends)
	if start {
		s.started = true
		c.mu.running++
	}
	c.mu.Unlock()
	switch {
	case fault != nil:
		s.finish(fault, true)
	case start:
		c.server.workers.do(s)
	}
	return nil
}

// describe fills in what the headers say, or returns why the request cannot be
// served.
func (s *stream) describe(r *headReader, server *Server) *status.Status {
	h := &r.head
	s.call.Context = r.base
	if s.method = h.refusal(); s.method != nil {
		s.in.discards = true
		return nil
	}
	if h.bytes > headerBytesMax {
		return status.Newf(codes.ResourceExhausted, "headers of %d bytes are more than %d", h.bytes, headerBytesMax)
	}
	ctx, err := r.context()
	if err != nil {
		return status.Newf(codes.Internal, "a header that ends in -bin is no base64: %v", err)
	}
	s.call.Context = withStream(ctx, s)
	if h.age != "" {
		d, ok := parseTimeout(h.age)
		if !ok {
			return status.Newf(codes.Internal, "malformed grpc-timeout: %q", h.age)
		}
		s.mu.deadline = deadline(d)
	}
	if h.encoding != "" && h.encoding != encoding.Identity {
		if s.compressor = encoding.GetCompressor(h.encoding); s.compressor == nil {
			return status.Newf(codes.Unimplemented, "grpc: Decompressor is not installed for grpc-encoding %q", h.encoding)
		}
	}
	if s.method = server.methods[h.path]; s.method == nil {
		return unknownMethod(h.path, server)
	}
	return nil
}

// deadline is when a timeout that begins now is over; the clock cannot name
// every time that a client can.
func deadline(d time.Duration) time.Time {
	const forever = math.MaxInt64 / 4
	return time.Now().Add(min(d, forever))
}

func unknownMethod(path string, server *Server) *status.Status {
	service, name, ok := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if i := strings.LastIndexByte(path, '/'); ok && i > 0 {
		service, name = path[1:i], path[i+1:]
	}
	switch _, known := server.info[service]; {
	case !ok:
		return status.Newf(codes.Unimplemented, "malformed method name: %q", path)
	case !known:
		return status.Newf(codes.Unimplemented, "unknown service %v", service)
	}
	return status.Newf(codes.Unimplemented, "unknown method %v for service %v", name, service)
}

// data takes in a part of a message.
func (c *conn) data(f frame) error {
	payload, err := unpad(f)
	if err != nil {
		return err
	}
	if f.stream == 0 {
		return connError{http2.ErrCodeProtocol, "DATA of no stream"}
	}
	s, err := c.account(f)
	if err != nil {
		return err
	}
	return c.receive(s, payload, f.flags.Has(http2.FlagDataEndStream))
}

// account heeds the windows, which padding counts for, too, and returns the
// stream.
func (c *conn) account(f frame) (*stream, error) {
	size := int64(len(f.payload))
	c.mu.Lock()
	defer c.unlockAndSpawn()
	if c.mu.receiveWindow -= size; c.mu.receiveWindow < 0 {
		return nil, connError{http2.ErrCodeFlowControl, "more than the window of the connection"}
	}
	// What streams hold back is bounded by their own windows: the connection goes
	// on.
	if c.mu.unacked += size; c.mu.unacked >= int64(c.server.cfg.ConnWindowBytes)/4 {
		c.owe(appendWindowUpdate(c.mu.out, 0, uint32(c.mu.unacked)))
		c.mu.receiveWindow += c.mu.unacked
		c.mu.unacked = 0
	}
	s := c.mu.streams[f.stream]
	switch {
	case s == nil:
		if err := c.ofNoStream(f); err != nil {
			return nil, err
		}
		return nil, streamError{f.stream, http2.ErrCodeStreamClosed}
	case s.in.ended:
		return nil, streamError{f.stream, http2.ErrCodeStreamClosed}
	}
	s.unacked += size
	if s.receiveWindow -= size; s.receiveWindow < 0 {
		return nil, streamError{f.stream, http2.ErrCodeFlowControl}
	}
	return s, nil
}

// receive gives a stream a part of what the client sends, and starts a unary
// handler when its request is whole.
func (c *conn) receive(s *stream, payload []byte, ends bool) error {
	c.mu.Lock()
	s.in.feed(payload)
	if s.in.miscounted(ends) {
		c.mu.Unlock()
		return streamError{s.id, http2.ErrCodeProtocol}
	}
	s.in.ended = s.in.ended || ends
	s.acknowledge()
	start := !s.started && (s.in.ready() || s.in.ended)
	if start {
		s.started = true
		c.mu.running++
	}
	s.wakeReceiver()
	c.unlockAndSpawn()
	if start {
		c.server.workers.do(s)
	}
	return nil
}
