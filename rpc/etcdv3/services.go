package etcdv3

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"raftkv/rpc/feed"
	"raftkv/rpc/request"
	"raftkv/statemachine"
)

// Backend is what the etcd services need of the member that serves. Its
// methods may be called concurrently.
type Backend interface {
	request.Backend
	Reconfiguration
	Leases
	// Range reads local state as of now (or the revision asked for). The
	// request has been validated and must not be changed; the response belongs
	// to the caller and has Header.Revision set.
	Range(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error)
	// ReadTxn runs a transaction of ranges (request.IsReadOnly) on local state,
	// all of it at one revision. Ownership as in Range.
	ReadTxn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error)
	// Members lists the members as this member has applied them. The caller
	// owns the messages.
	Members() []*pb.Member
	// Status describes this member. It needs no quorum and must not block.
	Status() Status
	// Alarms lists the active alarms as this member has applied them. The caller
	// owns the messages.
	Alarms() []*pb.AlarmMember
	// DowngradeTarget is the version that a downgrade under way goes to, "" if
	// there is none.
	DowngradeTarget() string
	// AwaitSweep returns once this member has removed what compactions up to
	// revision made unreadable.
	AwaitSweep(ctx context.Context, revision int64) error
	// CompactedRevision is the oldest revision that can be read, or -1.
	CompactedRevision() int64
	// HashKV is etcd's hash of the key space up to revision, 0 for the newest.
	HashKV(ctx context.Context, revision int64) (statemachine.KVHash, error)
	// Watches is where watch streams get their events.
	Watches() feed.Source
	// Hash is a hash of everything this member holds, and the revision then.
	Hash(ctx context.Context) (hash uint32, revision int64, err error)
	// SaveSnapshot takes a copy of the store now. ctx bounds the reading too.
	SaveSnapshot(ctx context.Context) (SnapshotFile, error)
}

// Status is what Maintenance.Status reports beyond the response header.
type Status struct {
	CommitIndex, AppliedIndex uint64
	// DBSizeBytes is what the store takes on disk, DBSizeInUseBytes what of it
	// is not waiting to be reclaimed, QuotaBytes the limit, 0 for none.
	DBSizeBytes, DBSizeInUseBytes, QuotaBytes int64
	// Version is the etcd version whose API is served, StorageVersion the
	// version of the replicated format.
	Version, StorageVersion string
	// Errors lists what is wrong with this member besides a missing leader and
	// the alarms.
	Errors []string
}

// Services are the etcd services of one member. They may be called in process,
// as the JSON gateway does; every check is in the handlers.
type Services struct {
	KV          pb.KVServer
	Cluster     pb.ClusterServer
	Maintenance pb.MaintenanceServer
	// Watch is for callers in process; over gRPC events go out as they were
	// encoded once.
	Watch pb.WatchServer
	Lease pb.LeaseServer
	Auth  pb.AuthServer
}

// New builds the services.
func New(g *request.Gate, b Backend) *Services {
	return &Services{
		KV:          &kv{gate: g, backend: b},
		Cluster:     &cluster{gate: g, backend: b},
		Maintenance: &maintenance{gate: g, backend: b},
		Watch:       &watch{gate: g, source: b.Watches()},
		Lease:       &lease{gate: g, backend: b},
		Auth:        pb.UnimplementedAuthServer{},
	}
}

// Register registers every service on r.
func (s *Services) Register(r grpc.ServiceRegistrar) {
	pb.RegisterKVServer(r, s.KV)
	pb.RegisterClusterServer(r, s.Cluster)
	pb.RegisterMaintenanceServer(r, s.Maintenance)
	pb.RegisterWatchServer(r, overWire(s.Watch))
	pb.RegisterLeaseServer(r, s.Lease)
	pb.RegisterAuthServer(r, s.Auth)
}
