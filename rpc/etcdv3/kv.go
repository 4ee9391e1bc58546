package etcdv3

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"raftkv/rpc/request"
	"raftkv/statemachine/envelope"
)

type kv struct {
	gate    *request.Gate
	backend Backend
	// A new method of the service must not compile until it is served.
	pb.UnsafeKVServer
}

// Range reads keys.
func (s *kv) Range(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	if err := s.gate.Admit(ctx, request.Serves(r.GetSerializable())); err != nil {
		return nil, err
	}
	if err := request.CheckRange(r); err != nil {
		return nil, err
	}
	ctx, cancel := s.gate.WithTimeout(ctx)
	defer cancel()
	if err := s.gate.Barrier(ctx, r, r.GetSerializable()); err != nil {
		return nil, err
	}
	resp, err := s.backend.Range(ctx, r)
	if err != nil {
		return nil, s.gate.ReadError(ctx, err)
	}
	resp.Header = s.gate.FillHeader(resp.Header)
	return resp, nil
}

// Put writes one key.
func (s *kv) Put(ctx context.Context, r *pb.PutRequest) (*pb.PutResponse, error) {
	if err := s.gate.Admit(ctx, request.VotersOnly); err != nil {
		return nil, err
	}
	if err := request.CheckPut(r); err != nil {
		return nil, err
	}
	result, _, err := s.gate.Write(ctx, envelope.KindPut, r)
	if err != nil {
		return nil, err
	}
	resp, err := request.Result[*pb.PutResponse](result)
	if err != nil {
		return nil, err
	}
	resp.Header = s.gate.FillHeader(resp.Header)
	return resp, nil
}

// DeleteRange deletes keys.
func (s *kv) DeleteRange(ctx context.Context, r *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error) {
	if err := s.gate.Admit(ctx, request.VotersOnly); err != nil {
		return nil, err
	}
	if err := request.CheckDelete(r); err != nil {
		return nil, err
	}
	result, _, err := s.gate.Write(ctx, envelope.KindDeleteRange, r)
	if err != nil {
		return nil, err
	}
	resp, err := request.Result[*pb.DeleteRangeResponse](result)
	if err != nil {
		return nil, err
	}
	resp.Header = s.gate.FillHeader(resp.Header)
	return resp, nil
}

// Txn runs a transaction; one of ranges alone does not go through the log.
func (s *kv) Txn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	if err := s.gate.Admit(ctx, request.VotersOnly); err != nil {
		return nil, err
	}
	if err := request.CheckTxn(r, s.gate.Config().TxnOpsMax); err != nil {
		return nil, err
	}
	if request.IsReadOnly(r) {
		return s.readTxn(ctx, r)
	}
	result, _, err := s.gate.Write(ctx, envelope.KindTxn, r)
	if err != nil {
		return nil, err
	}
	resp, err := request.Result[*pb.TxnResponse](result)
	if err != nil {
		return nil, err
	}
	resp.Header = s.gate.FillHeader(resp.Header)
	return resp, nil
}

func (s *kv) readTxn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	ctx, cancel := s.gate.WithTimeout(ctx)
	defer cancel()
	if err := s.gate.Barrier(ctx, r, request.IsSerializable(r)); err != nil {
		return nil, err
	}
	resp, err := s.backend.ReadTxn(ctx, r)
	if err != nil {
		return nil, s.gate.ReadError(ctx, err)
	}
	resp.Header = s.gate.FillHeader(resp.Header)
	return resp, nil
}

// Compact drops the history up to a revision. Asked to do so physically, it
// answers when this member has removed it.
func (s *kv) Compact(ctx context.Context, r *pb.CompactionRequest) (*pb.CompactionResponse, error) {
	if err := s.gate.Admit(ctx, request.VotersOnly); err != nil {
		return nil, err
	}
	result, _, err := s.gate.Write(ctx, envelope.KindCompaction, r)
	// Also one that comes too late waits, as in etcd, for those before it.
	if compacted := err == rpctypes.ErrGRPCCompacted; r.GetPhysical() && (err == nil || compacted) {
		if waitErr := s.awaitSweep(ctx, r, compacted); waitErr != nil {
			return nil, waitErr
		}
	}
	if err != nil {
		return nil, err
	}
	resp, err := request.Result[*pb.CompactionResponse](result)
	if err != nil {
		return nil, err
	}
	resp.Header = s.gate.FillHeader(resp.Header)
	return resp, nil
}

// awaitSweep is bounded by the client alone: how long a sweep takes depends on
// how much there is to remove.
func (s *kv) awaitSweep(ctx context.Context, r *pb.CompactionRequest, compacted bool) error {
	revision := r.GetRevision()
	if compacted {
		revision = s.backend.CompactedRevision()
	}
	if err := s.backend.AwaitSweep(ctx, revision); err != nil {
		return s.gate.ReadError(ctx, err)
	}
	return nil
}
