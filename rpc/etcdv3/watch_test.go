package etcdv3_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftkv/rpc/etcdv3"
	"raftkv/rpc/listen"
	"raftkv/rpc/request"
	"raftkv/rpc/rpctest"
	"raftkv/server/watch"
	"raftkv/statemachine"
	"raftkv/statemachine/keys"
)

// oneKey is a history of one key: revision r holds the value given for it.
type oneKey struct {
	hub    *watch.Hub
	mu     sync.Mutex
	values []string // of revision 2 and on
}

func (k *oneKey) put(value string) {
	k.mu.Lock()
	k.values = append(k.values, value)
	revision := int64(len(k.values) + 1)
	k.mu.Unlock()
	k.hub.Advance(statemachine.Progress{From: revision, To: revision, Changes: []statemachine.Change{k.change(revision)}, Collected: true})
}

func (k *oneKey) change(revision int64) statemachine.Change {
	c := statemachine.Change{}
	c.Key, c.Value, c.Revision = []byte("k"), []byte(k.values[revision-2]), keys.Revision{Main: revision}
	c.CreateRevision, c.Version = 2, revision-1
	return c
}

func (k *oneKey) Revision() int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return int64(len(k.values) + 1)
}

func (k *oneKey) History(from int64, _ statemachine.HistoryLimits, want func([]byte) bool) (h statemachine.History, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	h.Revision, h.Compacted = int64(len(k.values)+1), -1
	h.Next = h.Revision + 1
	for r := max(2, from); r <= h.Revision && want([]byte("k")); r++ {
		h.Changes = append(h.Changes, k.change(r))
	}
	return h, nil
}

func (k *oneKey) Previous(changes []statemachine.Change) ([]*statemachine.KeyValue, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	list := make([]*statemachine.KeyValue, len(changes))
	for i := range changes {
		if r := changes[i].Revision.Main; r > 2 {
			c := k.change(r - 1)
			list[i] = &c.KeyValue
		}
	}
	return list, nil
}

// watched serves Watch of a store with one key, over gRPC and in process.
func watched(t *testing.T, auth request.Authorizer, cfg request.Config) (pb.WatchClient, *oneKey, *rpctest.Member) {
	t.Helper()
	hub, err := watch.New(watch.Config{})
	if err != nil {
		t.Fatal(err)
	}
	k := &oneKey{hub: hub}
	hub.Attach(k)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { hub.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	m := rpctest.New()
	m.Source = hub
	services := etcdv3.New(rpctest.Gate(t, m, auth, cfg), m)
	return pb.NewWatchClient(rpctest.Serve(t, listen.GRPCConfig{}, services.Register)), k, m
}

func openWatch(t *testing.T, c pb.WatchClient) pb.Watch_WatchClient {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	stream, err := c.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

func ask(t *testing.T, stream pb.Watch_WatchClient, r *pb.WatchCreateRequest) {
	t.Helper()
	if err := stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}}); err != nil {
		t.Fatal(err)
	}
}

func hear(t *testing.T, stream pb.Watch_WatchClient) *pb.WatchResponse {
	t.Helper()
	resp, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

func TestWatchStream(t *testing.T) {
	c, k, m := watched(t, request.AllowAll{}, request.Config{})
	k.put("a")
	stream := openWatch(t, c)
	ask(t, stream, &pb.WatchCreateRequest{Key: []byte("k"), StartRevision: 2, PrevKv: true})
	h := hear(t, stream)
	if !h.GetCreated() || h.GetCanceled() || h.GetHeader().GetClusterId() != rpctest.ClusterID || h.GetHeader().GetMemberId() != rpctest.ID ||
		h.GetHeader().GetRaftTerm() != rpctest.Term || h.GetHeader().GetRevision() != 2 {
		t.Errorf("created: %v", h)
	}
	if e := hear(t, stream).GetEvents(); len(e) != 1 || string(e[0].GetKv().GetValue()) != "a" || e[0].GetPrevKv() != nil {
		t.Errorf("first: %v", e)
	}
	k.put("b")
	if e := hear(t, stream).GetEvents(); len(e) != 1 || e[0].GetType() != mvccpb.Event_PUT || string(e[0].GetPrevKv().GetValue()) != "a" {
		t.Errorf("second: %v", e)
	}
	// A client that has said all still listens.
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	k.put("c")
	if e := hear(t, stream).GetEvents(); len(e) != 1 || string(e[0].GetKv().GetValue()) != "c" {
		t.Errorf("third: %v", e)
	}
	m.Switch(rpctest.Switches{Learner: true})
	if _, err := openWatch(t, c).Recv(); status.Convert(err).Message() != status.Convert(rpctypes.ErrGRPCNotSupportedForLearner).Message() {
		t.Errorf("on a learner: %v", err)
	}
}

func TestWatchRefusals(t *testing.T) {
	c, k, _ := watched(t, denyAll{}, request.Config{})
	stream := openWatch(t, c)
	refused := func(r *pb.WatchCreateRequest, reason string) {
		t.Helper()
		ask(t, stream, r)
		if h := hear(t, stream); !h.GetCreated() || !h.GetCanceled() || h.GetWatchId() != -1 || h.GetCancelReason() != reason {
			t.Errorf("%v: %v", r, h)
		}
	}
	refused(&pb.WatchCreateRequest{Key: []byte("k"), StartRevision: -1}, "etcdserver: mvcc: required revision has been compacted")
	refused(&pb.WatchCreateRequest{Key: []byte("secret")}, "rpc error: code = PermissionDenied desc = etcdserver: permission denied")
	// The empty key is the smallest one; a range end of one zero is no end.
	ask(t, stream, &pb.WatchCreateRequest{RangeEnd: []byte{0}, Filters: []pb.WatchCreateRequest_FilterType{9}})
	if h := hear(t, stream); h.GetCanceled() {
		t.Errorf("%v", h)
	}
	refused(&pb.WatchCreateRequest{Key: []byte("b"), RangeEnd: []byte("a")}, "mvcc: watcher range is empty")
	k.put("x")
	if h := hear(t, stream); len(h.GetEvents()) != 1 {
		t.Errorf("%v", h)
	}
}

// denyAll lets nobody read "secret".
type denyAll struct{ request.AllowAll }

func (denyAll) Authorize(_ request.Identity, op request.Operation) error {
	if string(op.Key) == "secret" && op.Access == request.Read {
		return status.Error(codes.PermissionDenied, "no")
	}
	return nil
}

func TestWatchFragments(t *testing.T) {
	c, k, _ := watched(t, request.AllowAll{}, request.Config{RequestBytesMax: 1})
	for range 5 {
		k.put(strings.Repeat("v", 300<<10))
	}
	stream := openWatch(t, c)
	ask(t, stream, &pb.WatchCreateRequest{Key: []byte("k"), StartRevision: 2, Fragment: true})
	hear(t, stream)
	var events, fragments int
	for events < 5 {
		h := hear(t, stream)
		events += len(h.GetEvents())
		if h.GetFragment() {
			fragments++
		} else if events < 5 {
			t.Errorf("the last fragment has event %d", events)
		}
	}
	if fragments == 0 {
		t.Error("nothing was divided")
	}
}

func TestWatchEndsWithItsMember(t *testing.T) {
	m := rpctest.New() // its source has stopped
	services := etcdv3.New(rpctest.Gate(t, m, request.AllowAll{}, request.Config{}), m)
	c := pb.NewWatchClient(rpctest.Serve(t, listen.GRPCConfig{}, services.Register))
	_, err := openWatch(t, c).Recv()
	if status.Code(err) != codes.Unavailable || status.Convert(err).Message() != "etcdserver: server stopped" {
		t.Errorf("%v", err)
	}
}
