package etcdv3

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"raftkv/rpc/request"
	"raftkv/statemachine/envelope"
)

type maintenance struct {
	gate    *request.Gate
	backend Backend
	pb.UnimplementedMaintenanceServer
}

// Status describes this member; it needs no quorum.
func (s *maintenance) Status(ctx context.Context, r *pb.StatusRequest) (*pb.StatusResponse, error) {
	if err := s.gate.Admit(ctx, request.LearnersToo); err != nil {
		return nil, err
	}
	if _, err := s.gate.Authorize(ctx, r); err != nil {
		return nil, err
	}
	st := s.backend.Status()
	header := s.gate.FillHeader(nil)
	resp := &pb.StatusResponse{
		Header:           header,
		Version:          st.Version,
		DbSize:           st.DBSizeBytes,
		Leader:           s.backend.Leader(),
		RaftIndex:        st.CommitIndex,
		RaftTerm:         header.GetRaftTerm(),
		RaftAppliedIndex: st.AppliedIndex,
		DbSizeInUse:      st.DBSizeInUseBytes,
		IsLearner:        s.backend.IsLearner(),
		StorageVersion:   st.StorageVersion,
		DbSizeQuota:      st.QuotaBytes,
		DowngradeInfo:    &pb.DowngradeInfo{},
	}
	if target := s.backend.DowngradeTarget(); target != "" {
		resp.DowngradeInfo = &pb.DowngradeInfo{Enabled: true, TargetVersion: target}
	}
	if resp.Leader == 0 {
		resp.Errors = append(resp.Errors, rpctypes.ErrorDesc(rpctypes.ErrGRPCNoLeader))
	}
	for _, a := range s.backend.Alarms() {
		resp.Errors = append(resp.Errors, a.String())
	}
	resp.Errors = append(resp.Errors, st.Errors...)
	return resp, nil
}

// Alarm lists, activates and deactivates alarms.
func (s *maintenance) Alarm(ctx context.Context, r *pb.AlarmRequest) (*pb.AlarmResponse, error) {
	if err := s.gate.Admit(ctx, request.VotersOnly); err != nil {
		return nil, err
	}
	switch r.GetAction() {
	case pb.AlarmRequest_GET:
		return s.listAlarms(ctx, r)
	case pb.AlarmRequest_ACTIVATE, pb.AlarmRequest_DEACTIVATE:
		return s.changeAlarm(ctx, r)
	}
	return nil, status.Errorf(codes.InvalidArgument, "raftkv: unknown alarm action %v", r.GetAction())
}

func (s *maintenance) listAlarms(ctx context.Context, r *pb.AlarmRequest) (*pb.AlarmResponse, error) {
	ctx, cancel := s.gate.WithTimeout(ctx)
	defer cancel()
	if err := s.gate.Barrier(ctx, r, false); err != nil {
		return nil, err
	}
	resp := &pb.AlarmResponse{Header: s.gate.FillHeader(nil)}
	for _, a := range s.backend.Alarms() {
		if r.GetAlarm() == pb.AlarmType_NONE || a.GetAlarm() == r.GetAlarm() {
			resp.Alarms = append(resp.Alarms, a)
		}
	}
	return resp, nil
}

func (s *maintenance) changeAlarm(ctx context.Context, r *pb.AlarmRequest) (*pb.AlarmResponse, error) {
	result, _, err := s.gate.Write(ctx, envelope.KindAlarm, r)
	if err != nil {
		return nil, err
	}
	resp, err := request.Result[*pb.AlarmResponse](result)
	if err != nil {
		return nil, err
	}
	resp.Header = s.gate.FillHeader(resp.Header)
	return resp, nil
}

// HashKV hashes the key space of this member, as etcd does.
func (s *maintenance) HashKV(ctx context.Context, r *pb.HashKVRequest) (*pb.HashKVResponse, error) {
	if err := s.admitLocal(ctx, r); err != nil {
		return nil, err
	}
	h, err := s.backend.HashKV(ctx, r.GetRevision())
	if err != nil {
		return nil, s.gate.ReadError(ctx, err)
	}
	return &pb.HashKVResponse{
		Header: s.gate.FillHeader(&pb.ResponseHeader{Revision: h.Revision}),
		Hash:   h.Hash, CompactRevision: h.CompactRevision, HashRevision: h.HashRevision,
	}, nil
}

// Hash hashes all that this member holds: for tests.
func (s *maintenance) Hash(ctx context.Context, r *pb.HashRequest) (*pb.HashResponse, error) {
	if err := s.admitLocal(ctx, r); err != nil {
		return nil, err
	}
	hash, revision, err := s.backend.Hash(ctx)
	if err != nil {
		return nil, s.gate.ReadError(ctx, err)
	}
	return &pb.HashResponse{Header: s.gate.FillHeader(&pb.ResponseHeader{Revision: revision}), Hash: hash}, nil
}

// Defragment has nothing to do: space comes back by itself. Like etcd's its
// answer is empty.
func (s *maintenance) Defragment(ctx context.Context, r *pb.DefragmentRequest) (*pb.DefragmentResponse, error) {
	if err := s.admitLocal(ctx, r); err != nil {
		return nil, err
	}
	return &pb.DefragmentResponse{}, nil
}

// admitLocal is for what concerns this member alone and needs no quorum.
func (s *maintenance) admitLocal(ctx context.Context, r proto.Message) error {
	if err := s.gate.Admit(ctx, request.VotersOnly); err != nil {
		return err
	}
	_, err := s.gate.Authorize(ctx, r)
	return err
}
