package peer

import (
	"context"
	"sync"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"raftkv/rpc/peer/peerpb"
)

// service is the receiving half of a Transport.
type service struct {
	peerpb.UnimplementedPeerServer
	t *Transport
}

// inboundKey names what a member may have one of; snapshots have no lane.
type inboundKey struct {
	from uint64
	lane peerpb.Lane
}

// inbound is one incoming stream. Its work runs beside gRPC's handler, which
// can thus return, and so end the work's blocking calls, at any time.
type inbound struct {
	ended chan struct{} // closed by end
	once  sync.Once
	// handshake ends the stream unless it is stopped in time.
	handshake *time.Timer
}

func (in *inbound) end() { in.once.Do(func() { close(in.ended) }) }

// serve runs the work of a stream until it is done, ended or the transport
// closes.
func (t *Transport) serve(work func(in *inbound) error) error {
	in := &inbound{ended: make(chan struct{})}
	in.handshake = time.AfterFunc(t.opts.HandshakeTimeout, in.end)
	defer in.handshake.Stop()
	done := make(chan error, 1)
	if !t.spawn(func() { done <- work(in) }) {
		return status.Error(codes.Unavailable, ErrClosed.Error())
	}
	select {
	case err := <-done:
		return err
	case <-in.ended:
		return status.Error(codes.Aborted, "the receiver ended the stream")
	case <-t.ctx.Done():
		return status.Error(codes.Unavailable, ErrClosed.Error())
	}
}

// establish makes in the stream of its kind: an older one of the same member is
// a leftover of a broken connection. It waits for Start.
func (t *Transport) establish(ctx context.Context, key inboundKey, in *inbound) error {
	select {
	case <-t.started:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	in.handshake.Stop()
	t.mu.Lock()
	defer t.mu.Unlock()
	if old := t.mu.inbound[key]; old != nil {
		old.end()
	}
	t.mu.inbound[key] = in
	return nil
}

func (t *Transport) disestablish(key inboundKey, in *inbound) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.inbound[key] == in {
		delete(t.mu.inbound, key)
	}
}

// Connect implements the service.
func (s *service) Connect(stream grpc.BidiStreamingServer[peerpb.Frame, peerpb.Answer]) error {
	return s.t.serve(func(in *inbound) error { return s.t.receive(stream, in) })
}

func (t *Transport) receive(stream grpc.BidiStreamingServer[peerpb.Frame, peerpb.Answer], in *inbound) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	hello := first.GetHello()
	answer, ok := t.admit(hello)
	if !ok {
		return stream.Send(answer)
	}
	key := inboundKey{hello.GetFrom(), hello.GetLane()}
	if err := t.establish(stream.Context(), key, in); err != nil {
		return err
	}
	defer t.disestablish(key, in)
	if err := stream.Send(answer); err != nil {
		return err
	}
	for {
		frame, err := stream.Recv()
		if err != nil {
			return err
		}
		select {
		case <-in.ended: // what a newer stream brings must not be overtaken
			return nil
		default:
		}
		t.deliver(hello.GetFrom(), frame)
	}
}

func (t *Transport) deliver(from uint64, frame *peerpb.Frame) {
	for _, m := range frame.GetMessages() {
		if !t.acceptable(from, m) {
			t.counters.misdirected.Add(1)
			continue
		}
		t.handler.Step(m)
	}
	for _, batch := range frame.GetBatches() {
		t.handler.StepForwarded(from, batch)
	}
	t.counters.received.Add(uint64(len(frame.GetMessages()) + len(frame.GetBatches())))
}

// acceptable refuses what no honest member sends this way: messages of or for
// others, messages that a node sends to itself, proposals (batches are
// forwarded instead) and snapshots without their files.
func (t *Transport) acceptable(from uint64, m *raftpb.Message) bool {
	if m.GetTo() != t.opts.MemberID || raft.IsLocalMsg(m.GetType()) {
		return false
	}
	switch m.GetType() {
	case raftpb.MessageType_MsgProp, raftpb.MessageType_MsgSnap:
		return false
	case raftpb.MessageType_MsgTransferLeader:
		return true // a follower passes it on; From is the transferee
	}
	return m.GetFrom() == from
}
