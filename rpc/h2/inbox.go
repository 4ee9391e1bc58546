package h2

import (
	"encoding/binary"
	"io"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// prefixBytes are before every message: a flag and its length.
const prefixBytes = 5

// trustBytes is what is allocated on a client's word that so much will come.
const trustBytes = 64 << 10

// message is a request as it came.
type message struct {
	compressed bool
	body       *[]byte // lent by the inbox's pool
}

// inbox puts messages together. Its owner guards it.
type inbox struct {
	buffers  *bufferPool
	bytesMax int
	discards bool  // what comes is no message
	declared int64 // by content-length; negative: nothing
	bytes    int64 // that came
	prefix   [prefixBytes]byte
	have     int // bytes of prefix
	partial  message
	missing  int // bytes of partial
	queue    []message
	fault    error // of the client: nothing behind it is heard
	ended    bool  // the client sends no more
}

// feed takes in bytes as they come.
func (in *inbox) feed(p []byte) {
	in.bytes += int64(len(p))
	if in.discards {
		return
	}
	for len(p) > 0 && in.fault == nil {
		if in.have < prefixBytes {
			n := copy(in.prefix[in.have:], p)
			in.have += n
			p = p[n:]
			if in.have < prefixBytes {
				return
			}
			if in.start(); in.fault != nil {
				return
			}
		}
		n := min(len(p), in.missing)
		*in.partial.body = append(*in.partial.body, p[:n]...)
		in.missing -= n
		p = p[n:]
		if in.missing == 0 {
			in.queue = append(in.queue, in.partial)
			in.partial, in.have = message{}, 0
		}
	}
}

// start begins the message that the prefix announces.
func (in *inbox) start() {
	size := binary.BigEndian.Uint32(in.prefix[1:])
	switch {
	case in.prefix[0] > 1:
		in.fault = status.Errorf(codes.Internal, "grpc: received unexpected payload format %d", in.prefix[0])
	case uint64(size) > uint64(in.bytesMax):
		in.fault = status.Errorf(codes.ResourceExhausted, "grpc: received message larger than max (%d vs. %d)", size, in.bytesMax)
	default:
		in.missing = int(size)
		in.partial = message{compressed: in.prefix[0] == 1, body: in.buffers.get()}
		*in.partial.body = slices.Grow((*in.partial.body)[:0], min(int(size), trustBytes))
	}
}

// miscounted tells whether content-length was wrong; ends: this was all.
func (in *inbox) miscounted(ends bool) bool {
	return in.declared >= 0 && (in.bytes > in.declared || ends && in.bytes < in.declared)
}

// ready tells whether take has an answer.
func (in *inbox) ready() bool { return len(in.queue) > 0 || in.fault != nil || in.ended }

// take returns the next message; io.EOF: the client sends none any more.
func (in *inbox) take() (message, error) {
	switch {
	case len(in.queue) > 0:
		m := in.queue[0]
		in.queue[0] = message{}
		if in.queue = in.queue[1:]; len(in.queue) == 0 {
			in.queue = nil
		}
		return m, nil
	case in.fault != nil:
		return message{}, in.fault
	case in.have > 0:
		return message{}, status.Error(codes.Internal, io.ErrUnexpectedEOF.Error())
	}
	return message{}, io.EOF
}
