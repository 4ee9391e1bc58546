package etcdv3

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftkv/rpc/request"
)

// SnapshotFile is the store as one file, made while it is read. Who asked for
// it closes it, and reads it in one goroutine.
type SnapshotFile interface {
	io.ReadCloser
	// SizeBytes is the length of the whole file.
	SizeBytes() int64
	// TrailerBytes is what of it, at the end, is no data but its checksum.
	TrailerBytes() int64
}

// snapshotChunkBytes is the size of one message. It is allocated anew each time:
// who sees messages on their way may look at them later.
const snapshotChunkBytes = 64 << 10

// Snapshot streams the store as of now, a learner's too; it needs no quorum.
// Like etcd's, the bytes remaining do not count the trailer, which comes last.
func (s *maintenance) Snapshot(r *pb.SnapshotRequest, stream grpc.ServerStreamingServer[pb.SnapshotResponse]) error {
	ctx := stream.Context()
	if err := s.gate.Admit(ctx, request.LearnersToo); err != nil {
		return err
	}
	if _, err := s.gate.Authorize(ctx, r); err != nil {
		return err
	}
	file, err := s.backend.SaveSnapshot(ctx)
	if err != nil {
		return s.gate.ReadError(ctx, err)
	}
	return s.sendWhileTaken(ctx, file, stream)
}

// snapshotStallTimeout is how long a client may not take the next message. A
// file keeps a checkpoint, and one of the few places for saving, so a client
// that has gone to sleep must not keep it.
const snapshotStallTimeout = time.Minute

// sendWhileTaken sends the file and closes it. A client that stalls is left: the
// stream ends with the handler, and with it the send that waits.
func (s *maintenance) sendWhileTaken(ctx context.Context, file SnapshotFile, stream grpc.ServerStreamingServer[pb.SnapshotResponse]) error {
	stalled := make(chan struct{})
	var once sync.Once
	timer := time.AfterFunc(snapshotStallTimeout, func() { once.Do(func() { close(stalled) }) })
	timer.Stop()
	done := make(chan error, 1)
	go func() {
		err := s.sendFile(ctx, file, func(r *pb.SnapshotResponse) error {
			timer.Reset(snapshotStallTimeout)
			defer timer.Stop()
			return stream.Send(r)
		})
		// What a failed Close leaves is the store's; the client has its file.
		if closing := file.Close(); err == nil && closing != nil {
			err = s.gate.ReadError(ctx, closing)
		}
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-stalled:
		return status.Errorf(codes.Aborted, "raftkv: the client took nothing of the snapshot for %v", snapshotStallTimeout)
	}
}

func (s *maintenance) sendFile(ctx context.Context, file SnapshotFile, send func(*pb.SnapshotResponse) error) error {
	version := s.backend.Status().StorageVersion
	data := file.SizeBytes() - file.TrailerBytes()
	for sent := int64(0); sent < file.SizeBytes(); {
		size := int64(snapshotChunkBytes)
		if sent < data {
			size = min(size, data-sent) // the trailer in a message of its own
		}
		chunk := make([]byte, size)
		n, err := io.ReadFull(file, chunk)
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return s.gate.ReadError(ctx, err)
		}
		sent += int64(n)
		resp := &pb.SnapshotResponse{Blob: chunk[:n], RemainingBytes: uint64(max(0, data-sent)), Version: version}
		if err := send(resp); err != nil {
			return err // a gRPC status already: the connection's
		}
	}
	return nil
}
