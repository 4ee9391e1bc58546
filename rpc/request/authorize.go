package request

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/membershippb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// Access is what an operation does with what it names.
type Access uint8

const (
	// Read and Write name keys.
	Read Access = iota + 1
	Write
	// Inspect looks at the cluster, not at keys: any authenticated user may.
	Inspect
	// Admin changes the cluster or the store as a whole.
	Admin
	// ReadLease and WriteLease name a lease: they read or write every key that
	// is attached to it. ReadLeases reads those of all leases.
	ReadLease
	WriteLease
	ReadLeases
)

// Operation is one thing a request wants to do.
type Operation struct {
	Access Access
	// Key and RangeEnd have etcd's meaning; both empty but for Read and Write.
	Key, RangeEnd []byte
	// Lease is the lease a Write attaches to its key, 0 for none. Attaching
	// to a lease that also holds keys the user may not write must be refused.
	// Of ReadLease and WriteLease it is the lease, which need not exist.
	Lease int64
}

// Identity is who asked. It travels with a proposed command.
type Identity struct {
	// User is empty while authentication is off.
	User string
	// AuthRevision is the revision of the auth tables the identity was
	// established at.
	AuthRevision uint64
}

// Authorizer decides about operations. Its errors are answered as they are if
// they carry a gRPC status, else through the error table. Its methods are
// called concurrently.
type Authorizer interface {
	// Identify establishes who sent the request of ctx.
	Identify(ctx context.Context) (Identity, error)
	// Authorize returns nil if id may do op.
	Authorize(id Identity, op Operation) error
}

// AllowAll is the Authorizer of a cluster without authentication.
type AllowAll struct{}

// Identify returns the anonymous identity.
func (AllowAll) Identify(context.Context) (Identity, error) { return Identity{}, nil }

// Authorize allows everything.
func (AllowAll) Authorize(Identity, Operation) error { return nil }

// Authorize establishes who asks and checks every operation of req. Its error
// is a gRPC status.
func (g *Gate) Authorize(ctx context.Context, req proto.Message) (Identity, error) {
	id, err := g.auth.Identify(ctx)
	if err != nil {
		return Identity{}, g.table.GRPC(err)
	}
	return id, g.authorizeRequest(id, req)
}

func (g *Gate) authorizeRequest(id Identity, req proto.Message) error {
	switch r := req.(type) {
	case *pb.PutRequest:
		return g.authorizePut(id, r)
	case *pb.WatchCreateRequest:
		return g.allow(id, Operation{Access: Read, Key: r.GetKey(), RangeEnd: r.GetRangeEnd()})
	case *pb.RangeRequest:
		return g.allow(id, Operation{Access: Read, Key: r.GetKey(), RangeEnd: r.GetRangeEnd()})
	case *pb.DeleteRangeRequest:
		return g.authorizeDelete(id, r)
	case *pb.TxnRequest:
		return g.authorizeTxn(id, r)
	case *pb.LeaseGrantRequest:
		return g.allow(id, Operation{Access: Inspect}) // any user may, as in etcd
	case *pb.LeaseRevokeRequest:
		return g.allow(id, Operation{Access: WriteLease, Lease: r.GetID()})
	case *pb.LeaseKeepAliveRequest:
		return g.allow(id, Operation{Access: WriteLease, Lease: r.GetID()})
	case *pb.LeaseTimeToLiveRequest:
		if !r.GetKeys() {
			return g.allow(id, Operation{Access: Inspect})
		}
		return g.allow(id, Operation{Access: ReadLease, Lease: r.GetID()})
	case *pb.LeaseLeasesRequest:
		return g.allow(id, Operation{Access: ReadLeases})
	case *pb.StatusRequest, *pb.MemberListRequest:
		return g.allow(id, Operation{Access: Inspect})
	case *pb.AlarmRequest:
		if r.GetAction() == pb.AlarmRequest_GET {
			return g.allow(id, Operation{Access: Inspect})
		}
		return g.allow(id, Operation{Access: Admin})
	case *pb.CompactionRequest, *pb.HashRequest, *pb.HashKVRequest, *pb.DefragmentRequest, *pb.SnapshotRequest,
		*pb.MemberAddRequest, *pb.MemberRemoveRequest, *pb.MemberUpdateRequest, *pb.MemberPromoteRequest, *pb.MoveLeaderRequest,
		*pb.DowngradeRequest, *membershippb.DowngradeInfoSetRequest:
		return g.allow(id, Operation{Access: Admin})
	default:
		return status.Errorf(codes.PermissionDenied, "raftkv: no authorisation rule for %T", req)
	}
}

func (g *Gate) authorizePut(id Identity, r *pb.PutRequest) error {
	if r.GetPrevKv() {
		if err := g.allow(id, Operation{Access: Read, Key: r.GetKey()}); err != nil {
			return err
		}
	}
	return g.allow(id, Operation{Access: Write, Key: r.GetKey(), Lease: r.GetLease()})
}

func (g *Gate) authorizeDelete(id Identity, r *pb.DeleteRangeRequest) error {
	if r.GetPrevKv() {
		if err := g.allow(id, Operation{Access: Read, Key: r.GetKey(), RangeEnd: r.GetRangeEnd()}); err != nil {
			return err
		}
	}
	return g.allow(id, Operation{Access: Write, Key: r.GetKey(), RangeEnd: r.GetRangeEnd()})
}

// authorizeTxn checks both branches: which one runs is known only at Apply,
// and an answer that depended on it would leak the compared values.
func (g *Gate) authorizeTxn(id Identity, r *pb.TxnRequest) error {
	for _, c := range r.GetCompare() {
		if err := g.allow(id, Operation{Access: Read, Key: c.GetKey(), RangeEnd: c.GetRangeEnd()}); err != nil {
			return err
		}
	}
	for _, branch := range [2][]*pb.RequestOp{r.GetSuccess(), r.GetFailure()} {
		for _, op := range branch {
			if err := g.authorizeOp(id, op); err != nil {
				return err
			}
		}
	}
	return nil
}

func (g *Gate) authorizeOp(id Identity, op *pb.RequestOp) error {
	switch o := op.GetRequest().(type) {
	case *pb.RequestOp_RequestRange:
		return g.authorizeRequest(id, o.RequestRange)
	case *pb.RequestOp_RequestPut:
		return g.authorizeRequest(id, o.RequestPut)
	case *pb.RequestOp_RequestDeleteRange:
		return g.authorizeRequest(id, o.RequestDeleteRange)
	case *pb.RequestOp_RequestTxn:
		return g.authorizeRequest(id, o.RequestTxn)
	default:
		return status.Errorf(codes.PermissionDenied, "raftkv: no authorisation rule for the operation %T", o)
	}
}

// allow is the one authorisation point (invariant 9).
func (g *Gate) allow(id Identity, op Operation) error {
	if err := g.auth.Authorize(id, op); err != nil {
		return g.table.GRPC(err)
	}
	return nil
}
