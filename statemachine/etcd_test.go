package statemachine_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/pkg/v3/traceutil"
	etcderrors "go.etcd.io/etcd/server/v3/etcdserver/errors"
	"go.etcd.io/etcd/server/v3/etcdserver/txn"
	"go.etcd.io/etcd/server/v3/lease"
	"go.etcd.io/etcd/server/v3/storage/backend"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"raftkv/statemachine"
)

var (
	seedFlag     = flag.Uint64("seed", 0, "seed of the random tests; 0: fixed ones")
	requestsFlag = flag.Int("requests", 3000, "requests of a random test")
)

// TestSameAsEtcd gives random requests to the machine, several entries to a
// call, and to etcd's own storage and transaction packages, and compares every
// response.
func TestSameAsEtcd(t *testing.T) {
	seeds := []uint64{1, 2, 3}
	if *seedFlag != 0 {
		seeds = []uint64{*seedFlag}
	}
	for _, s := range seeds {
		t.Run(fmt.Sprintf("seed=%d", s), func(t *testing.T) {
			compareWithEtcd(t, rand.New(rand.NewPCG(s, 0)))
		})
	}
}

func compareWithEtcd(t *testing.T, r *rand.Rand) {
	m, l, oracle, g := start(t), newLog(t), newEtcd(t), &generator{r: r}
	writes, reads, refused := 0, 0, 0
	for writes+reads < *requestsFlag {
		var entries []*raftpb.Entry
		var requests []proto.Message
		var want []any
		for range 1 + r.IntN(8) {
			var commands [][]byte
			for range 1 + r.IntN(5) {
				req := g.write(oracle.kv.Rev())
				requests = append(requests, req)
				commands = append(commands, request(t, req))
				want = append(want, oracle.apply(req))
			}
			entries = append(entries, l.entry(commands...))
		}
		got := apply(t, m, entries...)
		if len(got) != len(want) {
			t.Fatalf("%d results, want %d", len(got), len(want))
		}
		for i := range want {
			compareResults(t, requests[i], got[i], want[i])
			if _, isError := want[i].(error); isError {
				refused++
			}
		}
		writes += len(want)
		for range 5 {
			reads++
			req := g.rangeRequest(oracle.kv.Rev())
			compareResults(t, req, result(m.Range(context.Background(), req)), oracle.apply(req))
		}
		compareLeases(t, m, oracle)
		// Some of what follows is then read from tables, some from memory.
		if r.IntN(20) == 0 {
			if err := m.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if m.Revision() != oracle.kv.Rev() {
		t.Fatalf("revision %d, want %d", m.Revision(), oracle.kv.Rev())
	}
	if refused < writes/100 || refused > writes/2 {
		t.Fatalf("%d of %d requests were refused: the test exercises too little", refused, writes)
	}
	t.Logf("%d writes (%d refused), %d reads, revision %d", writes, refused, reads, m.Revision())
}

// compareLeases compares the tables of leases and of their keys.
func compareLeases(t *testing.T, m *statemachine.Machine, oracle *etcd) {
	t.Helper()
	leases := 0
	if err := m.EachLease(func(l statemachine.Lease) error {
		leases++
		want := oracle.lessor.Lookup(lease.LeaseID(l.ID))
		if want == nil || want.TTL() != l.TTLSeconds {
			t.Fatalf("lease %d with TTL %d: etcd has %v", l.ID, l.TTLSeconds, want)
		}
		attached, err := m.LeaseKeys(l.ID)
		wantKeys := want.Keys()
		slices.Sort(wantKeys)
		if got := fmt.Sprintf("%q", attached); got != fmt.Sprintf("%q", wantKeys) {
			t.Fatalf("lease %d has keys %s, in etcd %q", l.ID, got, wantKeys)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if want := len(oracle.lessor.Leases()); leases != want {
		t.Fatalf("%d leases, etcd has %d", leases, want)
	}
}

func compareResults(t *testing.T, req proto.Message, got, want any) {
	t.Helper()
	wantErr, _ := want.(error)
	gotErr, _ := got.(error)
	if wantErr != nil || gotErr != nil {
		for etcd, ours := range map[error]error{
			mvcc.ErrCompacted: statemachine.ErrCompacted, mvcc.ErrFutureRev: statemachine.ErrFutureRevision,
			etcderrors.ErrKeyNotFound: statemachine.ErrKeyNotFound, lease.ErrLeaseNotFound: statemachine.ErrLeaseNotFound,
			lease.ErrLeaseExists: statemachine.ErrLeaseExists, lease.ErrLeaseTTLTooLarge: statemachine.ErrLeaseTTLTooLarge,
		} {
			if errors.Is(wantErr, etcd) && errors.Is(gotErr, ours) {
				return
			}
		}
		t.Fatalf("%T %v: got %v (error %v), etcd answers %v (error %v)", req, req, got, gotErr, want, wantErr)
	}
	if !proto.Equal(got.(proto.Message), want.(proto.Message)) {
		t.Fatalf("%T %v:\ngot           %v\netcd answers  %v", req, req, got, want)
	}
}

// etcd is etcd's storage without the server around it.
type etcd struct {
	t       *testing.T
	kv      mvcc.WatchableKV
	lessor  lease.Lessor
	backend backend.Backend
}

func newEtcd(t *testing.T) *etcd {
	cfg := backend.DefaultBackendConfig(zap.NewNop())
	cfg.Path, cfg.UnsafeNoFsync = filepath.Join(t.TempDir(), "db"), true
	b := backend.New(cfg)
	lessor := lease.NewLessor(zap.NewNop(), b, nil, lease.LessorConfig{MinLeaseTTL: 1, CheckpointPersist: true})
	e := &etcd{t: t, lessor: lessor, backend: b, kv: mvcc.New(zap.NewNop(), b, lessor, mvcc.StoreConfig{})}
	t.Cleanup(func() {
		lessor.Stop()
		e.kv.Close()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func (e *etcd) apply(req proto.Message) any {
	ctx, lg := context.Background(), zap.NewNop()
	var resp proto.Message
	var err error
	switch r := req.(type) {
	case *pb.PutRequest:
		resp, _, err = txn.Put(ctx, lg, e.lessor, e.kv, r)
	case *pb.DeleteRangeRequest:
		resp, _, err = txn.DeleteRange(ctx, lg, e.kv, r)
	case *pb.RangeRequest:
		resp, _, err = txn.Range(ctx, lg, e.kv, r, true)
	case *pb.TxnRequest:
		resp, _, err = txn.Txn(ctx, lg, r, false, e.kv, e.lessor, false)
	case *pb.CompactionRequest:
		_, err = e.kv.Compact(traceutil.Get(ctx), r.Revision)
		resp = &pb.CompactionResponse{Header: &pb.ResponseHeader{Revision: e.kv.Rev()}}
	case *pb.LeaseGrantRequest:
		var l *lease.Lease
		if l, err = e.lessor.Grant(lease.LeaseID(r.ID), r.TTL); err == nil {
			resp = &pb.LeaseGrantResponse{Header: &pb.ResponseHeader{Revision: e.kv.Rev()}, ID: r.ID, TTL: l.TTL()}
		}
	case *pb.LeaseRevokeRequest:
		err = e.lessor.Revoke(lease.LeaseID(r.ID))
		resp = &pb.LeaseRevokeResponse{Header: &pb.ResponseHeader{Revision: e.kv.Rev()}}
	default:
		e.t.Fatalf("unexpected %T", req)
	}
	if err != nil {
		return err
	}
	return resp
}

// generator makes random requests over few keys, so that they meet.
type generator struct {
	r       *rand.Rand
	counter int
}

func (g *generator) chance(percent int) bool { return g.r.IntN(100) < percent }

func (g *generator) key() []byte {
	k := []byte{"abcdef"[g.r.IntN(6)]}
	for g.chance(30) && len(k) < 4 {
		k = append(k, "\x00a\xff"[g.r.IntN(3)])
	}
	return k
}

func (g *generator) end() []byte {
	switch g.r.IntN(4) {
	case 0:
		return nil
	case 1:
		return []byte{0}
	}
	return g.key()
}

func (g *generator) value() []byte {
	g.counter++
	return []byte(fmt.Sprintf("%03d", g.counter%97))
}

// revision is mostly one that can be read.
func (g *generator) revision(newest int64) int64 {
	switch g.r.IntN(6) {
	case 0:
		return newest + 1 + g.r.Int64N(3)
	case 1:
		return -g.r.Int64N(3)
	case 2:
		return g.r.Int64N(newest + 1)
	}
	return max(1, newest-g.r.Int64N(20))
}

func (g *generator) write(newest int64) proto.Message {
	switch n := g.r.IntN(100); {
	case n < 45:
		return g.put(true)
	case n < 60:
		return g.delete()
	case n < 90:
		return g.txn(newest, 2)
	case n < 94:
		return &pb.LeaseGrantRequest{ID: g.lease(), TTL: []int64{1, 0, -3, 60, 9_000_000_000, 9_000_000_001}[g.r.IntN(6)]}
	case n < 98:
		return &pb.LeaseRevokeRequest{ID: g.lease()}
	}
	return &pb.CompactionRequest{Revision: g.revision(newest) - 10}
}

func (g *generator) put(withIgnore bool) *pb.PutRequest {
	req := &pb.PutRequest{Key: g.key(), Value: g.value(), PrevKv: g.chance(30)}
	if withIgnore {
		req.IgnoreValue, req.IgnoreLease = g.chance(10), g.chance(10)
	}
	if g.chance(30) && !req.IgnoreLease {
		req.Lease = g.lease()
	}
	return req
}

func (g *generator) lease() int64 { return []int64{1, 2, 3, -4, 5}[g.r.IntN(5)] }

func (g *generator) delete() *pb.DeleteRangeRequest {
	return &pb.DeleteRangeRequest{Key: g.key(), RangeEnd: g.end(), PrevKv: g.chance(30)}
}

func (g *generator) rangeRequest(newest int64) *pb.RangeRequest {
	req := &pb.RangeRequest{Key: g.key(), RangeEnd: g.end(), KeysOnly: g.chance(20), CountOnly: g.chance(10)}
	if g.chance(50) {
		req.Revision = g.revision(newest)
	}
	if g.chance(40) {
		req.Limit = g.r.Int64N(6) - 1
	}
	if g.chance(40) {
		req.SortTarget = pb.RangeRequest_SortTarget(g.r.IntN(5))
		req.SortOrder = pb.RangeRequest_SortOrder(g.r.IntN(3))
	}
	for _, bound := range []*int64{&req.MinModRevision, &req.MaxModRevision, &req.MinCreateRevision, &req.MaxCreateRevision} {
		if g.chance(10) {
			*bound = g.revision(newest)
		}
	}
	return req
}

func (g *generator) compare(newest int64) *pb.Compare {
	c := &pb.Compare{Result: pb.Compare_CompareResult(g.r.IntN(4)), Key: g.key()}
	if g.chance(20) {
		c.RangeEnd = g.end()
	}
	switch c.Target = pb.Compare_CompareTarget(g.r.IntN(5)); c.Target {
	case pb.Compare_VERSION:
		c.TargetUnion = &pb.Compare_Version{Version: g.r.Int64N(4)}
	case pb.Compare_CREATE:
		c.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: g.revision(newest)}
	case pb.Compare_MOD:
		c.TargetUnion = &pb.Compare_ModRevision{ModRevision: g.revision(newest)}
	case pb.Compare_VALUE:
		c.TargetUnion = &pb.Compare_Value{Value: g.value()}
	case pb.Compare_LEASE:
		c.TargetUnion = &pb.Compare_Lease{Lease: g.r.Int64N(4)}
	}
	return c
}

// txn makes a transaction. Its puts do not ignore values: on a key that the
// same transaction deleted, which handlers refuse, etcd would panic.
func (g *generator) txn(newest int64, depth int) *pb.TxnRequest {
	req := &pb.TxnRequest{}
	for range g.r.IntN(3) {
		req.Compare = append(req.Compare, g.compare(newest))
	}
	branch := func() (ops []*pb.RequestOp) {
		for range g.r.IntN(4) {
			ops = append(ops, g.operation(newest, depth))
		}
		return ops
	}
	req.Success, req.Failure = branch(), branch()
	return req
}

func (g *generator) operation(newest int64, depth int) *pb.RequestOp {
	switch n := g.r.IntN(100); {
	case n < 35:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: g.put(false)}}
	case n < 55:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: g.delete()}}
	case n < 85 || depth == 0:
		req := g.rangeRequest(newest)
		if g.chance(70) {
			req.Revision = 0
		}
		return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: req}}
	}
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: g.txn(newest, depth-1)}}
}
