package kvload

import (
	"context"
	"fmt"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
)

// leaseTTLSeconds outlives every sensible run, so that expiry is no part of it.
const leaseTTLSeconds = 3600

func (c *client) leaseGrant(ctx context.Context) (int, error) {
	_, err := grantLease(ctx, etcdserverpb.NewLeaseClient(c.conn()))
	return 0, err
}

func grantLease(ctx context.Context, stub etcdserverpb.LeaseClient) (int64, error) {
	resp, err := stub.LeaseGrant(ctx, &etcdserverpb.LeaseGrantRequest{TTL: leaseTTLSeconds})
	if err != nil {
		return 0, err
	}
	if resp.GetID() == 0 || resp.GetTTL() < 1 {
		return 0, fmt.Errorf("%w: lease %d granted for %d s", errWrongAnswer, resp.GetID(), resp.GetTTL())
	}
	return resp.GetID(), nil
}

// leaseholder keeps one lease alive. The lease and the stream are made by the
// first operation, and again after a failure.
type leaseholder struct {
	client *client
	stream grpc.BidiStreamingClient[etcdserverpb.LeaseKeepAliveRequest, etcdserverpb.LeaseKeepAliveResponse]
	cancel context.CancelFunc
	lease  int64
}

func (l *leaseholder) next(ctx context.Context) (int, error) {
	if l.stream == nil {
		if err := l.open(ctx); err != nil {
			return 0, err
		}
	}
	// The stream outlives the operation, so its time limit is held here.
	stop := context.AfterFunc(ctx, l.cancel)
	err := l.keepAlive()
	stop()
	if err != nil {
		l.cancel()
		l.stream = nil
	}
	return 0, err
}

func (l *leaseholder) open(ctx context.Context) (err error) {
	stub := etcdserverpb.NewLeaseClient(l.client.conn())
	if l.lease, err = grantLease(ctx, stub); err != nil {
		return err
	}
	streamCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	defer stop()
	stream, err := stub.LeaseKeepAlive(streamCtx)
	if err != nil {
		cancel()
		return err
	}
	l.stream, l.cancel = stream, cancel
	return nil
}

func (l *leaseholder) keepAlive() error {
	if err := l.stream.Send(&etcdserverpb.LeaseKeepAliveRequest{ID: l.lease}); err != nil {
		return err
	}
	resp, err := l.stream.Recv()
	if err != nil {
		return err
	}
	if resp.GetID() != l.lease || resp.GetTTL() < 1 {
		return fmt.Errorf("%w: lease %d was kept alive as %d for %d s", errWrongAnswer, l.lease, resp.GetID(), resp.GetTTL())
	}
	return nil
}
