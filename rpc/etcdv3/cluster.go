package etcdv3

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/client/pkg/v3/types"

	"raftkv/rpc/request"
)

// Reconfiguration changes the members. Each method returns when the member
// that serves has applied the change; errors are gRPC statuses, or go through
// the table.
type Reconfiguration interface {
	AddMember(ctx context.Context, peerURLs []string, learner bool) (id uint64, err error)
	RemoveMember(ctx context.Context, id uint64, force bool) error
	UpdateMember(ctx context.Context, id uint64, peerURLs []string) error
	PromoteMember(ctx context.Context, id uint64) error
	// MoveLeader moves leadership from the member that serves, which must have
	// it, to another one.
	MoveLeader(ctx context.Context, to uint64) error
}

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

// MemberAdd adds a voter or a learner.
func (s *cluster) MemberAdd(ctx context.Context, r *pb.MemberAddRequest) (*pb.MemberAddResponse, error) {
	urls, err := types.NewURLs(r.GetPeerURLs())
	if err != nil {
		return nil, rpctypes.ErrGRPCMemberBadURLs
	}
	var id uint64
	err = s.gate.Reconfigure(ctx, r, func(ctx context.Context) (err error) {
		id, err = s.backend.AddMember(ctx, urls.StringSlice(), r.GetIsLearner())
		return err
	})
	if err != nil {
		return nil, err
	}
	return &pb.MemberAddResponse{
		Header: s.gate.FillIdentity(nil), Members: s.backend.Members(),
		Member: &pb.Member{ID: id, PeerURLs: urls.StringSlice(), IsLearner: r.GetIsLearner()},
	}, nil
}

// MemberRemove removes a member for ever.
func (s *cluster) MemberRemove(ctx context.Context, r *pb.MemberRemoveRequest) (*pb.MemberRemoveResponse, error) {
	err := s.gate.Reconfigure(ctx, r, func(ctx context.Context) error { return s.backend.RemoveMember(ctx, r.GetID(), false) })
	if err != nil {
		return nil, err
	}
	return &pb.MemberRemoveResponse{Header: s.gate.FillIdentity(nil), Members: s.backend.Members()}, nil
}

// MemberUpdate changes the peer URLs of a member.
func (s *cluster) MemberUpdate(ctx context.Context, r *pb.MemberUpdateRequest) (*pb.MemberUpdateResponse, error) {
	err := s.gate.Reconfigure(ctx, r, func(ctx context.Context) error { return s.backend.UpdateMember(ctx, r.GetID(), r.GetPeerURLs()) })
	if err != nil {
		return nil, err
	}
	return &pb.MemberUpdateResponse{Header: s.gate.FillIdentity(nil), Members: s.backend.Members()}, nil
}

// MemberPromote makes a learner that has caught up a voter.
func (s *cluster) MemberPromote(ctx context.Context, r *pb.MemberPromoteRequest) (*pb.MemberPromoteResponse, error) {
	err := s.gate.Reconfigure(ctx, r, func(ctx context.Context) error { return s.backend.PromoteMember(ctx, r.GetID()) })
	if err != nil {
		return nil, err
	}
	return &pb.MemberPromoteResponse{Header: s.gate.FillIdentity(nil), Members: s.backend.Members()}, nil
}

// MoveLeader moves leadership from this member to the one asked for.
func (s *maintenance) MoveLeader(ctx context.Context, r *pb.MoveLeaderRequest) (*pb.MoveLeaderResponse, error) {
	err := s.gate.Reconfigure(ctx, r, func(ctx context.Context) error { return s.backend.MoveLeader(ctx, r.GetTargetID()) })
	if err != nil {
		return nil, err
	}
	return &pb.MoveLeaderResponse{}, nil
}
