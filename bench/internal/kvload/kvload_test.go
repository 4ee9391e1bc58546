package kvload

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftkv/bench/internal/load"
)

// fakeMember keeps keys in a map and answers as one member of a cluster.
type fakeMember struct {
	etcdserverpb.UnimplementedKVServer
	etcdserverpb.UnimplementedMaintenanceServer
	id, leader, term uint64
	endpoint         string

	mu struct {
		sync.Mutex
		keys         map[string][]byte
		puts, gets   int
		serializable int
	}
}

func startMember(t *testing.T, id, leader, term uint64) *fakeMember {
	t.Helper()
	m := &fakeMember{id: id, leader: leader, term: term}
	m.mu.keys = map[string][]byte{}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m.endpoint = listener.Addr().String()
	server := grpc.NewServer()
	etcdserverpb.RegisterKVServer(server, m)
	etcdserverpb.RegisterMaintenanceServer(server, m)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Errorf("serving: %v", err)
		}
	})
	return m
}

func (m *fakeMember) Put(_ context.Context, req *etcdserverpb.PutRequest) (*etcdserverpb.PutResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.puts++
	m.mu.keys[string(req.GetKey())] = req.GetValue()
	return &etcdserverpb.PutResponse{Header: &etcdserverpb.ResponseHeader{Revision: int64(m.mu.puts) + 1}}, nil
}

func (m *fakeMember) Txn(ctx context.Context, req *etcdserverpb.TxnRequest) (*etcdserverpb.TxnResponse, error) {
	for _, op := range req.GetSuccess() {
		if _, err := m.Put(ctx, op.GetRequestPut()); err != nil {
			return nil, err
		}
	}
	return &etcdserverpb.TxnResponse{Succeeded: true}, nil
}

func (m *fakeMember) Range(_ context.Context, req *etcdserverpb.RangeRequest) (*etcdserverpb.RangeResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.gets++
	if req.GetSerializable() {
		m.mu.serializable++
	}
	value, found := m.mu.keys[string(req.GetKey())]
	if !found {
		return &etcdserverpb.RangeResponse{}, nil
	}
	return &etcdserverpb.RangeResponse{Count: 1, Kvs: []*mvccpb.KeyValue{{Key: req.GetKey(), Value: value}}}, nil
}

func (m *fakeMember) Status(context.Context, *etcdserverpb.StatusRequest) (*etcdserverpb.StatusResponse, error) {
	return &etcdserverpb.StatusResponse{
		Header: &etcdserverpb.ResponseHeader{MemberId: m.id}, Leader: m.leader, RaftTerm: m.term,
	}, nil
}

func dialForTest(t *testing.T, endpoints []string, count int) *Conns {
	t.Helper()
	conns, err := Dial(t.Context(), endpoints, count)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conns.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return conns
}

func TestParseEndpoints(t *testing.T) {
	got, err := ParseEndpoints([]string{"localhost:2379", " http://127.0.0.1:8001/", "[::1]:8002"})
	if want := "[localhost:2379 127.0.0.1:8001 [::1]:8002]"; err != nil || fmt.Sprint(got) != want {
		t.Errorf("got %v, %v", got, err)
	}
	for text, complaint := range map[string]string{
		"https://a:1":    "https is not supported",
		"localhost":      "host:port",
		":2379":          "host is missing",
		"a:0":            "port",
		"a:65536":        "port",
		"a:client":       "port",
		"http://a:1/kv":  "only host and port",
		"http://u@a:1":   "only host and port",
		"http://a:1?x=y": "only host and port",
		"":               "host:port",
	} {
		if _, err := ParseEndpoints([]string{"ok:1", text}); err == nil || !strings.Contains(err.Error(), complaint) {
			t.Errorf("%q: %v, want an error about %q", text, err, complaint)
		}
	}
	if _, err := ParseEndpoints(nil); err == nil {
		t.Error("an empty list was accepted")
	}
}

func TestLeaderPrefersTheHighestTerm(t *testing.T) {
	old := startMember(t, 1, 1, 4) // deposed, does not know it yet
	current := startMember(t, 2, 2, 5)
	follower := startMember(t, 3, 2, 5)
	leader, err := Leader(t.Context(), []string{old.endpoint, current.endpoint, follower.endpoint})
	if err != nil || leader != current.endpoint {
		t.Errorf("leader %s, %v; want %s", leader, err, current.endpoint)
	}
	if _, err := Leader(t.Context(), []string{follower.endpoint}); err == nil {
		t.Error("a follower was taken for the leader")
	}
}

func TestConnectionsAreSpreadOverMembers(t *testing.T) {
	var members []*fakeMember
	var endpoints []string
	for id := range uint64(3) {
		m := startMember(t, id+1, 1, 2)
		members, endpoints = append(members, m), append(endpoints, m.endpoint)
	}
	w := New(Spec{Keys: 100, ValueSizeBytes: 10}, dialForTest(t, endpoints, 6), 12)
	for id := range 12 {
		if _, err := w.NewClient(id)(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range members {
		m.mu.Lock()
		if m.mu.puts != 4 {
			t.Errorf("member %d got %d of 12 puts, want 4", m.id, m.mu.puts)
		}
		m.mu.Unlock()
	}
}

func TestLoneClientGoesRoundItsConnections(t *testing.T) {
	a, b := startMember(t, 1, 1, 2), startMember(t, 2, 1, 2)
	op := New(Spec{Keys: 100}, dialForTest(t, []string{a.endpoint, b.endpoint}, 2), 1).NewClient(0)
	for range 10 {
		if _, err := op(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range []*fakeMember{a, b} {
		m.mu.Lock()
		if m.mu.puts != 5 {
			t.Errorf("member %d got %d of 10 puts, want 5", m.id, m.mu.puts)
		}
		m.mu.Unlock()
	}
}

func TestDialGivesUpWithTheContext(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") // accepts, never answers
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := listener.Close(); err != nil {
			t.Error(err)
		}
	}()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Dial(ctx, []string{listener.Addr().String()}, 2); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
}

func TestPreloadThenMixed(t *testing.T) {
	m := startMember(t, 1, 1, 2)
	spec := Spec{ReadPercent: 60, Serializable: true, Keys: 250, ValueSizeBytes: 33, Seed: 7}
	w := New(spec, dialForTest(t, []string{m.endpoint}, 3), 1)
	if err := w.Preload(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	m.mu.Lock()
	if len(m.mu.keys) != spec.Keys || m.mu.puts != spec.Keys {
		t.Errorf("preload made %d keys with %d puts, want %d", len(m.mu.keys), m.mu.puts, spec.Keys)
	}
	for key, value := range m.mu.keys {
		if len(key) != 16 || len(value) != spec.ValueSizeBytes {
			t.Fatalf("key %q has %d bytes, its value %d", key, len(key), len(value))
		}
	}
	m.mu.Unlock()

	op := w.NewClient(0)
	counts := make([]int, len(w.Kinds()))
	for range 1000 {
		kind, err := op(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		counts[kind]++
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	puts, gets := m.mu.puts-spec.Keys, m.mu.gets
	if counts[0] != puts || counts[1] != gets || m.mu.serializable != gets {
		t.Errorf("kinds %v do not match %d puts, %d gets, %d serializable", counts, puts, gets, m.mu.serializable)
	}
	// Fixed by the seed; the bounds are eight standard deviations.
	if gets < 480 || gets > 720 {
		t.Errorf("%d of 1000 operations were gets, want about 600", gets)
	}
}

func TestGetsOfMissingKeysFail(t *testing.T) {
	m := startMember(t, 1, 1, 2)
	conns := dialForTest(t, []string{m.endpoint}, 1)
	get := New(Spec{ReadPercent: 100, Keys: 5}, conns, 1)
	_, err := get.NewClient(0)(t.Context())
	if class := get.ErrorClass(err); class != "wrong answer" {
		t.Errorf("a get of a key that was never written gave %v (class %s)", err, class)
	}
	absent := New(Spec{ReadPercent: 100, AbsentKeys: true, Keys: 5}, conns, 1)
	if _, err := absent.NewClient(0)(t.Context()); err != nil {
		t.Errorf("a get that asks for an absent key gave %v", err)
	}
}

func TestCheckGet(t *testing.T) {
	key, other := presentKey(1), presentKey(2)
	value := make([]byte, 8)
	for name, c := range map[string]struct {
		absent bool
		resp   *etcdserverpb.RangeResponse
		ok     bool
	}{
		"right":          {false, reply(1, key, value), true},
		"other key":      {false, reply(1, other, value), false},
		"short value":    {false, reply(1, key, value[:7]), false},
		"count is wrong": {false, reply(2, key, value), false},
		"absent":         {true, &etcdserverpb.RangeResponse{}, true},
		"not so absent":  {true, reply(1, key, value), false},
	} {
		err := checkGet(Spec{AbsentKeys: c.absent, ValueSizeBytes: 8}, key, c.resp)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && !errors.Is(err, errWrongAnswer) {
			t.Errorf("%s: %v is not a wrong answer", name, err)
		}
	}
}

func reply(count int64, key, value []byte) *etcdserverpb.RangeResponse {
	return &etcdserverpb.RangeResponse{Count: count, Kvs: []*mvccpb.KeyValue{{Key: key, Value: value}}}
}

func TestSameSeedSameOperations(t *testing.T) {
	trace := func(seed uint64) string {
		m := startMember(t, 1, 1, 2)
		op := New(Spec{Keys: 1000, ValueSizeBytes: 4, Seed: seed}, dialForTest(t, []string{m.endpoint}, 1), 4).NewClient(3)
		for range 20 {
			if _, err := op(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		return fmt.Sprint(m.mu.keys)
	}
	first, again, other := trace(1), trace(1), trace(2)
	if first != again || first == other {
		t.Error("the seed does not decide the operations")
	}
}

func TestValuesAreIncompressible(t *testing.T) {
	p := newValuePool(1, 256)
	var counts [256]int
	for _, b := range p.block {
		counts[b]++
	}
	for b, n := range counts {
		if n < 3500 || n > 4700 { // 4096 expected, standard deviation 64
			t.Errorf("byte %d occurs %d times", b, n)
		}
	}
	if bytes.Equal(p.block[:256], newValuePool(2, 256).block[:256]) {
		t.Error("the seed does not decide the values")
	}
}

func TestErrorClassIsTheCode(t *testing.T) {
	w := &Workload{}
	if got := w.ErrorClass(status.Error(codes.Unavailable, "etcdserver: leader changed")); got != "Unavailable" {
		t.Errorf("class %q", got)
	}
}

func TestSpecValidate(t *testing.T) {
	err := Spec{ReadPercent: 101, Keys: 0, ValueSizeBytes: -1}.Validate()
	for _, word := range []string{"reads", "keys", "value-size"} {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%v does not mention %s", err, word)
		}
	}
}

var _ load.Workload = (*Workload)(nil)

func TestListing(t *testing.T) {
	spec := Spec{PageKeys: 10, Keys: 25, ValueSizeBytes: 3}
	for _, countOff := range []int64{0, 1} {
		calls := 0
		l := &lister{client: &client{workload: &Workload{spec: spec}, members: []etcdserverpb.KVClient{pager{calls: &calls, countOff: countOff}}}}
		for page := range 7 {
			if _, err := l.next(t.Context()); (err == nil) != (countOff == 0) {
				t.Fatalf("page %d, counts off by %d: %v", page, countOff, err)
			}
		}
		if calls != 7 {
			t.Errorf("%d requests", calls)
		}
	}
}

// pager has 25 keys of 3 bytes at revision 9 and refuses requests out of order.
type pager struct {
	etcdserverpb.KVClient // nil: nothing else is asked
	calls                 *int
	countOff              int64
}

func (p pager) Range(_ context.Context, req *etcdserverpb.RangeRequest, _ ...grpc.CallOption) (*etcdserverpb.RangeResponse, error) {
	page := *p.calls % 3 * 10
	if *p.calls++; p.countOff != 0 {
		page = 0
	}
	want, revision := presentKey(0), int64(0)
	if page > 0 {
		want, revision = append(presentKey(page-1), 0), 9
	}
	if !bytes.Equal(req.GetKey(), want) || req.GetRevision() != revision || req.GetLimit() != 10 {
		return nil, fmt.Errorf("asked for %v", req)
	}
	resp := &etcdserverpb.RangeResponse{Header: &etcdserverpb.ResponseHeader{Revision: 9}, Count: int64(25-page) + p.countOff, More: page < 20}
	for n := page; n < min(page+10, 25); n++ {
		resp.Kvs = append(resp.Kvs, &mvccpb.KeyValue{Key: presentKey(n), Value: []byte("abc")})
	}
	return resp, nil
}

// TestBatchedPreload: many writes come in transactions, and none is left out.
func TestBatchedPreload(t *testing.T) {
	m := startMember(t, 1, 1, 2)
	spec := Spec{Keys: batchedFrom/2 + 7, Versions: 2, ValueSizeBytes: 1}
	if err := New(spec, dialForTest(t, []string{m.endpoint}, 4), 1).Preload(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.mu.keys) != spec.Keys || m.mu.puts != 2*spec.Keys {
		t.Errorf("%d keys by %d puts, want %d keys twice", len(m.mu.keys), m.mu.puts, spec.Keys)
	}
}
