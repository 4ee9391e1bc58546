package etcdv3

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"raftkv/rpc/request"
)

type cluster struct {
	gate    *request.Gate
	backend Backend
	pb.UnimplementedClusterServer
}

// MemberList lists the members. Like etcd's its header has no revision.
func (s *cluster) MemberList(ctx context.Context, r *pb.MemberListRequest) (*pb.MemberListResponse, error) {
	if err := s.gate.Admit(ctx, request.VotersOnly); err != nil {
		return nil, err
	}
	ctx, cancel := s.gate.WithTimeout(ctx)
	defer cancel()
	if err := s.gate.Barrier(ctx, r, !r.GetLinearizable()); err != nil {
		return nil, err
	}
	return &pb.MemberListResponse{Header: s.gate.FillIdentity(nil), Members: s.backend.Members()}, nil
}
