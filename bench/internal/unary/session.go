package unary

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strconv"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	prefixBytes = 5
	frameBytes  = 1 << 14
	// The server may send so much ahead: the answers of a benchmark are read at
	// once.
	windowBytes   = 1 << 30
	readBytes     = 64 << 10
	firstWindow   = 1<<16 - 1
	smallestWrite = 1 << 10 // a smaller write waits for company
)

// session is one TCP connection.
type session struct {
	net     net.Conn
	address string
	reading sync.WaitGroup

	mu      sync.Mutex
	calls   map[uint32]*call
	next    uint32
	broken  error
	headers *hpack.Encoder // writes to block
	block   bytes.Buffer

	out, spare []byte
	writing    bool
	window     int64     // bytes that the server takes
	streamWin  int64     // of a stream that begins now
	opened     sync.Cond // the window has grown, or the session broke
}

func dial(ctx context.Context, address string) (*session, error) {
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	s := &session{net: raw, address: address, calls: map[uint32]*call{}, next: 1, window: firstWindow, streamWin: firstWindow}
	s.opened.L = &s.mu
	s.headers = hpack.NewEncoder(&s.block)
	var hello bytes.Buffer
	hello.WriteString(http2.ClientPreface)
	f := http2.NewFramer(&hello, nil)
	err = errors.Join(
		f.WriteSettings(http2.Setting{ID: http2.SettingEnablePush, Val: 0}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: windowBytes}),
		f.WriteWindowUpdate(0, windowBytes-firstWindow))
	if err == nil {
		_, err = raw.Write(hello.Bytes())
	}
	if err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	s.reading.Go(s.read)
	return s, nil
}

func (s *session) isBroken() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broken != nil
}

// breakUp fails all calls; only the first reason counts.
func (s *session) breakUp(why error) {
	s.mu.Lock()
	if s.broken == nil {
		s.broken = why
		_ = s.net.Close() // it is of no use any more
	}
	calls := s.calls
	s.calls = map[uint32]*call{}
	s.opened.Broadcast()
	s.mu.Unlock()
	for _, k := range calls {
		k.err = status.Error(codes.Unavailable, why.Error())
		k.done <- struct{}{}
	}
}

// send queues a call and sees to it that it is written.
func (s *session) send(ctx context.Context, k *call, method string) error {
	s.mu.Lock()
	size := int64(len(k.request))
	for s.broken == nil && s.window < size && size <= s.streamWin {
		s.opened.Wait()
	}
	if s.broken != nil || size > s.streamWin {
		defer s.mu.Unlock()
		if s.broken == nil {
			return status.Errorf(codes.ResourceExhausted, "a request of %d bytes is more than the %d that the server takes at once", size, s.streamWin)
		}
		return status.Error(codes.Unavailable, s.broken.Error())
	}
	s.window -= size
	k.id = s.next
	s.next += 2
	s.calls[k.id] = k
	s.queueHeaders(ctx, k.id, method)
	for rest := k.request; len(rest) > 0; {
		n := min(len(rest), frameBytes)
		var flags http2.Flags
		if n == len(rest) {
			flags = http2.FlagDataEndStream
		}
		s.queue(http2.FrameData, flags, k.id, rest[:n])
		rest = rest[n:]
	}
	s.flush()
	return nil
}

// queueHeaders adds what a request begins with.
func (s *session) queueHeaders(ctx context.Context, id uint32, method string) {
	s.block.Reset()
	for _, f := range [...]hpack.HeaderField{
		{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "http"}, {Name: ":path", Value: method}, {Name: ":authority", Value: s.address},
		{Name: "content-type", Value: "application/grpc"}, {Name: "user-agent", Value: "raft-kv-bench"}, {Name: "te", Value: "trailers"},
	} {
		_ = s.headers.WriteField(f) // into memory
	}
	if end, ok := ctx.Deadline(); ok {
		// Whole seconds, rounded up: the same words as in the last request are one
		// byte.
		_ = s.headers.WriteField(hpack.HeaderField{Name: "grpc-timeout", Value: strconv.Itoa(int(time.Until(end)/time.Second)+1) + "S"})
	}
	s.queue(http2.FrameHeaders, http2.FlagHeadersEndHeaders, id, s.block.Bytes())
}

// queue adds a frame. The caller holds mu.
func (s *session) queue(kind http2.FrameType, flags http2.Flags, id uint32, payload []byte) {
	n := len(payload)
	s.out = append(s.out, byte(n>>16), byte(n>>8), byte(n), byte(kind), byte(flags), byte(id>>24), byte(id>>16), byte(id>>8), byte(id))
	s.out = append(s.out, payload...)
}

// flush releases mu and writes what is queued, unless somebody does.
func (s *session) flush() {
	if s.writing || len(s.out) == 0 {
		s.mu.Unlock()
		return
	}
	s.writing = true
	for len(s.out) > 0 && s.broken == nil {
		if len(s.out) < smallestWrite && len(s.calls) > 1 {
			s.mu.Unlock()
			runtime.Gosched() // other callers share the write
			s.mu.Lock()
		}
		b := s.out
		s.out, s.spare = s.spare[:0], nil
		s.mu.Unlock()
		_, err := s.net.Write(b)
		if err != nil {
			s.breakUp(err)
		}
		s.mu.Lock()
		s.spare = b
	}
	s.writing = false
	s.mu.Unlock()
}

// abandon gives a call up; false: it is answered, or about to be.
func (s *session) abandon(k *call) bool {
	s.mu.Lock()
	if s.calls[k.id] != k {
		s.mu.Unlock()
		return false
	}
	delete(s.calls, k.id)
	s.queue(http2.FrameRSTStream, 0, k.id, []byte{0, 0, 0, byte(http2.ErrCodeCancel)})
	s.flush()
	return true
}

// read takes in what the server sends, until the connection breaks.
func (s *session) read() {
	f := http2.NewFramer(io.Discard, bufio.NewReaderSize(s.net, readBytes))
	f.SetReuseFrames()
	f.SetMaxReadFrameSize(frameBytes)
	in := &reader{s: s, framer: f}
	in.headers = hpack.NewDecoder(4096, in.field)
	for {
		fr, err := f.ReadFrame()
		if err == nil {
			err = in.handle(fr)
		}
		if err != nil {
			s.breakUp(fmt.Errorf("connection to %s: %w", s.address, err))
			return
		}
	}
}
