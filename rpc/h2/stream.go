package h2

import (
	"context"
	"io"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// stream is one request. It is the context of its handler, and, if the method is
// one of streams, the handler's grpc.ServerStream by way of serverStream.
type stream struct {
	call
	conn       *conn
	id         uint32
	method     *method
	compressor encoding.Compressor // nil: none

	// All below is guarded by conn.mu.
	in                     inbox
	receiveWindow, unacked int64
	sendWindow             int64
	started                bool // a unary handler was
	gone                   bool // nothing is sent any more
	torn                   bool // a message was begun that cannot be ended
	headerSent             bool
	header, trailer        metadata.MD
	receiver, sender       chan struct{} // what waits; nil: nothing ever did
}

// withStream lets handlers reach the headers through the context, as with
// grpc.SetHeader.
func withStream(ctx context.Context, s *stream) context.Context {
	return grpc.NewContextWithServerTransportStream(ctx, transportStream{s})
}

// serve runs the handler.
func (s *stream) serve() {
	switch {
	case s.method.unary != nil:
		s.serveUnary()
	case s.method.stream != nil:
		s.serveStream()
	default:
		s.serveRefusal()
	}
}

func (s *stream) serveUnary() {
	resp, err := s.method.unary.Handler(s.method.impl, s, s.decodeOnly, s.conn.server.cfg.Unary)
	if err == nil {
		err = s.send(resp)
	}
	s.finish(statusOf(err), false)
}

func (s *stream) serveStream() {
	ss := serverStream{s: s, ctx: streamContext{s, s}}
	var err error
	if intercept := s.conn.server.cfg.Stream; intercept != nil {
		d := s.method.stream
		info := &grpc.StreamServerInfo{FullMethod: s.method.path, IsClientStream: d.ClientStreams, IsServerStream: d.ServerStreams}
		err = intercept(s.method.impl, ss, info, d.Handler)
	} else {
		err = s.method.stream.Handler(s.method.impl, ss)
	}
	s.finish(statusOf(err), false)
}

// statusOf is what a client gets for what a handler returned.
func statusOf(err error) *status.Status {
	if st, ok := status.FromError(err); ok {
		return st // of nil, too: OK
	}
	return status.FromContextError(err)
}

// decodeOnly reads the one message of a unary request.
func (s *stream) decodeOnly(into any) error {
	s.conn.mu.Lock()
	m, err := s.in.take()
	s.conn.mu.Unlock()
	if err == io.EOF {
		return status.Error(codes.Internal, "the request has no message")
	}
	if err != nil {
		return err
	}
	return s.decode(m, into)
}

// finish ends the request with a status. unheard: no handler has run.
func (s *stream) finish(st *status.Status, unheard bool) {
	c := s.conn
	c.mu.Lock()
	if !unheard {
		s.awaitEnd()
		c.mu.running--
	}
	before := len(c.mu.out)
	if s.torn && !s.gone {
		// A status behind half a message would be taken for the rest of it.
		c.mu.out = appendReset(c.mu.out, s.id, http2.ErrCodeCancel)
		c.forget(s)
	}
	if !s.gone {
		s.queueEnd(st)
		if !s.in.ended {
			// What the client still sends is of no use.
			c.mu.out = appendReset(c.mu.out, s.id, http2.ErrCodeNo)
		}
		c.forget(s)
	}
	if unheard {
		c.owed.Add(int64(len(c.mu.out) - before))
		c.unlockAndSpawn() // the reader is here
	} else {
		c.unlockAndFlush()
	}
	s.end(context.Canceled)
}

// queueEnd adds the trailers, if there are to be any. The caller holds conn.mu.
func (s *stream) queueEnd(st *status.Status) {
	c := s.conn
	if s.method != nil && s.method.refuse != nil {
		c.mu.out = appendFrameHeader(c.mu.out, 0, http2.FrameData, http2.FlagDataEndStream, s.id)
		return
	}
	if len(s.header) > 0 {
		s.queueHeader() // in one block with the trailers they would count as such
	}
	b := c.mu.answers.begin(c.mu.block[:0])
	if !s.headerSent {
		b = c.mu.answers.header(b, "", nil)
	}
	b = c.mu.answers.trailer(b, st, s.trailer)
	s.queueBlock(b, http2.FlagHeadersEndStream)
}

// queueHeader adds the headers, once. The caller holds conn.mu.
func (s *stream) queueHeader() {
	if s.headerSent {
		return
	}
	s.headerSent = true
	c := s.conn
	name := ""
	if s.compressor != nil {
		name = s.compressor.Name()
	}
	s.queueBlock(c.mu.answers.header(c.mu.answers.begin(c.mu.block[:0]), name, s.header), 0)
}

// queueBlock adds a header block as frames. The caller holds conn.mu.
func (s *stream) queueBlock(block []byte, flags http2.Flags) {
	c := s.conn
	c.mu.block = block
	c.mu.answered = true
	kind := http2.FrameHeaders
	for len(block) > frameBytesMax {
		c.mu.out = appendFrameHeader(c.mu.out, frameBytesMax, kind, flags, s.id)
		c.mu.out = append(c.mu.out, block[:frameBytesMax]...)
		block, kind, flags = block[frameBytesMax:], http2.FrameContinuation, 0
	}
	c.mu.out = appendFrameHeader(c.mu.out, len(block), kind, flags|http2.FlagHeadersEndHeaders, s.id)
	c.mu.out = append(c.mu.out, block...)
}

// forget takes a stream off the connection. The caller holds mu.
func (c *conn) forget(s *stream) {
	s.gone = true
	s.wakeSender()
	delete(c.mu.streams, s.id)
	c.endIfDrained()
}

// cancel ends the context of a stream that the client gave up.
func (s *stream) cancel() { s.end(context.Canceled) }

// send sends a message, waiting for the client's windows where it must.
func (s *stream) send(m any) error {
	buffers := &s.conn.server.buffers
	buf := buffers.get()
	defer buffers.put(buf)
	if err := s.encode(buf, m); err != nil {
		return err
	}
	c := s.conn
	c.mu.Lock()
	if s.gone || s.torn {
		c.mu.Unlock()
		return s.goneError()
	}
	s.queueHeader()
	if err := s.queueData(*buf); err != nil {
		return err
	}
	if s.method.unary != nil {
		c.mu.Unlock() // the trailers go with it
		return nil
	}
	c.unlockAndFlush()
	return nil
}

// queueData adds a body as there is room for it. conn.mu is held before, and after
// if there is no error.
func (s *stream) queueData(rest []byte) error {
	c := s.conn
	for whole := len(rest); len(rest) > 0; {
		n := s.room(len(rest))
		if n == 0 {
			if err := s.awaitRoom(len(rest) < whole); err != nil {
				return err
			}
			continue
		}
		c.mu.out = appendFrameHeader(c.mu.out, n, http2.FrameData, 0, s.id)
		c.mu.out = append(c.mu.out, rest[:n]...)
		rest = rest[n:]
		s.sendWindow -= int64(n)
		c.mu.sendWindow -= int64(n)
		c.mu.answered = true
	}
	return nil
}

// room tells how many of n bytes may be queued now. The caller holds conn.mu.
func (s *stream) room(n int) int {
	c := s.conn
	if len(c.mu.out) >= outBytesMax {
		return 0
	}
	return int(max(0, min(int64(n), frameBytesMax, s.sendWindow, c.mu.sendWindow)))
}

// awaitRoom waits until there may be room. conn.mu is held before, and after if
// there is no error. begun: a part of the message is sent.
func (s *stream) awaitRoom(begun bool) error {
	c := s.conn
	if s.sender == nil {
		s.sender = make(chan struct{}, 1)
	}
	c.mu.waiting[s] = struct{}{}
	c.unlockAndFlush()
	select {
	case <-s.sender:
	case <-s.Done():
	}
	c.mu.Lock()
	delete(c.mu.waiting, s)
	if s.gone || s.Err() != nil {
		s.torn = begun
		c.mu.Unlock()
		return s.goneError()
	}
	return nil
}

// awaitEnd keeps the end of a request back while the connection is far behind:
// requests that fail need no window, and could be begun for ever. conn.mu is held
// before and after.
func (s *stream) awaitEnd() {
	c := s.conn
	for !s.gone && len(c.mu.out) > outBytesLimit {
		if s.sender == nil {
			s.sender = make(chan struct{}, 1)
		}
		c.mu.waiting[s] = struct{}{}
		c.unlockAndFlush()
		<-s.sender // of the next write, or of the one who ends the stream
		c.mu.Lock()
		delete(c.mu.waiting, s)
	}
}

func (s *stream) goneError() error {
	if err := s.Err(); err != nil {
		return status.FromContextError(err).Err()
	}
	return status.Error(codes.Internal, "the request has ended")
}

// wakeSender wakes a sender that waits. The caller holds conn.mu.
func (s *stream) wakeSender() { wake(s.sender) }

// wakeReceiver wakes a receiver that waits. The caller holds conn.mu.
func (s *stream) wakeReceiver() { wake(s.receiver) }

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// acknowledge opens the client's window again when nothing waits to be read. The
// caller holds conn.mu.
func (s *stream) acknowledge() {
	if len(s.in.queue) > 0 || s.in.ended || s.gone || s.unacked < int64(s.conn.server.cfg.StreamWindowBytes)/2 {
		return
	}
	s.conn.mu.out = appendWindowUpdate(s.conn.mu.out, s.id, uint32(s.unacked))
	s.receiveWindow += s.unacked
	s.unacked = 0
}

// receive waits for the next message.
func (s *stream) receive() (message, error) {
	c := s.conn
	for {
		c.mu.Lock()
		if s.in.ready() {
			m, err := s.in.take()
			s.acknowledge()
			c.unlockAndFlush()
			return m, err
		}
		if s.gone {
			c.mu.Unlock()
			return message{}, s.goneError()
		}
		if s.receiver == nil {
			s.receiver = make(chan struct{}, 1)
		}
		c.mu.Unlock()
		select {
		case <-s.receiver:
		case <-s.Done():
			return message{}, s.goneError()
		}
	}
}

// setHeader adds to the headers, if they are not sent; now sends them.
func (s *stream) setHeader(md metadata.MD, now bool) error {
	c := s.conn
	c.mu.Lock()
	if s.headerSent || s.gone {
		c.mu.Unlock()
		return status.Error(codes.Internal, "the headers were sent already")
	}
	s.header = metadata.Join(s.header, md)
	if now {
		s.queueHeader()
	}
	c.unlockAndFlush()
	return nil
}

func (s *stream) setTrailer(md metadata.MD) {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	s.trailer = metadata.Join(s.trailer, md)
}

// transportStream is what grpc.SetHeader and its like look for in a context.
type transportStream struct{ s *stream }

func (t transportStream) Method() string                  { return t.s.method.path }
func (t transportStream) SetHeader(md metadata.MD) error  { return t.s.setHeader(md, false) }
func (t transportStream) SendHeader(md metadata.MD) error { return t.s.setHeader(md, true) }
func (t transportStream) SetTrailer(md metadata.MD) error {
	t.s.setTrailer(md)
	return nil
}

// serverStream is a stream as its handler sees it.
type serverStream struct {
	s   *stream
	ctx streamContext
}

// streamContext hides that the context could be bounded: a deadline for one of
// the steps of a stream must not be one for the stream.
type streamContext struct {
	context.Context
	s *stream
}

// AfterFunc is what package context looks for.
func (c streamContext) AfterFunc(f func()) (stop func() bool) { return c.s.AfterFunc(f) }

func (t serverStream) SetHeader(md metadata.MD) error  { return t.s.setHeader(md, false) }
func (t serverStream) SendHeader(md metadata.MD) error { return t.s.setHeader(md, true) }
func (t serverStream) SetTrailer(md metadata.MD)       { t.s.setTrailer(md) }
func (t serverStream) Context() context.Context        { return t.ctx }
func (t serverStream) SendMsg(m any) error             { return t.s.send(m) }

// RecvMsg returns io.EOF once the client has sent all.
func (t serverStream) RecvMsg(m any) error {
	got, err := t.s.receive()
	if err != nil {
		return err
	}
	return t.s.decode(got, m)
}
