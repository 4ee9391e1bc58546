package concurrency_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3election/v3electionpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"raftkv/rpc/concurrency"
	"raftkv/rpc/etcdv3"
)

// contended is a store in which somebody else always holds what is asked for. It
// notes in whose name it is called.
type contended struct {
	pb.UnimplementedKVServer
	pb.UnimplementedLeaseServer
	pb.UnimplementedWatchServer

	watched chan pb.Watch_WatchServer // each watch, once it has been asked for
	stop    chan error                // ends one watch

	mu    sync.Mutex
	calls []string // method and token
}

func newContended() *contended {
	return &contended{watched: make(chan pb.Watch_WatchServer, 8), stop: make(chan error)}
}

func (s *contended) note(ctx context.Context, method string) {
	token := metadata.ValueFromIncomingContext(ctx, rpctypes.TokenFieldNameGRPC)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, method+" "+token[0])
}

func (s *contended) noted() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

var other = &mvccpb.KeyValue{Key: []byte("name/1"), CreateRevision: 2, ModRevision: 2, Lease: 1}

func (s *contended) Txn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	s.note(ctx, "Txn")
	read := &pb.ResponseOp{Response: &pb.ResponseOp_ResponseRange{ResponseRange: &pb.RangeResponse{Kvs: []*mvccpb.KeyValue{other}}}}
	put := &pb.ResponseOp{Response: &pb.ResponseOp_ResponsePut{ResponsePut: &pb.PutResponse{}}}
	return &pb.TxnResponse{Header: &pb.ResponseHeader{Revision: 3}, Succeeded: true, Responses: []*pb.ResponseOp{put, read}}, nil
}

func (s *contended) Range(ctx context.Context, _ *pb.RangeRequest) (*pb.RangeResponse, error) {
	s.note(ctx, "Range")
	return &pb.RangeResponse{Header: &pb.ResponseHeader{Revision: 3}, Kvs: []*mvccpb.KeyValue{other}}, nil
}

func (s *contended) DeleteRange(ctx context.Context, _ *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error) {
	s.note(ctx, "DeleteRange")
	return &pb.DeleteRangeResponse{Header: &pb.ResponseHeader{Revision: 4}}, ctx.Err()
}

func (s *contended) LeaseGrant(ctx context.Context, r *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	s.note(ctx, "LeaseGrant")
	return &pb.LeaseGrantResponse{Header: &pb.ResponseHeader{Revision: 3}, ID: 5, TTL: r.GetTTL()}, nil
}

func (s *contended) Watch(stream pb.Watch_WatchServer) error {
	if _, err := stream.Recv(); err != nil {
		return err
	}
	s.note(stream.Context(), "Watch")
	s.watched <- stream
	select {
	case err := <-s.stop:
		return err
	case <-stream.Context().Done():
		return stream.Context().Err()
	}
}

func (s *contended) services() *concurrency.Services {
	return concurrency.New(&etcdv3.Services{KV: s, Lease: s, Watch: s})
}

// as is a request of a user who has this token.
func as(token string) context.Context {
	return metadata.NewIncomingContext(context.Background(), metadata.Pairs(rpctypes.TokenFieldNameGRPC, token))
}

// TestEverythingIsDoneInTheNameOfTheCaller: two callers wait for one lock; each has
// a watch of its own, and what a caller leaves is removed in its name after it
// has gone.
func TestEverythingIsDoneInTheNameOfTheCaller(t *testing.T) {
	s := newContended()
	services := s.services()
	for _, token := range []string{"alice", "bob"} {
		ctx, cancel := context.WithCancel(as(token))
		ended := make(chan error, 1)
		go func() {
			_, err := services.Lock.Lock(ctx, &v3lockpb.LockRequest{Name: []byte("name")})
			ended <- err
		}()
		<-s.watched
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", token, err)
		}
	}
	var want []string
	for _, token := range []string{"alice", "bob"} {
		for _, method := range []string{"LeaseGrant", "Txn", "Range", "Watch", "DeleteRange"} {
			want = append(want, method+" "+token)
		}
	}
	if got := s.noted(); !slices.Equal(got, want) {
		t.Errorf("calls %q, not %q", got, want)
	}
}

// TestWhyAWatchEndedIsTold: the recipes only see that it did.
func TestWhyAWatchEndedIsTold(t *testing.T) {
	s := newContended()
	services := s.services()
	for name, call := range map[string]func() error{
		"lock": func() error {
			_, err := services.Lock.Lock(as("alice"), &v3lockpb.LockRequest{Name: []byte("name"), Lease: 7})
			return err
		},
		"campaign": func() error {
			_, err := services.Election.Campaign(as("alice"), &v3electionpb.CampaignRequest{Name: []byte("name"), Lease: 7})
			return err
		},
		"observe": func() error {
			return services.Election.Observe(&v3electionpb.LeaderRequest{Name: []byte("name")}, &observing{ctx: as("alice")})
		},
	} {
		ended := make(chan error, 1)
		go func() { ended <- call() }()
		<-s.watched
		s.stop <- rpctypes.ErrGRPCStopped
		if err := <-ended; !errors.Is(err, rpctypes.ErrGRPCStopped) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// observing is the stream of an observer.
type observing struct {
	grpc.ServerStream
	ctx  context.Context
	told chan *v3electionpb.LeaderResponse // nil: everything is taken
}

func (o *observing) Context() context.Context { return o.ctx }

func (o *observing) Send(r *v3electionpb.LeaderResponse) error {
	if o.told == nil {
		return nil
	}
	select {
	case o.told <- r:
		return nil
	case <-o.ctx.Done():
		return o.ctx.Err()
	}
}

// TestAnObserverThatDoesNotReadHoldsUpItsWatch: nothing is gathered for it.
func TestAnObserverThatDoesNotReadHoldsUpItsWatch(t *testing.T) {
	s := newContended()
	ctx, cancel := context.WithCancel(as("alice"))
	defer cancel()
	o := &observing{ctx: ctx, told: make(chan *v3electionpb.LeaderResponse)}
	ended := make(chan error, 1)
	go func() {
		ended <- s.services().Election.Observe(&v3electionpb.LeaderRequest{Name: []byte("name")}, o)
	}()
	if first := <-o.told; first.GetKv().GetModRevision() != 2 {
		t.Errorf("first: %v", first)
	}
	watched := <-s.watched
	const told = 100
	sent := make(chan int, told)
	go func() {
		for n := range told {
			kv := &mvccpb.KeyValue{Key: other.Key, CreateRevision: 2, ModRevision: int64(3 + n)}
			if watched.Send(&pb.WatchResponse{Header: &pb.ResponseHeader{Revision: kv.ModRevision}, Events: []*mvccpb.Event{{Kv: kv}}}) != nil {
				return
			}
			sent <- n
		}
	}()
	for n := range told {
		if r := <-o.told; r.GetKv().GetModRevision() != int64(3+n) {
			t.Fatalf("event %d: %v", n, r)
		}
		// Between the sender and the reader each of four hands holds one.
		if ahead := len(sent); ahead > n+5 {
			t.Fatalf("%d were taken before the reader took number %d", ahead, n)
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
