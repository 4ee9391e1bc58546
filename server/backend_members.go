package server

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftkv/node"
	"raftkv/rpc/kvstream/kvpb"
	"raftkv/rpc/peer/peerpb"
	"raftkv/statemachine"
)

// AddMember implements etcdv3.Backend, like the methods below.
func (b backend) AddMember(ctx context.Context, peerURLs []string, learner bool) (uint64, error) {
	if err := b.s.mayAdd(learner); err != nil {
		return 0, err
	}
	if err := b.s.checkPeerURLs(peerURLs); err != nil {
		return 0, rpctypes.ErrGRPCMemberBadURLs
	}
	change := &peerpb.MemberChange{Kind: changeAdd, MemberId: b.s.newMemberID(), PeerUrls: peerURLs}
	if learner {
		change.Kind = changeAddLearner
	}
	return change.GetMemberId(), b.s.changeMembers(ctx, change)
}

// RemoveMember removes a member; by force without a look at the rest.
func (b backend) RemoveMember(ctx context.Context, id uint64, force bool) error {
	if !force {
		if err := b.s.mayRemove(id); err != nil {
			return err
		}
	}
	return b.s.changeMembers(ctx, &peerpb.MemberChange{Kind: changeRemove, MemberId: id})
}

// UpdateMember changes where a member is dialled.
func (b backend) UpdateMember(ctx context.Context, id uint64, peerURLs []string) error {
	if err := b.s.checkPeerURLs(peerURLs); err != nil {
		return rpctypes.ErrGRPCMemberBadURLs
	}
	return b.s.changeMembers(ctx, &peerpb.MemberChange{Kind: changeUpdate, MemberId: id, PeerUrls: peerURLs})
}

// PromoteMember makes a learner a voter, if the leader takes it for ready.
func (b backend) PromoteMember(ctx context.Context, id uint64) error {
	return b.s.changeMembers(ctx, &peerpb.MemberChange{Kind: changePromote, MemberId: id})
}

// MoveLeader moves leadership from this member to another voter.
func (b backend) MoveLeader(ctx context.Context, to uint64) error {
	n := b.s.node.Load()
	if n == nil || n.Status().Role != node.Leader {
		return rpctypes.ErrGRPCNotLeader
	}
	if !slices.ContainsFunc(voters(b.s.rooms.machine.Members()), func(m statemachine.Member) bool { return m.ID == to }) {
		return rpctypes.ErrGRPCBadLeaderTransferee
	}
	err := n.MoveLeader(ctx, to)
	if errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
		return status.Error(codes.Unknown, "etcdserver: request timed out, leader transfer took too long")
	}
	if errors.Is(err, node.ErrNotLeader) {
		return rpctypes.ErrGRPCLeaderChanged // it went to somebody else
	}
	return err
}

// Join adds a node as a learner. It is safe to ask again for the same id.
func (b backend) Join(ctx context.Context, r *kvpb.JoinRequest) error {
	if r.GetClusterId() != b.s.clusterID {
		return status.Errorf(codes.FailedPrecondition, "raftkv: the node's data directory belongs to cluster %x, this is cluster %x", r.GetClusterId(), b.s.clusterID)
	}
	if r.GetMemberId() == 0 || len(r.GetPeerUrls()) == 0 {
		return status.Error(codes.InvalidArgument, "raftkv: a node that joins names its member id and its peer URLs")
	}
	if err := b.s.checkPeerURLs(r.GetPeerUrls()); err != nil {
		return status.Error(codes.InvalidArgument, "raftkv: "+err.Error())
	}
	if slices.Contains(b.s.rooms.machine.RemovedMembers(), r.GetMemberId()) {
		return status.Errorf(codes.FailedPrecondition, "raftkv: %v (%x)", ErrRemoved, r.GetMemberId())
	}
	if err := newEnough(b.s.rooms.machine.ClusterVersion(), statemachine.Version(r.GetNewestVersion())); err != nil {
		return status.Errorf(codes.FailedPrecondition, "raftkv: %v", err)
	}
	known, err := knownAs(b.s.rooms.machine.Members(), r.GetMemberId(), r.GetName(), r.GetPeerUrls())
	if known || err != nil {
		return err
	}
	return b.s.changeMembers(ctx, &peerpb.MemberChange{Kind: changeAddLearner, MemberId: r.GetMemberId(), PeerUrls: r.GetPeerUrls()})
}

// knownAs tells whether a node that joins is a member already, or why it cannot
// become one: its name or a URL of it is another member's.
func knownAs(members []statemachine.Member, id uint64, name string, peerURLs []string) (known bool, err error) {
	for _, m := range members {
		if m.ID == id {
			return true, nil
		}
		if name != "" && m.Name == name {
			return false, status.Errorf(codes.AlreadyExists, "raftkv: %q is already the name of member %x at %v; choose another id, or remove that member first", name, m.ID, m.PeerURLs)
		}
		for _, u := range peerURLs {
			if slices.Contains(m.PeerURLs, u) {
				return false, status.Errorf(codes.AlreadyExists, "raftkv: %s is already the address of member %x; choose another address, or remove that member first", u, m.ID)
			}
		}
	}
	return false, nil
}

// checkPeerURLs refuses what no member could dial.
func (s *Server) checkPeerURLs(urls []string) error {
	if len(urls) == 0 {
		return errors.New("no peer URL given")
	}
	for _, u := range urls {
		a, err := parseURL(u)
		if err == nil && a.network != "tcp" {
			err = fmt.Errorf("%q: peers are reached over http or https only", u)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
