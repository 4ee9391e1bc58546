package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
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

func (t *Transport) streamSnapshot(r *remote, m *raftpb.Message) (err error) {
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	archive, sizeBytes, err := t.opts.Snapshots.Open(m.GetSnapshot())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, archive.Close()) }()
	var resets atomic.Uint64
	conn, err := r.endpoint.connect(&resets)
	if err != nil {
		return fmt.Errorf("prepare connection: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()

	stream, err := t.offerSnapshot(ctx, cancel, conn, r, m, sizeBytes)
	if err != nil {
		return err
	}
	if err := t.sendParts(stream, archive, &r.snapshots); err != nil {
		return err
	}
	answer, err := stream.Recv()
	switch {
	case err != nil:
		return fmt.Errorf("await end of snapshot: %w", err)
	case answer.GetDone() == nil:
		return fmt.Errorf("the receiver did not take it: %s", answer.GetFailure())
	}
	return nil
}

// offerSnapshot opens the stream and returns when the receiver wants the data.
func (t *Transport) offerSnapshot(ctx context.Context, cancel context.CancelFunc, conn *grpc.ClientConn, r *remote, m *raftpb.Message, sizeBytes int64) (snapshotStream, error) {
	timeout := time.AfterFunc(t.opts.HandshakeTimeout, cancel)
	defer timeout.Stop()
	stream, err := peerpb.NewPeerClient(conn).Snapshot(ctx)
	if err != nil {
		return nil, fmt.Errorf("open stream: %w", err)
	}
	header := &peerpb.SnapshotHeader{Hello: t.hello(r.id, peerpb.Lane_LANE_UNSPECIFIED), Message: m, SizeBytes: uint64(sizeBytes)}
	part := &peerpb.SnapshotPart{Part: &peerpb.SnapshotPart_Header{Header: header}}
	if err := stream.Send(part); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("offer snapshot: %w", err)
	}
	answer, err := stream.Recv()
	if err != nil {
		return nil, fmt.Errorf("offer snapshot: %w", err)
	}
	if _, failed := answer.GetAnswer().(*peerpb.SnapshotAnswer_Failure); failed {
		return nil, fmt.Errorf("the receiver does not want it: %s", answer.GetFailure())
	}
	return stream, t.checkAnswer(r.id, answer.GetHello(), answer.GetRefusal())
}

// sendParts sends the archive. The receiver may end the stream early; its
// answer says why.
func (t *Transport) sendParts(stream snapshotStream, archive io.Reader, sent *snapshotCounters) error {
	for {
		// gRPC may keep what it was given to send: no buffer is used twice.
		chunk := make([]byte, t.opts.ChunkBytes)
		n, err := io.ReadFull(archive, chunk)
		if n > 0 {
			switch err := stream.Send(&peerpb.SnapshotPart{Part: &peerpb.SnapshotPart_Data{Data: chunk[:n]}}); {
			case errors.Is(err, io.EOF):
				return nil
			case err != nil:
				return fmt.Errorf("send snapshot: %w", err)
			}
			sent.bytes.Add(uint64(n))
		}
		switch {
		case err == io.EOF || err == io.ErrUnexpectedEOF: // ReadFull's own; the archive wraps its errors
			return stream.CloseSend()
		case err != nil:
			return fmt.Errorf("read snapshot: %w", err)
		}
	}
}
