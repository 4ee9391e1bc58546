package kvstream

import (
	"context"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"raftkv/rpc/kvstream/kvpb"
	"raftkv/rpc/request"
	"raftkv/statemachine/envelope"
	"raftkv/statemachine/mvcc"
)

// HoldersWait is how long a write that counts its holders waits, after its
// commit, for the members that do not have it yet.
const HoldersWait = 100 * time.Millisecond

// Backend is what the native service needs of the member that serves. Its
// methods may be called concurrently.
type Backend interface {
	request.Backend
	// Enqueue hands a command over like Propose, but does not wait. Commands of
	// one caller are proposed in the order of its calls. An error means that it
	// was not and will not be applied.
	Enqueue(command []byte) (Waiting, error)
	// GetKeys calls visit with each key as it is now, all at one revision, which
	// it returns; kv is nil for a missing key, and valid during the call. Keys
	// may be empty, which are missing.
	GetKeys(keys [][]byte, visit func(i int, kv *mvcc.KeyValue) error) (revision int64, err error)
	// Stopping is closed when the member begins to stop.
	Stopping() <-chan struct{}
	// SessionTTL is how long a session lives that is not used.
	SessionTTL() time.Duration
	// LeasePromise is for how long voters are to promise a leader not to help
	// another to win, if lease reads are switched on here.
	LeasePromise() time.Duration
	// Holders returns how many of all members hold the log up to index
	// durably. It waits up to HoldersWait for the remaining ones and then
	// returns the count so far; an error means that nothing could be learnt.
	Holders(ctx context.Context, index uint64) (have, total int, err error)
	// MemberStatus describes this member except for cluster_id, member_id,
	// term, leader_id and revision, which the service fills in. It must not
	// block; the caller owns the message.
	MemberStatus() *kvpb.StatusResponse
	// Rewrite writes the files of the state anew. It ends early with ctx, and
	// when the member stops.
	Rewrite(ctx context.Context) error
	// Join adds the node of the request as a learner; asked again for the same
	// member id it changes nothing.
	Join(ctx context.Context, r *kvpb.JoinRequest) error
	// RemoveMember removes a member, by force also where the rest would have no
	// majority.
	RemoveMember(ctx context.Context, id uint64, force bool) error
}

// Native is the native service.
type Native struct {
	gate    *request.Gate
	backend Backend
	metrics *Metrics
	kvpb.UnsafeNativeServer
}

// New builds the native service.
func New(g *request.Gate, b Backend) *Native {
	return &Native{gate: g, backend: b, metrics: newMetrics()}
}

// Metrics are those of the service.
func (s *Native) Metrics() *Metrics { return s.metrics }

// Register registers the native service on r.
func Register(r grpc.ServiceRegistrar, s kvpb.NativeServer) {
	kvpb.RegisterNativeServer(r, s)
}

// Write applies one write.
func (s *Native) Write(ctx context.Context, r *kvpb.WriteRequest) (*kvpb.WriteResponse, error) {
	if err := s.gate.Admit(ctx, request.VotersOnly); err != nil {
		return nil, err
	}
	kind, req, err := command(r)
	if err != nil {
		return nil, err
	}
	result, index, err := s.gate.Write(ctx, kind, req)
	if err != nil {
		return nil, err
	}
	resp, err := s.response(r, result)
	if err != nil {
		return nil, err
	}
	resp.Index = index
	if r.GetCountHolders() {
		resp.Holders, resp.Members = s.countHolders(ctx, index)
	}
	return resp, nil
}

// command translates the operation of r and validates it.
func command(r *kvpb.WriteRequest) (envelope.Kind, proto.Message, error) {
	switch op := r.GetOp().(type) {
	case *kvpb.WriteRequest_Put:
		put := &pb.PutRequest{Key: op.Put.GetKey(), Value: op.Put.GetValue(), Lease: op.Put.GetLease()}
		return envelope.KindPut, put, request.CheckPut(put)
	case *kvpb.WriteRequest_Append:
		// The value before it tells the length after it; whoever learns that
		// must be allowed to read, which PrevKv asks of the authorisation too.
		put := &pb.PutRequest{Key: op.Append.GetKey(), Value: op.Append.GetValue(), PrevKv: true}
		return envelope.KindAppend, put, request.CheckPut(put)
	case *kvpb.WriteRequest_Delete:
		del := &pb.DeleteRangeRequest{Key: op.Delete.GetKey(), RangeEnd: op.Delete.GetRangeEnd()}
		return envelope.KindDeleteRange, del, request.CheckDelete(del)
	default:
		return 0, nil, status.Error(codes.InvalidArgument, "raftkv: the write request names no operation (put, append or delete)")
	}
}

// response translates what the state machine answered.
func (s *Native) response(req *kvpb.WriteRequest, result any) (*kvpb.WriteResponse, error) {
	resp := &kvpb.WriteResponse{}
	var header *pb.ResponseHeader
	switch r := result.(type) {
	case *pb.PutResponse:
		header = r.GetHeader()
		if tail := req.GetAppend(); tail != nil {
			resp.Length = int64(len(r.GetPrevKv().GetValue()) + len(tail.GetValue()))
		}
	case *pb.DeleteRangeResponse:
		header, resp.Deleted = r.GetHeader(), r.GetDeleted()
	default:
		return nil, status.Errorf(codes.Internal, "raftkv: the state machine answered a write with %T", result)
	}
	header = s.gate.FillHeader(header)
	resp.ClusterId, resp.MemberId = header.GetClusterId(), header.GetMemberId()
	resp.RaftTerm, resp.Revision = header.GetRaftTerm(), header.GetRevision()
	return resp, nil
}

// countHolders never fails the write: it is committed already.
func (s *Native) countHolders(ctx context.Context, index uint64) (holders, members uint32) {
	// The backend waits HoldersWait; the rest is for asking the leader.
	ctx, cancel := context.WithTimeout(ctx, 2*HoldersWait)
	defer cancel()
	have, total, err := s.backend.Holders(ctx, index)
	if err != nil || have < 0 || have > total {
		return 0, 0
	}
	return uint32(have), uint32(total)
}

// Status describes this member.
func (s *Native) Status(ctx context.Context, _ *kvpb.StatusRequest) (*kvpb.StatusResponse, error) {
	if err := s.gate.Admit(ctx, request.LearnersToo); err != nil {
		return nil, err
	}
	if _, err := s.gate.Authorize(ctx, &pb.StatusRequest{}); err != nil {
		return nil, err
	}
	resp := s.backend.MemberStatus()
	resp.ClusterId, resp.MemberId = s.backend.ClusterID(), s.backend.MemberID()
	resp.Term, resp.LeaderId = s.backend.Term(), s.backend.Leader()
	resp.Revision = s.backend.Revision()
	return resp, nil
}
