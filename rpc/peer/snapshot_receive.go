package peer

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
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
	p := t.begin(from, m.GetSnapshot().GetMetadata().GetIndex(), false, int64(header.GetSizeBytes()))
	parts := &partReader{stream: stream, p: p}
	err = t.opts.Snapshots.Stage(stream.Context(), m.GetSnapshot(), parts.fetch)
	p.end(err)
	if err != nil {
		t.logger.Warn("cannot receive a snapshot", zap.String("peer", fmt.Sprintf("%x", from)), zap.Error(err))
		// Whoever could not read a part knows better than that it is missing.
		damaged := parts.err == nil && t.opts.Damaged(err)
		return stream.Send(&peerpb.SnapshotAnswer{Answer: &peerpb.SnapshotAnswer_Failure{Failure: err.Error()}, Damaged: damaged})
	}
	t.handler.Step(m)
	t.handler.Delivered()
	return stream.Send(&peerpb.SnapshotAnswer{Answer: &peerpb.SnapshotAnswer_Done{Done: &peerpb.SnapshotDone{}}})
}

func sendFailure(stream snapshotServerStream, err error) error {
	return stream.Send(&peerpb.SnapshotAnswer{Answer: &peerpb.SnapshotAnswer_Failure{Failure: err.Error()}})
}

// partReader asks for parts of the archive and reads them.
type partReader struct {
	stream snapshotServerStream
	p      *passage
	rest   []byte // of the chunk received last
	left   int64  // bytes still to come of what was asked for
	err    error  // of the stream
}

// fetch asks for ranges; the bytes of an earlier request must have been read.
func (r *partReader) fetch(ranges [][2]int64, remainingBytes int64) (io.Reader, error) {
	if r.err == nil && r.left > 0 {
		r.err = errors.New("asked for more before all was read")
	}
	if r.err != nil {
		return nil, r.err
	}
	want := &peerpb.SnapshotWant{RemainingBytes: uint64(remainingBytes)}
	for _, one := range ranges {
		want.Ranges = append(want.Ranges, &peerpb.ByteRange{Offset: uint64(one[0]), Length: uint64(one[1])})
		r.left += one[1]
	}
	r.p.want(remainingBytes)
	r.err = r.stream.Send(&peerpb.SnapshotAnswer{Answer: &peerpb.SnapshotAnswer_Want{Want: want}})
	return r, r.err
}

// Read implements io.Reader; the end is that of what was asked for. A stream
// that ends before is an unexpected end.
func (r *partReader) Read(p []byte) (int, error) {
	for r.err == nil && len(r.rest) == 0 {
		if r.left == 0 {
			return 0, io.EOF
		}
		r.rest, r.err = r.receive()
	}
	if r.err != nil {
		return 0, r.err
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *partReader) receive() ([]byte, error) {
	part, err := r.stream.Recv()
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, err
	}
	data := part.GetChunk().GetData()
	switch {
	case len(data) == 0:
		return nil, errors.New("the sender sends something else than what was asked for")
	case int64(len(data)) > r.left:
		return nil, errors.New("the sender sends more than was asked for")
	case crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)) != part.GetChunk().GetChecksum():
		return nil, errors.New("a part of the snapshot was damaged on the way")
	}
	r.left -= int64(len(data))
	r.p.move(len(data))
	return data, nil
}
