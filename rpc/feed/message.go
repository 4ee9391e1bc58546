package feed

import (
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// InvalidID is the watch id of a message that is about no watch: a refused
// creation, or the progress of all watches of a stream.
const InvalidID = -1

// Message is one WatchResponse to be.
type Message struct {
	WatchID int64
	// Revision is that of the header.
	Revision int64

	Created, Canceled, Fragment bool

	CompactRevision int64
	CancelReason    string

	// Events are all of one or more revisions, in order.
	Events []*Event
	// MaySplit is whether the client takes fragments.
	MaySplit bool
}

// Frame is a message in the form a gRPC server sends, see listen.Codec.
type Frame struct{ buffers mem.BufferSlice }

// Buffers are the bytes of the message. They are shared and must not change.
func (f *Frame) Buffers() mem.BufferSlice { return f.buffers }

// fixedSizeMax is more than all fields but events and cancel reason take.
const fixedSizeMax = 96

// Size is about what the message takes on the wire, in bytes, and never less.
func (m *Message) Size() int {
	n := fixedSizeMax + len(m.CancelReason)
	for _, e := range m.Events {
		n += e.size
	}
	return n
}

// Encode returns the message under a header. The bytes of events are shared;
// what is encoded anew for every watcher is this little, and by hand.
func (m *Message) Encode(header *pb.ResponseHeader) *Frame {
	b := make([]byte, 0, fixedSizeMax+len(m.CancelReason))
	b = appendHeader(b, header)
	b = appendVarint(b, responseWatchID, m.WatchID)
	b = appendVarint(b, responseCreated, truth(m.Created))
	b = appendVarint(b, responseCanceled, truth(m.Canceled))
	b = appendVarint(b, responseCompactRevision, m.CompactRevision)
	b = appendBytes(b, responseCancelReason, []byte(m.CancelReason))
	b = appendVarint(b, responseFragment, truth(m.Fragment))
	buffers := make(mem.BufferSlice, 0, 1+len(m.Events))
	if len(b) > 0 {
		buffers = append(buffers, mem.SliceBuffer(b))
	}
	for _, e := range m.Events {
		buffers = append(buffers, e.field)
	}
	return &Frame{buffers}
}

func appendHeader(b []byte, h *pb.ResponseHeader) []byte {
	values := [...]int64{
		headerClusterID - 1: int64(h.GetClusterId()), headerMemberID - 1: int64(h.GetMemberId()),
		headerRevision - 1: h.GetRevision(), headerRaftTerm - 1: int64(h.GetRaftTerm()),
	}
	size := 0
	for i, v := range values {
		size += varintFieldSize(protowire.Number(i+1), v)
	}
	if size == 0 {
		return b // as an absent one
	}
	b = appendLength(b, responseHeader, size)
	for i, v := range values {
		b = appendVarint(b, protowire.Number(i+1), v)
	}
	return b
}

func truth(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// Response returns the message as callers in process take it.
func (m *Message) Response(header *pb.ResponseHeader) (*pb.WatchResponse, error) {
	f := m.Encode(header)
	resp := &pb.WatchResponse{}
	if err := proto.Unmarshal(f.buffers.Materialize(), resp); err != nil {
		return nil, fmt.Errorf("decoding a watch response of our own: %w", err)
	}
	return resp, nil
}

// Fragments sends the message in pieces of about bytesMax, if the client takes
// them; else whole. A piece has one event at least.
func (m *Message) Fragments(bytesMax int, send func(*Message) error) error {
	if !m.MaySplit || len(m.Events) < 2 || m.Size() < bytesMax {
		return send(m)
	}
	for rest := m.Events; len(rest) > 0; {
		n, size := 1, fixedSizeMax+len(m.CancelReason)+rest[0].size
		for n < len(rest) && size+rest[n].size < bytesMax {
			size += rest[n].size
			n++
		}
		piece := *m
		piece.Events, rest = rest[:n], rest[n:]
		piece.Fragment = len(rest) > 0
		if err := send(&piece); err != nil {
			return err
		}
	}
	return nil
}
