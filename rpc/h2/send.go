package h2

import (
	"context"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

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
