package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"raftkv/rpc/peer/peerpb"
)

type snapshotServerStream = grpc.BidiStreamingServer[peerpb.SnapshotPart, peerpb.SnapshotAnswer]

var errReceiving = errors.New("another snapshot is being received")

// transferSlot lets one snapshot in at a time. A sender that tries again, and a
// leader of a newer term, replace the transfer that is under way.
type transferSlot struct {
	mu      sync.Mutex
	current *transfer
}

type transfer struct {
	from, term uint64
	in         *inbound
	done       chan struct{} // closed when its files are staged or gone
}

func (s *transferSlot) acquire(ctx context.Context, t *transfer) error {
	for {
		s.mu.Lock()
		current := s.current
		if current == nil {
			s.current = t
			s.mu.Unlock()
			return nil
		}
		s.mu.Unlock()
		if t.from != current.from && t.term <= current.term {
			return errReceiving
		}
		current.in.end()
		select {
		case <-current.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (s *transferSlot) release(t *transfer) {
	s.mu.Lock()
	s.current = nil
	s.mu.Unlock()
	close(t.done)
}

// Snapshot implements the service.
func (s *service) Snapshot(stream snapshotServerStream) error {
	return s.t.serve(func(in *inbound) error { return s.t.receiveSnapshot(stream, in) })
}

func (t *Transport) receiveSnapshot(stream snapshotServerStream, in *inbound) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	header := first.GetHeader()
	answer, ok := t.admit(header.GetHello())
	if !ok {
		return stream.Send(&peerpb.SnapshotAnswer{Answer: &peerpb.SnapshotAnswer_Refusal{Refusal: answer.GetRefusal()}})
	}
	from, m := header.GetHello().GetFrom(), header.GetMessage()
	if m.GetType() != raftpb.MessageType_MsgSnap || m.GetTo() != t.opts.MemberID || m.GetFrom() != from || m.GetSnapshot() == nil {
		t.counters.misdirected.Add(1)
		return sendFailure(stream, errors.New("the message is not a snapshot of the sender for this member"))
	}
	key := inboundKey{from: from}
	if err := t.establish(stream.Context(), key, in); err != nil {
		return err
	}
	defer t.disestablish(key, in)
	transfer := &transfer{from: from, term: m.GetTerm(), in: in, done: make(chan struct{})}
	if err := t.incoming.acquire(stream.Context(), transfer); err != nil {
		return sendFailure(stream, err)
	}
	defer t.incoming.release(transfer)
	if err := stream.Send(&peerpb.SnapshotAnswer{Answer: &peerpb.SnapshotAnswer_Hello{Hello: answer.GetHello()}}); err != nil {
		return err
	}
	parts := &partReader{stream: stream, left: header.GetSizeBytes()}
	if err := t.opts.Snapshots.Stage(stream.Context(), m.GetSnapshot(), parts); err != nil {
		t.logger.Warn("cannot receive a snapshot", zap.String("peer", fmt.Sprintf("%x", from)), zap.Error(err))
		return sendFailure(stream, err)
	}
	t.handler.Step(m)
	return stream.Send(&peerpb.SnapshotAnswer{Answer: &peerpb.SnapshotAnswer_Done{Done: &peerpb.SnapshotDone{}}})
}

func sendFailure(stream snapshotServerStream, err error) error {
	return stream.Send(&peerpb.SnapshotAnswer{Answer: &peerpb.SnapshotAnswer_Failure{Failure: err.Error()}})
}

// partReader reads the data of the parts of a stream.
type partReader struct {
	stream snapshotServerStream
	rest   []byte // of the part received last
	left   uint64 // bytes still to come in parts
}

// Read implements io.Reader. A stream that ends before all was sent is an
// unexpected end, not the end.
func (r *partReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		part, err := r.stream.Recv()
		switch {
		case errors.Is(err, io.EOF) && r.left > 0:
			return 0, io.ErrUnexpectedEOF
		case err != nil:
			return 0, err
		case uint64(len(part.GetData())) > r.left:
			return 0, errors.New("the sender sends more than it announced")
		}
		r.rest = part.GetData()
		r.left -= uint64(len(r.rest))
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}
