package h2

import (
	"encoding/binary"
	"fmt"
	"io"

	"golang.org/x/net/http2"
)

// Sizes of the protocol (RFC 9113, sections 4.1, 4.2 and 6.9.2).
const (
	frameHeaderBytes   = 9
	frameBytesMax      = 1 << 14 // we announce no more
	windowBytesDefault = 1<<16 - 1
	windowBytesLimit   = 1<<31 - 1
)

// frame is one frame as it was read. Its payload is valid until the next read.
type frame struct {
	kind    http2.FrameType
	flags   http2.Flags
	stream  uint32
	payload []byte
}

// appendFrameHeader adds the nine bytes before a payload.
func appendFrameHeader(b []byte, payloadBytes int, kind http2.FrameType, flags http2.Flags, stream uint32) []byte {
	return append(b, byte(payloadBytes>>16), byte(payloadBytes>>8), byte(payloadBytes), byte(kind), byte(flags),
		byte(stream>>24), byte(stream>>16), byte(stream>>8), byte(stream))
}

func appendSettings(b []byte, settings ...http2.Setting) []byte {
	b = appendFrameHeader(b, 6*len(settings), http2.FrameSettings, 0, 0)
	for _, s := range settings {
		b = binary.BigEndian.AppendUint16(b, uint16(s.ID))
		b = binary.BigEndian.AppendUint32(b, s.Val)
	}
	return b
}

func appendReset(b []byte, stream uint32, code http2.ErrCode) []byte {
	b = appendFrameHeader(b, 4, http2.FrameRSTStream, 0, stream)
	return binary.BigEndian.AppendUint32(b, uint32(code))
}

func appendWindowUpdate(b []byte, stream, bytes uint32) []byte {
	b = appendFrameHeader(b, 4, http2.FrameWindowUpdate, 0, stream)
	return binary.BigEndian.AppendUint32(b, bytes)
}

func appendPing(b []byte, ack bool, data [8]byte) []byte {
	var flags http2.Flags
	if ack {
		flags = http2.FlagPingAck
	}
	return append(appendFrameHeader(b, len(data), http2.FramePing, flags, 0), data[:]...)
}

func appendGoAway(b []byte, last uint32, code http2.ErrCode, why string) []byte {
	b = appendFrameHeader(b, 8+len(why), http2.FrameGoAway, 0, 0)
	b = binary.BigEndian.AppendUint32(b, last)
	b = binary.BigEndian.AppendUint32(b, uint32(code))
	return append(b, why...)
}

// connError ends a connection.
type connError struct {
	code http2.ErrCode
	why  string
}

func (e connError) Error() string { return fmt.Sprintf("h2: %s (%v)", e.why, e.code) }

// streamError ends a stream.
type streamError struct {
	stream uint32
	code   http2.ErrCode
}

func (e streamError) Error() string { return fmt.Sprintf("h2: stream %d: %v", e.stream, e.code) }

// The buffer of a connection grows with what comes at once.
const (
	readBytesMin = 4 << 10
	readBytesMax = 64 << 10
)

// frameReader cuts what a connection brings into frames.
type frameReader struct {
	r          io.Reader
	buf        []byte
	start, end int // what was read and not yet taken
	arrived    func()
}

// next returns the frame that comes next; it does not copy the payload.
func (f *frameReader) next() (frame, error) {
	head, err := f.take(frameHeaderBytes)
	if err != nil {
		return frame{}, err
	}
	length := int(head[0])<<16 | int(head[1])<<8 | int(head[2])
	fr := frame{
		kind: http2.FrameType(head[3]), flags: http2.Flags(head[4]),
		stream: binary.BigEndian.Uint32(head[5:]) & (1<<31 - 1),
	}
	if length > frameBytesMax {
		return frame{}, connError{http2.ErrCodeFrameSize, fmt.Sprintf("a frame of %d bytes", length)}
	}
	fr.payload, err = f.take(length)
	return fr, err
}

// take returns the next n bytes, n at most frameBytesMax.
func (f *frameReader) take(n int) ([]byte, error) {
	for f.end-f.start < n {
		if err := f.fill(n); err != nil {
			return nil, err
		}
	}
	b := f.buf[f.start : f.start+n : f.start+n]
	f.start += n
	return b, nil
}

func (f *frameReader) fill(n int) error {
	f.makeRoom(n)
	k, err := f.r.Read(f.buf[f.end:])
	f.end += k
	if k > 0 {
		f.arrived()
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// makeRoom moves what is left to the front, and takes a larger buffer when n
// bytes would not fit or the last read filled it.
func (f *frameReader) makeRoom(n int) {
	left := f.end - f.start
	size := max(len(f.buf), readBytesMin)
	if f.end == len(f.buf) && left > 0 {
		size = min(2*size, readBytesMax)
	}
	for size < n {
		size *= 2
	}
	if size == len(f.buf) {
		copy(f.buf, f.buf[f.start:f.end])
	} else {
		bigger := make([]byte, size)
		copy(bigger, f.buf[f.start:f.end])
		f.buf = bigger
	}
	f.start, f.end = 0, left
}
