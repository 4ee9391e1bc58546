package unary

import (
	"encoding/binary"
	"fmt"
	"net/url"
	"strconv"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
)

// reader is what the reading goroutine of a session keeps.
type reader struct {
	s       *session
	framer  *http2.Framer
	headers *hpack.Decoder
	current *call // whose header block is read; nil: of nobody who waits
	ends    bool  // that block ends its stream
	unacked int   // bytes that the server may send again once told
}

// acknowledgeBytes is how much is read before the server is told.
const acknowledgeBytes = windowBytes / 4

func (r *reader) handle(f http2.Frame) error {
	switch f := f.(type) {
	case *http2.DataFrame:
		return r.data(f)
	case *http2.HeadersFrame:
		r.current, r.ends = r.find(f.StreamID), f.StreamEnded()
		return r.block(f.HeaderBlockFragment(), f.HeadersEnded())
	case *http2.ContinuationFrame:
		return r.block(f.HeaderBlockFragment(), f.HeadersEnded())
	case *http2.RSTStreamFrame:
		if k := r.find(f.StreamID); k != nil {
			k.status, k.message, k.ended = codes.Unavailable, fmt.Sprintf("the server ended the call: %v", f.ErrCode), true
			r.finish(k, f.StreamID)
		}
	case *http2.WindowUpdateFrame:
		r.window(f)
	case *http2.SettingsFrame:
		r.settings(f)
	case *http2.PingFrame:
		if !f.IsAck() {
			r.control(http2.FramePing, http2.FlagPingAck, f.Data[:])
		}
	case *http2.GoAwayFrame:
		return fmt.Errorf("the server takes no more calls: %v %s", f.ErrCode, f.DebugData())
	}
	return nil
}

func (r *reader) find(id uint32) *call {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	return r.s.calls[id]
}

// finish answers a call, unless its caller has given it up.
func (r *reader) finish(k *call, id uint32) {
	r.s.mu.Lock()
	waits := r.s.calls[id] == k
	delete(r.s.calls, id)
	r.s.mu.Unlock()
	if waits {
		k.finish()
	}
}

func (r *reader) data(f *http2.DataFrame) error {
	k := r.find(f.StreamID)
	if k != nil {
		r.take(k, f)
	}
	if r.unacked += int(f.Length); r.unacked >= acknowledgeBytes {
		r.control(http2.FrameWindowUpdate, 0, binary.BigEndian.AppendUint32(nil, uint32(r.unacked)))
		r.unacked = 0
	}
	return nil
}

// take copies under the lock: a call that was given up may be somebody else's.
func (r *reader) take(k *call, f *http2.DataFrame) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if r.s.calls[f.StreamID] == k {
		k.received = append(k.received, f.Data()...)
	}
}

// block reads a part of a header block.
func (r *reader) block(b []byte, ended bool) error {
	if _, err := r.headers.Write(b); err != nil {
		return err
	}
	if !ended {
		return nil
	}
	if k := r.current; k != nil && r.ends {
		r.finish(k, k.id)
	}
	return r.headers.Close()
}

// field takes in one field of a header block.
func (r *reader) field(f hpack.HeaderField) {
	k := r.current
	if k == nil {
		return
	}
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if r.s.calls[k.id] != k {
		return
	}
	switch f.Name {
	case "grpc-status":
		code, err := strconv.ParseUint(f.Value, 10, 32)
		k.status, k.ended = codes.Code(code), err == nil
	case "grpc-message":
		k.message = f.Value
		if text, err := url.PathUnescape(f.Value); err == nil {
			k.message = text
		}
	}
}

func (r *reader) window(f *http2.WindowUpdateFrame) {
	if f.StreamID != 0 {
		return // no request is larger than what a stream may send at once
	}
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.s.window += int64(f.Increment)
	r.s.opened.Broadcast()
}

func (r *reader) settings(f *http2.SettingsFrame) {
	if f.IsAck() {
		return
	}
	r.s.mu.Lock()
	if v, ok := f.Value(http2.SettingInitialWindowSize); ok {
		r.s.streamWin = int64(v)
		r.s.opened.Broadcast()
	}
	if v, ok := f.Value(http2.SettingHeaderTableSize); ok {
		r.s.headers.SetMaxDynamicTableSizeLimit(v)
	}
	r.s.mu.Unlock()
	r.control(http2.FrameSettings, http2.FlagSettingsAck, nil)
}

// control sends a frame of the connection itself. Servers read at any time, so
// the reader may write.
func (r *reader) control(kind http2.FrameType, flags http2.Flags, payload []byte) {
	r.s.mu.Lock()
	r.s.queue(kind, flags, 0, payload)
	r.s.flush()
}
