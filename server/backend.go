package server

import (
	"context"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/version"

	"raftkv/node"
	"raftkv/rpc/etcdv3"
	"raftkv/rpc/kvstream"
	"raftkv/rpc/kvstream/kvpb"
	"raftkv/statemachine/mvcc"
)

// backend is the member as the client services see it.
type backend struct{ s *Server }

func (b backend) Propose(ctx context.Context, command []byte) (any, uint64, error) {
	n := b.s.node.Load()
	if n == nil {
		return nil, 0, errNotReady
	}
	return n.Propose(ctx, command)
}

func (b backend) Enqueue(command []byte) (kvstream.Waiting, error) {
	n := b.s.node.Load()
	if n == nil {
		return nil, errNotReady
	}
	pending, err := n.Enqueue(command)
	return waiting{n, pending}, err
}

// waiting is a command that was handed to the node.
type waiting struct {
	n       *node.Node
	pending *node.Pending
}

func (w waiting) Wait(ctx context.Context) (any, uint64, error) { return w.n.Await(ctx, w.pending) }

func (b backend) GetKeys(keys [][]byte, visit func(i int, kv *mvcc.KeyValue) error) (int64, error) {
	return b.s.rooms.machine.GetKeys(keys, visit)
}

func (b backend) Stopping() <-chan struct{} { return b.s.Done() }

func (b backend) SessionTTL() time.Duration { return b.s.cfg.SessionTTL }

func (b backend) ReadIndex(ctx context.Context) error {
	n := b.s.node.Load()
	if n == nil {
		return errNotReady
	}
	return n.ReadIndex(ctx)
}

func (b backend) Range(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	return b.s.rooms.machine.Range(ctx, r)
}

func (b backend) ReadTxn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	return b.s.rooms.machine.ReadTxn(ctx, r)
}

func (b backend) Holders(ctx context.Context, index uint64) (have, total int, err error) {
	n := b.s.node.Load()
	if n == nil {
		return 0, 0, errNotReady
	}
	wait := kvstream.HoldersWait
	if n.Status().Role != node.Leader {
		// The leader waits as long; its answer needs time to come back.
		wait *= 2
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	return n.HoldersOf(ctx, index)
}

func (b backend) ClusterID() uint64 { return b.s.clusterID }
func (b backend) MemberID() uint64  { return b.s.memberID }
func (b backend) Term() uint64      { return b.s.status().Term }
func (b backend) Leader() uint64    { return b.s.status().Leader }
func (b backend) IsLearner() bool   { return b.s.status().Role == node.Learner }
func (b backend) Revision() int64   { return b.s.rooms.machine.Revision() }

func (b backend) Versions() version.Versions {
	return version.Versions{Server: EtcdVersion, Cluster: b.apiVersion(), Storage: b.apiVersion()}
}

// apiVersion is the version of etcd's API that the cluster is at: the one it
// serves, or that of a downgrade under way, as in etcd.
func (b backend) apiVersion() string {
	if target := b.DowngradeTarget(); target != "" {
		return target
	}
	return EtcdVersion[:3] + ".0"
}

func (b backend) DowngradeTarget() string { return b.s.rooms.machine.DowngradeTarget() }

func (b backend) Members() []*pb.Member {
	var members []*pb.Member
	for _, m := range b.s.rooms.machine.Members() {
		members = append(members, &pb.Member{ID: m.ID, Name: m.Name, PeerURLs: m.PeerURLs, ClientURLs: m.ClientURLs, IsLearner: m.IsLearner})
	}
	return members
}

func (b backend) Status() etcdv3.Status {
	status := b.s.status()
	size, inUse := b.s.dbSizes()
	return etcdv3.Status{
		CommitIndex: status.Commit, AppliedIndex: status.Applied,
		DBSizeBytes: size, DBSizeInUseBytes: inUse, QuotaBytes: b.s.upkeep.guard.Bytes(),
		Version: EtcdVersion, StorageVersion: b.apiVersion(),
	}
}

func (b backend) MemberStatus() *kvpb.StatusResponse {
	status := b.s.status()
	resp := &kvpb.StatusResponse{
		Name:        b.s.cfg.Name,
		Role:        kvpb.StatusResponse_Role(status.Role),
		FirstIndex:  status.First,
		LastIndex:   status.Last,
		CommitIndex: status.Commit, AppliedIndex: status.Applied,
		DbSizeBytes: b.s.sizeBytes(),
		Version:     Version,
		Snapshots:   b.s.snapshotTransfers(),

		ClusterVersion: uint32(b.s.rooms.machine.ClusterVersion()),
		LeasePromiseMs: uint64(b.s.rooms.machine.LeaseReads().Milliseconds()), LeaseHeld: status.Lease,
	}
	for _, m := range b.s.rooms.machine.Members() {
		resp.Members = append(resp.Members, &kvpb.Member{Id: m.ID, Name: m.Name, PeerUrls: m.PeerURLs, ClientUrls: m.ClientURLs, Learner: m.IsLearner})
	}
	return resp
}
