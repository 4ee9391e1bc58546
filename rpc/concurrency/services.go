package concurrency

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3election"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3election/v3electionpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3lock"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb"
	"go.etcd.io/etcd/server/v3/proxy/grpcproxy/adapter"
	"google.golang.org/grpc"

	"raftkv/rpc/etcdv3"
)

// Services are the lock and the election service of one member.
type Services struct {
	Lock     v3lockpb.LockServer
	Election v3electionpb.ElectionServer
}

// New builds the services on those of the same member.
func New(s *etcdv3.Services) *Services {
	m := &member{
		kv: adapter.KvServerToKvClient(s.KV), lease: adapter.LeaseServerToLeaseClient(s.Lease), watch: s.Watch,
	}
	return &Services{Lock: &lock{member: m}, Election: &election{member: m}}
}

// Register registers both on r.
func (s *Services) Register(r grpc.ServiceRegistrar) {
	v3lockpb.RegisterLockServer(r, s.Lock)
	v3electionpb.RegisterElectionServer(r, s.Election)
}

// member is what the services are built on.
type member struct {
	kv    pb.KVClient
	lease pb.LeaseClient
	watch pb.WatchServer
}

// caller is a client in the name of whoever sent the request of ctx. watches
// tells why one of its watches has failed.
func (m *member) caller(ctx context.Context) (c *clientv3.Client, watches *watcher) {
	// etcd's recipes delete a waiter's key in the client's own context once the
	// caller's has ended. The KV service bounds that.
	c = clientv3.NewCtxClient(context.WithoutCancel(ctx))
	watches = &watcher{service: m.watch}
	c.KV = clientv3.NewKVFromKVClient(m.kv, c)
	c.Lease = orphans{clientv3.NewLeaseFromLeaseClient(m.lease, c, 0)}
	c.Watcher = watches
	return c, watches
}

// orphans are the leases of the services' sessions. The services give each
// session up as soon as it is made: keeping its lease alive is the caller's.
type orphans struct{ clientv3.Lease }

// KeepAlive renews nothing. It ends with ctx, as a session wants it.
func (orphans) KeepAlive(ctx context.Context, _ clientv3.LeaseID) (<-chan *clientv3.LeaseKeepAliveResponse, error) {
	renewed := make(chan *clientv3.LeaseKeepAliveResponse)
	context.AfterFunc(ctx, func() { close(renewed) })
	return renewed, nil
}

// lock is etcd's lock service, with a client for each call.
type lock struct {
	member *member
	// A new method of the service must not compile until it is served.
	v3lockpb.UnsafeLockServer
}

// Lock waits until the caller's lease holds the lock.
func (s *lock) Lock(ctx context.Context, r *v3lockpb.LockRequest) (*v3lockpb.LockResponse, error) {
	c, watches := s.member.caller(ctx)
	resp, err := v3lock.NewLockServer(c).Lock(ctx, r)
	return resp, watches.explain(ctx, err)
}

// Unlock deletes the key that a Lock returned.
func (s *lock) Unlock(ctx context.Context, r *v3lockpb.UnlockRequest) (*v3lockpb.UnlockResponse, error) {
	c, _ := s.member.caller(ctx)
	return v3lock.NewLockServer(c).Unlock(ctx, r)
}

// election is etcd's election service, with a client for each call.
type election struct {
	member *member
	// A new method of the service must not compile until it is served.
	v3electionpb.UnsafeElectionServer
}

// Campaign waits until the caller's lease is elected.
func (s *election) Campaign(ctx context.Context, r *v3electionpb.CampaignRequest) (*v3electionpb.CampaignResponse, error) {
	c, watches := s.member.caller(ctx)
	resp, err := v3election.NewElectionServer(c).Campaign(ctx, r)
	return resp, watches.explain(ctx, err)
}

// Proclaim changes the value of who is elected.
func (s *election) Proclaim(ctx context.Context, r *v3electionpb.ProclaimRequest) (*v3electionpb.ProclaimResponse, error) {
	c, _ := s.member.caller(ctx)
	return v3election.NewElectionServer(c).Proclaim(ctx, r)
}

// Leader tells who is elected.
func (s *election) Leader(ctx context.Context, r *v3electionpb.LeaderRequest) (*v3electionpb.LeaderResponse, error) {
	c, _ := s.member.caller(ctx)
	return v3election.NewElectionServer(c).Leader(ctx, r)
}

// Observe tells who is elected from now on, in order.
func (s *election) Observe(r *v3electionpb.LeaderRequest, stream v3electionpb.Election_ObserveServer) error {
	c, watches := s.member.caller(stream.Context())
	err := v3election.NewElectionServer(c).Observe(r, stream)
	if err == nil {
		// It takes a watch that has ended for the end of the election.
		err = watches.failure(stream.Context())
	}
	return err
}

// Resign ends being elected.
func (s *election) Resign(ctx context.Context, r *v3electionpb.ResignRequest) (*v3electionpb.ResignResponse, error) {
	c, _ := s.member.caller(ctx)
	return v3election.NewElectionServer(c).Resign(ctx, r)
}
