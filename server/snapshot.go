package server

import (
	"context"
	"errors"

	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftkv/rpc/etcdv3"
	"raftkv/rpc/rpcerr"
	"raftkv/snap"
)

func snapshotErrors() rpcerr.Pair {
	return rpcerr.Pair{Err: snap.ErrTooManySaves,
		Status: status.Error(codes.ResourceExhausted, "raftkv: too many snapshots are being saved from this member, try again later")}
}

// SaveSnapshot takes a checkpoint now and returns it as a snapshot file. Writes
// go on: the file is made at the pace that it shares with the snapshots for
// members that fell behind, since as fast as it goes it would take a core, the
// disk and the network away from those who write.
func (b backend) SaveSnapshot(ctx context.Context) (etcdv3.SnapshotFile, error) {
	file, err := b.s.rooms.snaps.Save(ctx, b.s.checkpointToSave, b.s.transport.SnapshotPace())
	if err != nil {
		if !errors.Is(err, snap.ErrTooManySaves) {
			b.s.cfg.Logger.Warn("cannot take a snapshot to save", zap.Error(err))
		}
		return nil, err
	}
	h := file.Header()
	b.s.cfg.Logger.Info("sending a snapshot to a client", zap.Int64("bytes", file.SizeBytes()),
		zap.Uint64("index", h.Index), zap.Int64("revision", h.Revision))
	return file, nil
}

func (s *Server) checkpointToSave(dir string) (snap.SavedHeader, error) {
	if _, err := s.rooms.machine.Checkpoint(dir); err != nil {
		return snap.SavedHeader{}, err
	}
	state, err := s.rooms.machine.Describe(dir)
	return snap.SavedHeader{
		ClusterID: state.ClusterID, MemberID: s.memberID, Index: state.Index, Term: state.Term,
		Revision: state.Revision, CompactedRevision: state.CompactedRevision, RollingHash: state.RollingHash,
		Version: Version,
	}, err
}
