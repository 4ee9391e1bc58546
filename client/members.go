package client

import (
	"context"
	"errors"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftkv/rpc/kvstream/kvpb"
)

// AddMember adds a voter or a learner that is reached by others at peerURLs. It
// then has to be started. While the cluster is not healthy it is tried again, as
// are all changes of the members.
func (c *Client) AddMember(ctx context.Context, peerURLs []string, learner bool) (*pb.MemberAddResponse, error) {
	var resp *pb.MemberAddResponse
	_, err := c.do(ctx, true, func(ctx context.Context, e *endpoint) (err error) {
		resp, err = pb.NewClusterClient(e.conn).MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: peerURLs, IsLearner: learner})
		return err
	})
	return resp, err
}

// RemoveMember removes a member for ever. With force it does so also where the
// rest would have no majority, which needs a server with the native service.
func (c *Client) RemoveMember(ctx context.Context, id uint64, force bool) (*pb.MemberRemoveResponse, error) {
	var resp *pb.MemberRemoveResponse
	_, err := c.do(ctx, true, func(ctx context.Context, e *endpoint) (err error) {
		if !force {
			resp, err = pb.NewClusterClient(e.conn).MemberRemove(ctx, &pb.MemberRemoveRequest{ID: id})
			return err
		}
		removed, err := kvpb.NewNativeClient(e.conn).RemoveMember(ctx, &kvpb.RemoveMemberRequest{MemberId: id, Force: true})
		if err != nil {
			return err
		}
		resp = &pb.MemberRemoveResponse{Header: &pb.ResponseHeader{}}
		for _, m := range removed.GetMembers() {
			resp.Members = append(resp.Members, &pb.Member{ID: m.GetId(), Name: m.GetName(), PeerURLs: m.GetPeerUrls(), ClientURLs: m.GetClientUrls(), IsLearner: m.GetLearner()})
		}
		return nil
	})
	return resp, err
}

// UpdateMember changes where others reach a member.
func (c *Client) UpdateMember(ctx context.Context, id uint64, peerURLs []string) (*pb.MemberUpdateResponse, error) {
	var resp *pb.MemberUpdateResponse
	_, err := c.do(ctx, true, func(ctx context.Context, e *endpoint) (err error) {
		resp, err = pb.NewClusterClient(e.conn).MemberUpdate(ctx, &pb.MemberUpdateRequest{ID: id, PeerURLs: peerURLs})
		return err
	})
	return resp, err
}

// PromoteMember makes a learner that has caught up a voter.
func (c *Client) PromoteMember(ctx context.Context, id uint64) (*pb.MemberPromoteResponse, error) {
	var resp *pb.MemberPromoteResponse
	_, err := c.do(ctx, true, func(ctx context.Context, e *endpoint) (err error) {
		resp, err = pb.NewClusterClient(e.conn).MemberPromote(ctx, &pb.MemberPromoteRequest{ID: id})
		return err
	})
	return resp, err
}

// MoveLeader moves leadership to a voter and returns who had it. It asks the
// leader, wherever that is.
func (c *Client) MoveLeader(ctx context.Context, to uint64) (from uint64, err error) {
	st, err := c.ClusterStatus(ctx)
	if err != nil {
		return 0, err
	}
	leader := st.Leader()
	if leader == nil {
		return 0, &UnavailableError{Write: true, Endpoints: []*EndpointError{{Endpoint: "cluster", Err: errors.New("it has no leader now")}}}
	}
	var addresses []string
	for _, m := range leader.GetMembers() {
		if m.GetId() == leader.GetMemberId() {
			addresses = m.GetClientUrls()
		}
	}
	var faults []*EndpointError
	for _, address := range addresses {
		e, err := newEndpoint(address, c.dialTimeout, c.tls)
		if err == nil {
			_, err = pb.NewMaintenanceClient(e.conn).MoveLeader(ctx, &pb.MoveLeaderRequest{TargetID: to})
			_ = e.conn.Close() // it only says that it was closed before
		}
		switch {
		case err == nil:
			return leader.GetMemberId(), nil
		case status.Code(err) == codes.FailedPrecondition:
			return 0, &RefusedError{Endpoint: address, Write: true, Err: err}
		}
		faults = append(faults, &EndpointError{Endpoint: address, Err: err})
	}
	return 0, fmt.Errorf("leadership did not move: %w", &UnavailableError{Endpoints: faults})
}
