package etcdv3

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"raftkv/rpc/request"
	"raftkv/statemachine"
	"raftkv/statemachine/envelope"
)

// Leases is what the lease service needs of the member that serves, beside
// proposals.
type Leases interface {
	// LeaseTTLSecondsMin is the shortest time to live that a leader can watch.
	LeaseTTLSecondsMin() int64
	// RenewLeaseNow is RenewLeases for one lease if that can be answered without
	// waiting for anybody; false: it cannot.
	RenewLeaseNow(id int64) (ttlSeconds int64, ok bool)
	// RenewLeases has the leader start the time to live of leases anew and returns
	// it for each, 0 for one that does not exist. It waits for a lease that is
	// about to be revoked, and for a leader, as long as ctx.
	RenewLeases(ctx context.Context, ids []int64) (ttlSeconds []int64, err error)
	// LeaseLeft asks the leader what is left of a lease;
	// statemachine.ErrLeaseNotFound if it does not exist.
	LeaseLeft(ctx context.Context, id int64) (left time.Duration, ttlSeconds int64, err error)
	// LeaseKeys lists the keys of a lease as this member has applied them.
	LeaseKeys(id int64) ([][]byte, error)
	// LeaseIDs lists the leases as this member has applied them; the leader puts
	// those first that expire first.
	LeaseIDs() ([]int64, error)
}

type lease struct {
	gate    *request.Gate
	backend Backend
	// A new method of the service must not compile until it is served.
	pb.UnsafeLeaseServer
}

// LeaseGrant makes a lease.
func (s *lease) LeaseGrant(ctx context.Context, r *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	if err := s.gate.Admit(ctx, request.VotersOnly); err != nil {
		return nil, err
	}
	// The request may be the caller's own.
	r = &pb.LeaseGrantRequest{ID: r.GetID(), TTL: max(r.GetTTL(), s.backend.LeaseTTLSecondsMin())}
	for r.ID == 0 {
		r.ID = rand.Int64N(math.MaxInt64)
	}
	result, _, err := s.gate.Write(ctx, envelope.KindLeaseGrant, r)
	if err != nil {
		return nil, err
	}
	resp, err := request.Result[*pb.LeaseGrantResponse](result)
	if err != nil {
		return nil, err
	}
	resp.Header = s.gate.FillHeader(resp.Header)
	return resp, nil
}

// LeaseRevoke ends a lease and deletes its keys.
func (s *lease) LeaseRevoke(ctx context.Context, r *pb.LeaseRevokeRequest) (*pb.LeaseRevokeResponse, error) {
	if err := s.gate.Admit(ctx, request.VotersOnly); err != nil {
		return nil, err
	}
	result, _, err := s.gate.Write(ctx, envelope.KindLeaseRevoke, r)
	if err != nil {
		return nil, err
	}
	resp, err := request.Result[*pb.LeaseRevokeResponse](result)
	if err != nil {
		return nil, err
	}
	resp.Header = s.gate.FillHeader(resp.Header)
	return resp, nil
}

// LeaseTimeToLive tells what is left of a lease, and which keys it has.
func (s *lease) LeaseTimeToLive(ctx context.Context, r *pb.LeaseTimeToLiveRequest) (*pb.LeaseTimeToLiveResponse, error) {
	if err := s.gate.Admit(ctx, request.VotersOnly); err != nil {
		return nil, err
	}
	ctx, cancel := s.gate.WithTimeout(ctx)
	defer cancel()
	left, ttl, err := s.backend.LeaseLeft(ctx, r.GetID())
	if err == nil {
		// What was attached before the request came is among the keys. The rest is
		// the leader's own word.
		err = s.gate.Barrier(ctx, r, !r.GetKeys())
	}
	resp := &pb.LeaseTimeToLiveResponse{Header: s.gate.FillHeader(nil), ID: r.GetID()}
	switch {
	case errors.Is(err, statemachine.ErrLeaseNotFound):
		resp.TTL = -1
		return resp, nil
	case err != nil:
		return nil, s.gate.WriteError(err)
	}
	resp.TTL, resp.GrantedTTL = int64(left/time.Second), ttl
	if r.GetKeys() {
		if resp.Keys, err = s.backend.LeaseKeys(r.GetID()); err != nil {
			return nil, s.gate.ReadError(ctx, err)
		}
	}
	return resp, nil
}

// LeaseLeases lists all leases as this member has applied them: it needs
// neither a quorum nor a leader, as in etcd.
func (s *lease) LeaseLeases(ctx context.Context, r *pb.LeaseLeasesRequest) (*pb.LeaseLeasesResponse, error) {
	if err := s.gate.Admit(ctx, request.VotersOnly); err != nil {
		return nil, err
	}
	if _, err := s.gate.Authorize(ctx, r); err != nil {
		return nil, err
	}
	// The header comes first: the list holds all that was granted up to its
	// revision.
	resp := &pb.LeaseLeasesResponse{Header: s.gate.FillHeader(nil)}
	ids, err := s.backend.LeaseIDs()
	if err != nil {
		return nil, s.gate.WriteError(err)
	}
	all := make([]pb.LeaseStatus, len(ids))
	resp.Leases = make([]*pb.LeaseStatus, len(ids))
	for i, id := range ids {
		all[i].ID = id
		resp.Leases[i] = &all[i]
	}
	return resp, nil
}
