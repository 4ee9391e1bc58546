package concurrency

import (
	"context"
	"errors"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"raftkv/rpc/inprocess"
)

// watcher gives every watch a stream of its own. clientv3's would share one
// between callers, in the name of the first, and buffer without a bound what is
// not read.
type watcher struct {
	service pb.WatchServer

	mu  sync.Mutex
	err error // why a watch ended, unless by its context; under mu
}

var errNoProgress = errors.New("concurrency: a recipe asked for progress of its watches")

// RequestProgress implements clientv3.Watcher; the recipes do not use it.
func (w *watcher) RequestProgress(context.Context) error { return errNoProgress }

// Close implements clientv3.Watcher. Watches end with their contexts.
func (w *watcher) Close() error { return nil }

// Watch implements clientv3.Watcher with the options that the recipes use: a
// revision and a range.
func (w *watcher) Watch(ctx context.Context, key string, opts ...clientv3.OpOption) clientv3.WatchChan {
	op := clientv3.OpGet(key, opts...)
	create := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{
		Key: op.KeyBytes(), RangeEnd: op.RangeBytes(), StartRevision: op.Rev(),
	}}}
	// What came in with the caller's request goes out with the watch.
	md, _ := metadata.FromIncomingContext(ctx)
	ctx, cancel := context.WithCancel(metadata.NewOutgoingContext(ctx, md))
	stream := inprocess.Open(ctx, func(s *inprocess.Serving[pb.WatchRequest, pb.WatchResponse]) error {
		return w.service.Watch(s)
	})
	out := make(chan clientv3.WatchResponse)
	go func() {
		defer cancel()
		defer close(out)
		if err := pass(ctx, create, stream, out); err != nil {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.err = err
		}
	}()
	return out
}

// pass passes events on until the watch ends, and says why it did; nil if its
// context has ended.
func pass(ctx context.Context, create *pb.WatchRequest, stream pb.Watch_WatchClient, out chan<- clientv3.WatchResponse) error {
	// If it cannot be sent, Recv tells why.
	_ = stream.Send(create)
	for {
		resp, err := stream.Recv()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		case resp.GetCompactRevision() != 0:
			return rpctypes.ErrGRPCCompacted
		case resp.GetCanceled():
			return status.Error(codes.FailedPrecondition, resp.GetCancelReason())
		case len(resp.GetEvents()) == 0:
			continue
		}
		told := clientv3.WatchResponse{Header: resp.GetHeader(), Events: make([]*clientv3.Event, len(resp.GetEvents()))}
		for i, e := range resp.GetEvents() {
			told.Events[i] = (*clientv3.Event)(e)
		}
		select {
		case out <- told:
		case <-ctx.Done():
			return nil
		}
	}
}

// failure is why a watch ended before its caller wanted it to, nil if none did or
// ctx, the caller's, has ended.
func (w *watcher) failure(ctx context.Context) error {
	if ctx.Err() != nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// explain returns why the watch of a failed call ended, which the recipes cannot
// know, or err.
func (w *watcher) explain(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if cause := w.failure(ctx); cause != nil {
		return cause
	}
	return err
}
