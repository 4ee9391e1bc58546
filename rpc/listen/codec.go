package listen

import (
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// Encoded is a message that is encoded already. What Buffers returns is sent
// without being copied, and may be shared with other messages.
type Encoded interface {
	Buffers() mem.BufferSlice
}

// codec is gRPC's own for protobuf, but that it passes an Encoded on.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2(proto.Name)} }

// Marshal implements encoding.CodecV2.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if e, ok := v.(Encoded); ok {
		return e.Buffers(), nil
	}
	return c.CodecV2.Marshal(v)
}
