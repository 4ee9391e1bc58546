package h2

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// Encoded is a message that is encoded already. What Buffers returns is only
// read, and may be shared with other messages.
type Encoded interface {
	Buffers() mem.BufferSlice
}

// bufferPool lends buffers for messages. The zero value is ready.
type bufferPool struct{ pool sync.Pool }

func (p *bufferPool) get() *[]byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		return b
	}
	return new([]byte)
}

// bufferBytesKeep bounds what is kept for the next message.
const bufferBytesKeep = 64 << 10

func (p *bufferPool) put(b *[]byte) {
	if cap(*b) <= bufferBytesKeep {
		p.pool.Put(b)
	}
}

// encode puts a message with its prefix into buf.
func (s *stream) encode(buf *[]byte, m any) error {
	b := append((*buf)[:0], 0, 0, 0, 0, 0)
	b, err := appendMessage(b, m)
	if err == nil && s.compressor != nil && len(b) > prefixBytes {
		b, err = s.compress(b)
	}
	if err != nil {
		return status.Errorf(codes.Internal, "grpc: error while marshaling: %v", err)
	}
	size := len(b) - prefixBytes
	if size > math.MaxInt32 {
		return status.Errorf(codes.ResourceExhausted, "grpc: trying to send message larger than max (%d vs. %d)", size, math.MaxInt32)
	}
	binary.BigEndian.PutUint32(b[1:], uint32(size))
	*buf = b
	return nil
}

func appendMessage(b []byte, m any) ([]byte, error) {
	switch m := m.(type) {
	case Encoded:
		for _, part := range m.Buffers() {
			b = append(b, part.ReadOnlyData()...)
		}
		return b, nil
	case proto.Message:
		return proto.MarshalOptions{}.MarshalAppend(b, m)
	}
	return nil, fmt.Errorf("%T is no protobuf message", m)
}

func (s *stream) compress(b []byte) ([]byte, error) {
	var packed bytes.Buffer
	packed.Write([]byte{1, 0, 0, 0, 0})
	w, err := s.compressor.Compress(&packed)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(b[prefixBytes:]); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return packed.Bytes(), nil
}

// decode reads a message, and gives its buffer back.
func (s *stream) decode(m message, into any) error {
	defer s.conn.server.buffers.put(m.body)
	body := *m.body
	if m.compressed {
		var err error
		if body, err = s.decompress(body); err != nil {
			return err
		}
	}
	msg, ok := into.(proto.Message)
	if !ok {
		return status.Errorf(codes.Internal, "grpc: %T is no protobuf message", into)
	}
	if err := proto.Unmarshal(body, msg); err != nil {
		return status.Errorf(codes.Internal, "grpc: error unmarshalling request: %v", err)
	}
	return nil
}

func (s *stream) decompress(packed []byte) ([]byte, error) {
	if s.compressor == nil {
		return nil, status.Error(codes.Internal, "grpc: compressed flag set with identity or empty encoding")
	}
	r, err := s.compressor.Decompress(bytes.NewReader(packed))
	if err != nil {
		return nil, status.Errorf(codes.Internal, "grpc: failed to decompress the received message: %v", err)
	}
	bytesMax := s.conn.server.cfg.MessageBytesMax
	body, err := io.ReadAll(io.LimitReader(r, int64(bytesMax)+1))
	switch {
	case err != nil:
		return nil, status.Errorf(codes.Internal, "grpc: failed to decompress the received message: %v", err)
	case len(body) > bytesMax:
		return nil, status.Errorf(codes.ResourceExhausted, "grpc: received message after decompression larger than max %d", bytesMax)
	}
	return body, nil
}
