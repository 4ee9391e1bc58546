package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// ErrLeaseLost ends what needs a lease that does not exist: it has expired or
// was revoked.
var ErrLeaseLost = errors.New("the lease has expired or was revoked")

// GrantLease makes a lease. The id 0 lets the server choose one.
func (c *Client) GrantLease(ctx context.Context, ttlSeconds, id int64) (*pb.LeaseGrantResponse, Answer, error) {
	var resp *pb.LeaseGrantResponse
	e, err := c.do(ctx, true, func(ctx context.Context, e *endpoint) (err error) {
		resp, err = pb.NewLeaseClient(e.conn).LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: ttlSeconds, ID: id})
		return err
	})
	if err != nil {
		return nil, Answer{}, err
	}
	return resp, c.answer(e, resp.GetHeader()), nil
}

// RevokeLease ends a lease and deletes its keys.
func (c *Client) RevokeLease(ctx context.Context, id int64) (*pb.LeaseRevokeResponse, Answer, error) {
	var resp *pb.LeaseRevokeResponse
	e, err := c.do(ctx, true, func(ctx context.Context, e *endpoint) (err error) {
		resp, err = pb.NewLeaseClient(e.conn).LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: id})
		return err
	})
	if err != nil {
		return nil, Answer{}, err
	}
	return resp, c.answer(e, resp.GetHeader()), nil
}

// LeaseTimeToLive tells what is left of a lease and, if asked, which keys it has.
// One that does not exist has the time to live -1.
func (c *Client) LeaseTimeToLive(ctx context.Context, id int64, keys bool) (*pb.LeaseTimeToLiveResponse, Answer, error) {
	var resp *pb.LeaseTimeToLiveResponse
	e, err := c.do(ctx, false, func(ctx context.Context, e *endpoint) (err error) {
		resp, err = pb.NewLeaseClient(e.conn).LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: id, Keys: keys})
		return err
	})
	if err != nil {
		return nil, Answer{}, err
	}
	return resp, c.answer(e, resp.GetHeader()), nil
}

// Leases lists all leases.
func (c *Client) Leases(ctx context.Context) (*pb.LeaseLeasesResponse, Answer, error) {
	var resp *pb.LeaseLeasesResponse
	e, err := c.do(ctx, false, func(ctx context.Context, e *endpoint) (err error) {
		resp, err = pb.NewLeaseClient(e.conn).LeaseLeases(ctx, &pb.LeaseLeasesRequest{})
		return err
	})
	if err != nil {
		return nil, Answer{}, err
	}
	return resp, c.answer(e, resp.GetHeader()), nil
}

// RenewLease starts the time to live of a lease anew. The error matches
// ErrLeaseLost if it does not exist.
func (c *Client) RenewLease(ctx context.Context, id int64) (*pb.LeaseKeepAliveResponse, Answer, error) {
	var resp *pb.LeaseKeepAliveResponse
	e, err := c.do(ctx, false, func(ctx context.Context, e *endpoint) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := pb.NewLeaseClient(e.conn).LeaseKeepAlive(ctx)
		if err != nil {
			return err
		}
		// If it cannot be sent, Recv tells why.
		_ = stream.Send(&pb.LeaseKeepAliveRequest{ID: id})
		resp, err = stream.Recv()
		return err
	})
	if err != nil {
		return nil, Answer{}, err
	}
	if resp.GetTTL() <= 0 {
		return nil, Answer{}, fmt.Errorf("renew lease %016x: %w", id, ErrLeaseLost)
	}
	return resp, c.answer(e, resp.GetHeader()), nil
}

// KeepAlive renews a lease at once and then whenever a third of its time to live
// has passed, and calls renewed each time, until ctx ends, renewed returns an
// error or the lease cannot be renewed within its time to live; that is what it
// returns.
func (c *Client) KeepAlive(ctx context.Context, id int64, renewed func(*pb.LeaseKeepAliveResponse) error) error {
	var ttl time.Duration // 0 until it is known
	for {
		resp, err := c.renewWithin(ctx, ttl, id)
		if err != nil {
			return err
		}
		if err := renewed(resp); err != nil {
			return err
		}
		ttl = time.Duration(resp.GetTTL()) * time.Second
		if err := c.pause(ctx, ttl/3); err != nil {
			return err
		}
	}
}

// renewWithin repeats what no endpoint serves for as long as the lease may still
// be there.
func (c *Client) renewWithin(ctx context.Context, ttl time.Duration, id int64) (*pb.LeaseKeepAliveResponse, error) {
	if ttl > 0 {
		var cancel context.CancelFunc
		// A third of it has passed already.
		ctx, cancel = context.WithTimeout(ctx, ttl-ttl/3)
		defer cancel()
	}
	for {
		resp, _, err := c.RenewLease(ctx, id)
		var unavailable *UnavailableError
		if err == nil || ttl == 0 || ctx.Err() != nil || !errors.As(err, &unavailable) {
			return resp, err
		}
		if c.pause(ctx, pauseMax) != nil {
			return nil, err
		}
	}
}
