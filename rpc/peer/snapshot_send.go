package peer

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"raftkv/rpc/peer/peerpb"
)

type snapshotStream = grpc.BidiStreamingClient[peerpb.SnapshotPart, peerpb.SnapshotAnswer]

// sendSnapshot streams the snapshot that m names and reports how that ended,
// once (invariant 7). r is nil for a member that is not configured.
func (t *Transport) sendSnapshot(r *remote, m *raftpb.Message) {
	// A second one for the same member fails at once; raft tries again after
	// the next heartbeat.
	if r == nil || !r.streaming.CompareAndSwap(false, true) {
		t.reports.snapshot(m.GetTo(), false)
		return
	}
	spawned := t.spawn(func() {
		err := t.streamSnapshot(r, m)
		index := zap.Uint64("index", m.GetSnapshot().GetMetadata().GetIndex())
		if err != nil {
			r.snapshots.failed.Add(1)
			t.logger.Warn("cannot send a snapshot", r.urgent.peerField(), index, zap.Error(err))
		} else {
			r.snapshots.sent.Add(1)
			t.logger.Info("sent a snapshot", r.urgent.peerField(), index)
		}
		r.streaming.Store(false)
		t.reports.snapshot(r.id, err == nil)
	})
	if !spawned {
		r.streaming.Store(false)
	}
}

// AbandonSnapshots ends every transfer that this member sends: it leads no more,
// and its successor offers what is needed. A leader that has no transfer under
// way is not affected.
func (t *Transport) AbandonSnapshots() {
	for _, r := range *t.peers.Load() {
		if cancel := r.abandon.Load(); cancel != nil {
			(*cancel)(errAbandoned)
		}
	}
}

var errAbandoned = errors.New("this member does not lead any more")

func (t *Transport) streamSnapshot(r *remote, m *raftpb.Message) (err error) {
	ctx, cancel := context.WithCancelCause(r.ctx)
	defer cancel(nil)
	r.abandon.Store(&cancel)
	defer r.abandon.Store(nil)
	index := m.GetSnapshot().GetMetadata().GetIndex()
	archive, sizeBytes, err := t.opts.Snapshots.Open(m.GetSnapshot())
	p := t.begin(r.id, index, true, sizeBytes)
	defer func() { p.end(err) }()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, archive.Close()) }()
	conn, err := r.endpoint.connect()
	if err != nil {
		return fmt.Errorf("prepare connection: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()

	s := &sending{t: t, r: r, m: m, p: p, archive: archive, sizeBytes: sizeBytes, ctx: ctx, cancel: cancel}
	if err = s.offer(conn); err == nil {
		err = s.serve()
	}
	if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(cause, context.Canceled) {
		err = fmt.Errorf("%w (%w)", cause, err) // what gRPC says of a call that we gave up is no use
	}
	return err
}

// sending is one transfer at its sender. The receiver leads: it asks for what it
// lacks, and the sender keeps no account of that.
type sending struct {
	t         *Transport
	r         *remote
	m         *raftpb.Message
	p         *passage
	archive   io.ReadSeeker
	sizeBytes int64
	ctx       context.Context
	cancel    context.CancelCauseFunc
	stream    snapshotStream
}

// within gives the transfer up unless the call returns in time.
func (s *sending) within(limit time.Duration, doing string, call func() error) error {
	timer := time.AfterFunc(limit, func() { s.cancel(fmt.Errorf("%s took longer than %v", doing, limit)) })
	defer timer.Stop()
	return call()
}

// offer opens the stream and returns when the receiver is willing.
func (s *sending) offer(conn *grpc.ClientConn) error {
	var answer *peerpb.SnapshotAnswer
	err := s.within(s.t.opts.HandshakeTimeout, "offering a snapshot", func() (err error) {
		if s.stream, err = peerpb.NewPeerClient(conn).Snapshot(s.ctx); err != nil {
			return err
		}
		header := &peerpb.SnapshotHeader{Hello: s.t.hello(s.r.id, peerpb.Lane_LANE_UNSPECIFIED), Message: s.m, SizeBytes: uint64(s.sizeBytes)}
		part := &peerpb.SnapshotPart{Part: &peerpb.SnapshotPart_Header{Header: header}}
		// An error of Send is io.EOF; Recv knows the cause.
		if err := s.stream.Send(part); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		answer, err = s.stream.Recv()
		return err
	})
	if err != nil {
		return fmt.Errorf("offer snapshot: %w", err)
	}
	if _, failed := answer.GetAnswer().(*peerpb.SnapshotAnswer_Failure); failed {
		return fmt.Errorf("the receiver does not want it: %s", answer.GetFailure())
	}
	return s.t.checkAnswer(s.r.id, answer.GetHello(), answer.GetRefusal())
}

// serve sends what the receiver asks for, until it has the snapshot.
func (s *sending) serve() error {
	for {
		var answer *peerpb.SnapshotAnswer
		err := s.within(s.t.opts.AnswerTimeout, "the receiver's work on the snapshot", func() (err error) {
			answer, err = s.stream.Recv()
			return err
		})
		if err != nil {
			return fmt.Errorf("await the receiver: %w", err)
		}
		switch a := answer.GetAnswer().(type) {
		case *peerpb.SnapshotAnswer_Done:
			return nil
		case *peerpb.SnapshotAnswer_Want:
			s.p.want(int64(a.Want.GetRemainingBytes()))
			if err := s.sendRanges(a.Want.GetRanges()); err != nil {
				return err
			}
		case *peerpb.SnapshotAnswer_Failure:
			if answer.GetDamaged() {
				s.t.opts.Snapshots.Discard(s.m.GetSnapshot())
			}
			return fmt.Errorf("the receiver did not take it: %s", a.Failure)
		default:
			return errors.New("the receiver answers in a way this binary does not know")
		}
	}
}

// sendRanges sends parts of the archive. The receiver may end the stream early;
// its answer says why.
func (s *sending) sendRanges(ranges []*peerpb.ByteRange) error {
	for _, want := range ranges {
		offset, length := int64(want.GetOffset()), int64(want.GetLength())
		if offset < 0 || length < 0 || offset > s.sizeBytes || length > s.sizeBytes-offset {
			return fmt.Errorf("the receiver asks for %d bytes at %d of a snapshot of %d", length, offset, s.sizeBytes)
		}
		if _, err := s.archive.Seek(offset, io.SeekStart); err != nil {
			return fmt.Errorf("read snapshot: %w", err)
		}
		for length > 0 {
			// gRPC may keep what it was given to send: no buffer is used twice.
			chunk := make([]byte, min(int64(s.t.opts.ChunkBytes), length))
			if _, err := io.ReadFull(s.archive, chunk); err != nil {
				return fmt.Errorf("read snapshot: %w", err)
			}
			length -= int64(len(chunk))
			switch err := s.sendChunk(chunk); {
			case errors.Is(err, io.EOF):
				return nil
			case err != nil:
				return fmt.Errorf("send snapshot: %w", err)
			}
		}
	}
	return nil
}

func (s *sending) sendChunk(chunk []byte) error {
	if err := s.t.pace.WaitN(s.ctx, len(chunk)); err != nil {
		return err
	}
	part := &peerpb.SnapshotPart{Part: &peerpb.SnapshotPart_Chunk{
		Chunk: &peerpb.SnapshotChunk{Data: chunk, Checksum: crc32.Checksum(chunk, crc32.MakeTable(crc32.Castagnoli))},
	}}
	err := s.within(s.t.opts.StallTimeout, "sending a part of the snapshot", func() error { return s.stream.Send(part) })
	if err == nil {
		s.r.snapshots.bytes.Add(uint64(len(chunk)))
		s.p.move(len(chunk))
	}
	return err
}
