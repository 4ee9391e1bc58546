package h2

import (
	"context"
	"io"

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

// forget takes a stream off the connection. The caller holds mu.
func (c *conn) forget(s *stream) {
	s.gone = true
	s.wakeSender()
	delete(c.mu.streams, s.id)
	c.endIfDrained()
}

// cancel ends the context of a stream that the client gave up.
func (s *stream) cancel() { s.end(context.Canceled) }

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
