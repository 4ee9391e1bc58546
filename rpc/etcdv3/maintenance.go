package etcdv3

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftkv/rpc/request"
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
	if resp.Leader == 0 {
		resp.Errors = append(resp.Errors, rpctypes.ErrorDesc(rpctypes.ErrGRPCNoLeader))
	}
	resp.Errors = append(resp.Errors, st.Errors...)
	return resp, nil
}

// Alarm lists the alarms: none can be raised yet.
func (s *maintenance) Alarm(ctx context.Context, r *pb.AlarmRequest) (*pb.AlarmResponse, error) {
	if err := s.gate.Admit(ctx, request.VotersOnly); err != nil {
		return nil, err
	}
	if _, err := s.gate.Authorize(ctx, r); err != nil {
		return nil, err
	}
	if r.GetAction() != pb.AlarmRequest_GET {
		return nil, status.Errorf(codes.Unimplemented, "alarm action %v not implemented", r.GetAction())
	}
	return &pb.AlarmResponse{Header: s.gate.FillHeader(nil)}, nil
}
