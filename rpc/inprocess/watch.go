package inprocess

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
)

// WatchClient calls Service.
type WatchClient struct{ Service pb.WatchServer }

// Watch implements pb.WatchClient. The stream ends with ctx.
func (c WatchClient) Watch(ctx context.Context, _ ...grpc.CallOption) (pb.Watch_WatchClient, error) {
	return Open(ctx, func(s *Serving[pb.WatchRequest, pb.WatchResponse]) error { return c.Service.Watch(s) }), nil
}
