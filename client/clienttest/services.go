package clienttest

import (
	"context"
	"path"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftkv/rpc/kvstream/kvpb"
)

// method is the name of the called method without its service.
func method(info *grpc.UnaryServerInfo) string { return path.Base(info.FullMethod) }

// header fills in what every answer of the etcd API carries.
func (m *Member) header(revision int64) *pb.ResponseHeader {
	return &pb.ResponseHeader{ClusterId: m.cluster.id, MemberId: m.id, RaftTerm: Term, Revision: revision}
}

type native struct {
	kvpb.UnimplementedNativeServer
	m *Member
}

func (s *native) Write(_ context.Context, req *kvpb.WriteRequest) (*kvpb.WriteResponse, error) {
	c := s.m.cluster
	resp := &kvpb.WriteResponse{ClusterId: c.id, MemberId: s.m.id, RaftTerm: Term}
	var err error
	switch op := req.GetOp().(type) {
	case *kvpb.WriteRequest_Put:
		resp.Revision, err = c.store.put(&pb.PutRequest{Key: op.Put.GetKey(), Value: op.Put.GetValue()})
	case *kvpb.WriteRequest_Append:
		resp.Revision, resp.Length, err = c.store.append(op.Append.GetKey(), op.Append.GetValue())
	case *kvpb.WriteRequest_Delete:
		resp.Revision, resp.Deleted, err = c.store.delete(&pb.DeleteRangeRequest{Key: op.Delete.GetKey(), RangeEnd: op.Delete.GetRangeEnd()})
	default:
		err = status.Error(codes.InvalidArgument, "no operation given")
	}
	if err != nil {
		return nil, err
	}
	resp.Index = c.advance()
	if req.GetCountHolders() {
		resp.Members = uint32(len(c.members))
		for _, m := range c.members {
			if !m.stopped.Load() {
				resp.Holders++
			}
		}
	}
	return resp, nil
}

func (s *native) Status(context.Context, *kvpb.StatusRequest) (*kvpb.StatusResponse, error) {
	c := s.m.cluster
	role, missing := s.m.role()
	last := c.index() - missing
	resp := &kvpb.StatusResponse{
		ClusterId:    c.id,
		MemberId:     s.m.id,
		Name:         s.m.describe().GetName(),
		Role:         role,
		Term:         Term,
		LeaderId:     c.leaderID(),
		FirstIndex:   2,
		LastIndex:    last,
		CommitIndex:  last,
		AppliedIndex: last,
		Revision:     c.store.revision(),
		DbSizeBytes:  4096,
		Version:      "0.0.0-fake",

		LeasePromiseMs: c.leasePromiseMS.Load(), LeaseHeld: c.leasePromiseMS.Load() > 0 && c.leaderID() == s.m.id,
	}
	for _, m := range c.members {
		resp.Members = append(resp.Members, m.describe())
	}
	return resp, nil
}

// Rewrite halves what the member takes.
func (s *native) SetLeaseReads(_ context.Context, req *kvpb.SetLeaseReadsRequest) (*kvpb.SetLeaseReadsResponse, error) {
	c := s.m.cluster
	promise := uint64(0)
	if req.GetOn() {
		promise = 300
	}
	c.leasePromiseMS.Store(promise)
	return &kvpb.SetLeaseReadsResponse{ClusterId: c.id, MemberId: s.m.id, LeasePromiseMs: promise}, nil
}

func (s *native) Rewrite(_ *kvpb.RewriteRequest, stream grpc.ServerStreamingServer[kvpb.RewriteProgress]) error {
	p := &kvpb.RewriteProgress{ClusterId: s.m.cluster.id, MemberId: s.m.id, BeforeBytes: 4 << 20, NowBytes: 4 << 20}
	if err := stream.Send(p); err != nil {
		return err
	}
	p.NowBytes, p.Done = 2<<20, true
	return stream.Send(p)
}

type kv struct {
	pb.UnimplementedKVServer
	m *Member
}

func (s *kv) Range(_ context.Context, req *pb.RangeRequest) (*pb.RangeResponse, error) {
	resp, revision, err := s.m.cluster.store.read(req)
	if err != nil {
		return nil, err
	}
	resp.Header = s.m.header(revision)
	return resp, nil
}

func (s *kv) Put(_ context.Context, req *pb.PutRequest) (*pb.PutResponse, error) {
	revision, err := s.m.cluster.store.put(req)
	if err != nil {
		return nil, err
	}
	s.m.cluster.advance()
	return &pb.PutResponse{Header: s.m.header(revision)}, nil
}

func (s *kv) DeleteRange(_ context.Context, req *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error) {
	revision, deleted, err := s.m.cluster.store.delete(req)
	if err != nil {
		return nil, err
	}
	s.m.cluster.advance()
	return &pb.DeleteRangeResponse{Header: s.m.header(revision), Deleted: deleted}, nil
}

func (s *kv) Txn(_ context.Context, req *pb.TxnRequest) (*pb.TxnResponse, error) {
	resp, revision, err := s.m.cluster.store.txn(req)
	if err != nil {
		return nil, err
	}
	s.m.cluster.advance()
	resp.Header = s.m.header(revision)
	return resp, nil
}

func (s *kv) Compact(_ context.Context, req *pb.CompactionRequest) (*pb.CompactionResponse, error) {
	revision, err := s.m.cluster.store.compact(req.GetRevision())
	if err != nil {
		return nil, err
	}
	s.m.cluster.advance()
	return &pb.CompactionResponse{Header: s.m.header(revision)}, nil
}

type clusterService struct {
	pb.UnimplementedClusterServer
	m *Member
}

func (s *clusterService) MemberList(context.Context, *pb.MemberListRequest) (*pb.MemberListResponse, error) {
	resp := &pb.MemberListResponse{Header: s.m.header(0)}
	for _, m := range s.m.cluster.members {
		d := m.describe()
		resp.Members = append(resp.Members, &pb.Member{
			ID: d.GetId(), Name: d.GetName(), PeerURLs: d.GetPeerUrls(), ClientURLs: d.GetClientUrls(), IsLearner: d.GetLearner(),
		})
	}
	return resp, nil
}

type maintenance struct {
	pb.UnimplementedMaintenanceServer
	m *Member
}

func (s *maintenance) Status(context.Context, *pb.StatusRequest) (*pb.StatusResponse, error) {
	c := s.m.cluster
	role, missing := s.m.role()
	return &pb.StatusResponse{
		Header:           s.m.header(c.store.revision()),
		Version:          "3.7.3",
		DbSize:           4096,
		Leader:           c.leaderID(),
		RaftIndex:        c.index() - missing,
		RaftTerm:         Term,
		RaftAppliedIndex: c.index() - missing,
		IsLearner:        role == kvpb.StatusResponse_LEARNER,
	}, nil
}

func (s *maintenance) Alarm(_ context.Context, req *pb.AlarmRequest) (*pb.AlarmResponse, error) {
	store := s.m.cluster.store
	switch req.GetAction() {
	case pb.AlarmRequest_DEACTIVATE:
		s.m.cluster.advance()
		return &pb.AlarmResponse{Header: s.m.header(store.revision()), Alarms: store.disarm(req)}, nil
	case pb.AlarmRequest_GET:
		return &pb.AlarmResponse{Header: s.m.header(store.revision()), Alarms: store.active()}, nil
	}
	return nil, status.Errorf(codes.InvalidArgument, "the fake does not know the action %v", req.GetAction())
}
