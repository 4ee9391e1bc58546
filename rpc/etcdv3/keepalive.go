package etcdv3

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"raftkv/rpc/request"
)

// keepAlivesMax bounds the requests of one stream that are answered together,
// and those that wait.
const keepAlivesMax = 256

// keepAlives is one stream of renewals. A request that can be answered at once
// is, by the goroutine that received it; from the first that cannot on they wait
// for the handler's, which answers together what waits, until nothing does. So
// answers keep the order of requests.
type keepAlives struct {
	*lease
	stream  pb.Lease_LeaseKeepAliveServer
	waiting chan *pb.LeaseKeepAliveRequest
	// behind is how many requests are in waiting or being answered.
	behind atomic.Int64
	send   sync.Mutex // held while sending
}

// LeaseKeepAlive renews leases for as long as the client asks.
func (s *lease) LeaseKeepAlive(stream pb.Lease_LeaseKeepAliveServer) error {
	ctx := stream.Context()
	if err := s.gate.Admit(ctx, request.VotersOnly); err != nil {
		return err
	}
	k := &keepAlives{lease: s, stream: stream, waiting: make(chan *pb.LeaseKeepAliveRequest, keepAlivesMax)}
	ended := make(chan error, 1)
	go func() {
		// Ends with the stream, which ends when this handler returns.
		ended <- k.receiveAll(ctx)
		close(k.waiting)
	}()
	for {
		select {
		case first, ok := <-k.waiting:
			if !ok {
				return <-ended
			}
			batch := k.takeWaiting(first)
			if err := k.renew(ctx, batch); err != nil {
				return err
			}
			k.behind.Add(-int64(len(batch)))
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// receiveAll answers requests or passes them on until the client has no more,
// which is nil, or the stream ends.
func (k *keepAlives) receiveAll(ctx context.Context) error {
	for {
		r, err := k.stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if k.behind.Load() == 0 {
			done, err := k.renewNow(ctx, r)
			if err != nil {
				return err
			}
			if done {
				continue
			}
		}
		k.behind.Add(1)
		select {
		case k.waiting <- r:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (k *keepAlives) takeWaiting(first *pb.LeaseKeepAliveRequest) []*pb.LeaseKeepAliveRequest {
	batch := []*pb.LeaseKeepAliveRequest{first}
	for len(batch) < keepAlivesMax {
		select {
		case r, ok := <-k.waiting:
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

// renewNow answers a request if nobody has to be waited for.
func (k *keepAlives) renewNow(ctx context.Context, r *pb.LeaseKeepAliveRequest) (done bool, err error) {
	header := k.gate.FillHeader(nil) // first, as in renew
	if _, err := k.gate.Authorize(ctx, r); err != nil {
		return false, err
	}
	ttl, ok := k.backend.RenewLeaseNow(r.GetID())
	if !ok {
		return false, nil
	}
	return true, k.answer(header, r, ttl)
}

func (k *keepAlives) answer(header *pb.ResponseHeader, r *pb.LeaseKeepAliveRequest, ttlSeconds int64) error {
	k.send.Lock()
	defer k.send.Unlock()
	return k.stream.Send(&pb.LeaseKeepAliveResponse{Header: header, ID: r.GetID(), TTL: ttlSeconds})
}

// renew answers requests that have to wait for a quorum or for the leader.
func (k *keepAlives) renew(ctx context.Context, batch []*pb.LeaseKeepAliveRequest) error {
	// The header comes first: a client must not see a lease alive at a revision
	// that was after its end.
	header := k.gate.FillHeader(nil)
	renewing, cancel := k.gate.WithTimeout(ctx)
	defer cancel()
	ids := make([]int64, len(batch))
	for i, r := range batch {
		if _, err := k.gate.Authorize(ctx, r); err != nil {
			return err
		}
		ids[i] = r.GetID()
	}
	ttls, err := k.backend.RenewLeases(renewing, ids)
	switch {
	case err != nil && ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return k.gate.WriteError(err)
	}
	for i, r := range batch {
		own := &pb.ResponseHeader{ClusterId: header.ClusterId, MemberId: header.MemberId, Revision: header.Revision, RaftTerm: header.RaftTerm}
		if err := k.answer(own, r, ttls[i]); err != nil {
			return err
		}
	}
	return nil
}
