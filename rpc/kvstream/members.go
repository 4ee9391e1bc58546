package kvstream

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"raftkv/rpc/kvstream/kvpb"
)

// Join adds a node to the cluster. Whoever may add a member may do that.
func (s *Native) Join(ctx context.Context, r *kvpb.JoinRequest) (*kvpb.JoinResponse, error) {
	add := &pb.MemberAddRequest{PeerURLs: r.GetPeerUrls(), IsLearner: true}
	if err := s.gate.Reconfigure(ctx, add, func(ctx context.Context) error { return s.backend.Join(ctx, r) }); err != nil {
		return nil, err
	}
	return &kvpb.JoinResponse{Members: s.backend.MemberStatus().GetMembers()}, nil
}

// RemoveMember removes a member.
func (s *Native) RemoveMember(ctx context.Context, r *kvpb.RemoveMemberRequest) (*kvpb.RemoveMemberResponse, error) {
	remove := &pb.MemberRemoveRequest{ID: r.GetMemberId()}
	err := s.gate.Reconfigure(ctx, remove, func(ctx context.Context) error {
		return s.backend.RemoveMember(ctx, r.GetMemberId(), r.GetForce())
	})
	if err != nil {
		return nil, err
	}
	return &kvpb.RemoveMemberResponse{Members: s.backend.MemberStatus().GetMembers()}, nil
}
