package inprocess

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
)

// LeaseClient calls Service.
type LeaseClient struct{ Service pb.LeaseServer }

// LeaseGrant implements pb.LeaseClient.
func (c LeaseClient) LeaseGrant(ctx context.Context, r *pb.LeaseGrantRequest, _ ...grpc.CallOption) (*pb.LeaseGrantResponse, error) {
	return c.Service.LeaseGrant(turned(ctx), r)
}

// LeaseRevoke implements pb.LeaseClient.
func (c LeaseClient) LeaseRevoke(ctx context.Context, r *pb.LeaseRevokeRequest, _ ...grpc.CallOption) (*pb.LeaseRevokeResponse, error) {
	return c.Service.LeaseRevoke(turned(ctx), r)
}

// LeaseKeepAlive implements pb.LeaseClient.
func (c LeaseClient) LeaseKeepAlive(ctx context.Context, _ ...grpc.CallOption) (pb.Lease_LeaseKeepAliveClient, error) {
	return Open(ctx, func(s *Serving[pb.LeaseKeepAliveRequest, pb.LeaseKeepAliveResponse]) error {
		return c.Service.LeaseKeepAlive(s)
	}), nil
}

// LeaseTimeToLive implements pb.LeaseClient.
func (c LeaseClient) LeaseTimeToLive(ctx context.Context, r *pb.LeaseTimeToLiveRequest, _ ...grpc.CallOption) (*pb.LeaseTimeToLiveResponse, error) {
	return c.Service.LeaseTimeToLive(turned(ctx), r)
}

// LeaseLeases implements pb.LeaseClient.
func (c LeaseClient) LeaseLeases(ctx context.Context, r *pb.LeaseLeasesRequest, _ ...grpc.CallOption) (*pb.LeaseLeasesResponse, error) {
	return c.Service.LeaseLeases(turned(ctx), r)
}
