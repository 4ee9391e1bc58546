package inprocess

import (
	"context"

	pb "go.etcd.io/etcd/server/v3/etcdserver/api/v3election/v3electionpb"
	"google.golang.org/grpc"
)

// ElectionClient calls Service.
type ElectionClient struct{ Service pb.ElectionServer }

// Campaign implements pb.ElectionClient.
func (c ElectionClient) Campaign(ctx context.Context, r *pb.CampaignRequest, _ ...grpc.CallOption) (*pb.CampaignResponse, error) {
	return c.Service.Campaign(turned(ctx), r)
}

// Proclaim implements pb.ElectionClient.
func (c ElectionClient) Proclaim(ctx context.Context, r *pb.ProclaimRequest, _ ...grpc.CallOption) (*pb.ProclaimResponse, error) {
	return c.Service.Proclaim(turned(ctx), r)
}

// Leader implements pb.ElectionClient.
func (c ElectionClient) Leader(ctx context.Context, r *pb.LeaderRequest, _ ...grpc.CallOption) (*pb.LeaderResponse, error) {
	return c.Service.Leader(turned(ctx), r)
}

// Observe implements pb.ElectionClient. The stream ends with ctx.
func (c ElectionClient) Observe(ctx context.Context, r *pb.LeaderRequest, _ ...grpc.CallOption) (pb.Election_ObserveClient, error) {
	return Open(ctx, func(s *Serving[pb.LeaderRequest, pb.LeaderResponse]) error { return c.Service.Observe(r, s) }), nil
}

// Resign implements pb.ElectionClient.
func (c ElectionClient) Resign(ctx context.Context, r *pb.ResignRequest, _ ...grpc.CallOption) (*pb.ResignResponse, error) {
	return c.Service.Resign(turned(ctx), r)
}
