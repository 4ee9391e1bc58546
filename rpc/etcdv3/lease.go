package etcdv3

import (
	"context"
	"errors"
	"io"
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

// keepAlivesMax bounds the requests of one stream that are answered together,
// and those that wait.
const keepAlivesMax = 256

// LeaseKeepAlive renews leases for as long as the client asks. Requests that
// wait are answered together, in order.
func (s *lease) LeaseKeepAlive(stream pb.Lease_LeaseKeepAliveServer) error {
	ctx := stream.Context()
	if err := s.gate.Admit(ctx, request.VotersOnly); err != nil {
		return err
	}
	requests, ended := make(chan *pb.LeaseKeepAliveRequest, keepAlivesMax), make(chan error, 1)
	go func() {
		// Ends with the stream, which ends when this handler returns.
		ended <- receiveAll(stream, requests)
		close(requests)
	}()
	for {
		select {
		case first, ok := <-requests:
			if !ok {
				return <-ended
			}
			if err := s.keepAlive(ctx, stream, takeWaiting(first, requests)); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// receiveAll passes requests on until the client has no more, which is nil, or
// the stream ends.
func receiveAll(stream pb.Lease_LeaseKeepAliveServer, requests chan<- *pb.LeaseKeepAliveRequest) error {
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case requests <- r:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

func takeWaiting(first *pb.LeaseKeepAliveRequest, requests <-chan *pb.LeaseKeepAliveRequest) []*pb.LeaseKeepAliveRequest {
	batch := []*pb.LeaseKeepAliveRequest{first}
	for len(batch) < keepAlivesMax {
		select {
		case r, ok := <-requests:
			if !ok {
				return batch
			}
			batch = append(batch, r)
		default:
			return batch
		}
	}
	return batch
}

func (s *lease) keepAlive(ctx context.Context, stream pb.Lease_LeaseKeepAliveServer, batch []*pb.LeaseKeepAliveRequest) error {
	// The header comes first: a client must not see a lease alive at a revision
	// that was after its end.
	header := s.gate.FillHeader(nil)
	renewing, cancel := s.gate.WithTimeout(ctx)
	defer cancel()
	ids := make([]int64, len(batch))
	for i, r := range batch {
		if _, err := s.gate.Authorize(ctx, r); err != nil {
			return err
		}
		ids[i] = r.GetID()
	}
	ttls, err := s.backend.RenewLeases(renewing, ids)
	switch {
	case err != nil && ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return s.gate.WriteError(err)
	}
	for i, r := range batch {
		own := &pb.ResponseHeader{ClusterId: header.ClusterId, MemberId: header.MemberId, Revision: header.Revision, RaftTerm: header.RaftTerm}
		if err := stream.Send(&pb.LeaseKeepAliveResponse{Header: own, ID: r.GetID(), TTL: ttls[i]}); err != nil {
			return err
		}
	}
	return nil
}
