package client_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftkv/client"
	"raftkv/rpc/kvstream"
	"raftkv/rpc/kvstream/frames"
	"raftkv/rpc/kvstream/kvpb"
	"raftkv/rpc/listen"
	"raftkv/rpc/request"
	"raftkv/rpc/rpctest"
	"raftkv/statemachine"
)

// serveMember serves a member at one more address.
func serveMember(t *testing.T, m *rpctest.Member, extra ...grpc.StreamServerInterceptor) string {
	t.Helper()
	service := kvstream.New(rpctest.Gate(t, m, request.AllowAll{}, request.Config{}), m)
	return rpctest.Listen(t, listen.GRPCConfig{Streams: extra}, func(r grpc.ServiceRegistrar) { kvstream.Register(r, service) })
}

func session(t *testing.T, cfg client.SessionConfig, endpoints ...string) *client.Session {
	t.Helper()
	c, err := client.New(client.Config{Endpoints: endpoints})
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.NewSession(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func kvWrite(op frames.WriteOp, key string) frames.Write {
	return frames.Write{Op: op, Key: []byte(key)}
}

func TestSessionOperations(t *testing.T) {
	m := rpctest.New()
	m.Switch(rpctest.Switches{HoldersHave: 3, HoldersTotal: 3})
	s, ctx, key := session(t, client.SessionConfig{}, serveMember(t, m)), t.Context(), []byte("k")
	check := func(got any, err error) func(want any) {
		return func(want any) {
			t.Helper()
			if err != nil || got != want {
				t.Errorf("%v, %v, want %v", got, err, want)
			}
		}
	}
	check(s.Put(ctx, key, []byte("1")))(int64(2))
	check(s.Append(ctx, key, []byte("23")))(int64(3))
	check(s.Increment(ctx, key, -23))(int64(100))
	check(s.CompareAndSwap(ctx, key, []byte("99"), []byte("x")))(false)
	check(s.CompareAndSwap(ctx, key, []byte("100"), []byte("x")))(true)
	check(s.CompareAndSwap(ctx, []byte("new"), nil, []byte("y")))(true)
	swapped, found, err := s.CompareAndSwapRevision(ctx, key, 1, []byte("z"))
	if swapped || found == 0 || err != nil {
		t.Errorf("swapped %t, found %d, %v", swapped, found, err)
	}
	for _, get := range []func(context.Context, []byte) (client.Value, bool, error){s.Get, s.GetStale} {
		if v, found, err := get(ctx, key); err != nil || !found || string(v.Bytes) != "x" || v.Version != 4 {
			t.Errorf("read %+v, %t, %v", v, found, err)
		}
		if v, found, err := get(ctx, []byte("missing")); err != nil || found || v.Bytes != nil {
			t.Errorf("read %+v, %t, %v", v, found, err)
		}
	}
	w, err := s.Write(ctx, client.Write{Write: kvWrite(client.OpDelete, "k"), CountHolders: true})
	if err != nil || w.Deleted != 1 || w.Holders != 3 || w.Members != 3 || w.Index == 0 {
		t.Errorf("deleted %+v, %v", w, err)
	}
	check(s.Delete(ctx, key))(false)
	resp, err := s.Txn(ctx, &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: key}}}}})
	if err != nil || !resp.GetSucceeded() || len(resp.GetResponses()) != 1 {
		t.Errorf("transaction %v, %v", resp, err)
	}
	for name, refused := range map[string]struct {
		call func() error
		code codes.Code
	}{
		"empty key":       {func() error { _, err := s.Put(ctx, nil, nil); return err }, codes.InvalidArgument},
		"empty read":      {func() error { _, _, err := s.Get(ctx, nil); return err }, codes.InvalidArgument},
		"no number":       {func() error { _, err := s.Increment(ctx, []byte("new"), 1); return err }, codes.FailedPrecondition},
		"too large":       {func() error { _, err := s.Put(ctx, key, make([]byte, 2<<20)); return err }, codes.InvalidArgument},
		"no transaction":  {func() error { _, err := s.Write(ctx, client.Write{Write: kvWrite(client.OpTxn, "")}); return err }, codes.OK},
		"after too large": {func() error { _, err := s.Put(ctx, key, nil); return err }, codes.OK},
	} {
		err := refused.call()
		if refused.code == codes.OK {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if status.Code(err) != refused.code || !errors.Is(err, client.ErrNotApplied) || errors.Is(err, client.ErrUnknownOutcome) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// cutter breaks streams: after some answers the next one is withheld, and the
// stream ends.
type cutter struct {
	mu     sync.Mutex
	random *rand.Rand
	cuts   atomic.Int64
	off    atomic.Bool
}

func (c *cutter) intercept(srv any, s grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	c.mu.Lock()
	left := int64(c.random.IntN(6))
	c.mu.Unlock()
	cut := &cutStream{ServerStream: s, c: c}
	cut.left.Store(left)
	return handler(srv, cut)
}

type cutStream struct {
	grpc.ServerStream
	c    *cutter
	left atomic.Int64
}

func (s *cutStream) SendMsg(m any) error {
	if !s.c.off.Load() && s.left.Add(-1) < 0 {
		s.c.cuts.Add(1)
		return status.Error(codes.Unavailable, "cut")
	}
	return s.ServerStream.SendMsg(m)
}

func (s *cutStream) RecvMsg(m any) error {
	if !s.c.off.Load() && s.left.Load() < 0 {
		return status.Error(codes.Unavailable, "cut")
	}
	return s.ServerStream.RecvMsg(m)
}

// TestSessionAppliesOnce: concurrent increments over streams that break with
// answers under way are applied once each.
func TestSessionAppliesOnce(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	m := rpctest.New()
	c := &cutter{random: rand.New(rand.NewPCG(seed, 1))}
	s := session(t, client.SessionConfig{Timeout: time.Minute, StallTimeout: 50 * time.Millisecond},
		serveMember(t, m, c.intercept), serveMember(t, m, c.intercept), serveMember(t, m, c.intercept))
	const callers, each = 40, 10
	var all sync.WaitGroup
	sums := make([][]int64, callers)
	for i := range callers {
		all.Go(func() {
			for range each {
				sum, err := s.Increment(t.Context(), []byte("n"), 1)
				if err != nil {
					t.Error(err)
					return
				}
				sums[i] = append(sums[i], sum)
			}
		})
	}
	all.Wait()
	seen := make(map[int64]bool)
	for _, list := range sums {
		for i, sum := range list {
			if seen[sum] || i > 0 && sum <= list[i-1] {
				t.Errorf("sum %d was returned twice, or out of order", sum)
			}
			seen[sum] = true
		}
	}
	c.off.Store(true)
	v, _, err := s.Get(t.Context(), []byte("n"))
	if err != nil || string(v.Bytes) != strconv.Itoa(callers*each) {
		t.Errorf("%s after %d increments, %v", v.Bytes, callers*each, err)
	}
	if c.cuts.Load() < 3 {
		t.Errorf("only %d streams were cut", c.cuts.Load())
	}
	if n := len(m.Commands()); n > callers*each {
		t.Errorf("%d commands for %d increments: calls did not share frames", n, callers*each)
	}
}

// TestSessionIsOpenedAnew: a session that the cluster has forgotten is replaced
// if no outcome is open, and else says so.
func TestSessionIsOpenedAnew(t *testing.T) {
	m := rpctest.New()
	s := session(t, client.SessionConfig{}, serveMember(t, m))
	if _, err := s.Put(t.Context(), []byte("k"), nil); err != nil {
		t.Fatal(err)
	}
	m.ForgetSessions()
	if sum, err := s.Increment(t.Context(), []byte("n"), 1); err != nil || sum != 1 {
		t.Errorf("%d, %v", sum, err)
	}
	// The answer of the next frame is lost with the stream, and then the session.
	c := &cutter{random: rand.New(rand.NewPCG(1, 1))}
	forget := func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		cut := &cutStream{ServerStream: stream, c: c}
		cut.left.Store(int64(1 - c.cuts.Load()))
		err := handler(srv, cut)
		if c.cuts.Load() == 1 {
			c.off.Store(true)
			m.ForgetSessions()
		}
		return err
	}
	s = session(t, client.SessionConfig{StallTimeout: 100 * time.Millisecond}, serveMember(t, m, forget))
	if _, err := s.Put(t.Context(), []byte("k"), nil); err != nil {
		t.Fatal(err)
	}
	_, err := s.Increment(t.Context(), []byte("n"), 1)
	if !errors.Is(err, client.ErrUnknownOutcome) || errors.Is(err, client.ErrNotApplied) {
		t.Errorf("an open outcome: %v", err)
	}
	if sum, err := s.Increment(t.Context(), []byte("n"), 1); err != nil || sum != 3 {
		t.Errorf("%d, %v", sum, err)
	}
}

// TestSessionNeverHangs: a call without a deadline ends, and says what became of
// it.
func TestSessionNeverHangs(t *testing.T) {
	m := rpctest.New()
	m.Switch(rpctest.Switches{BlockReadIndex: true})
	s := session(t, client.SessionConfig{Timeout: 300 * time.Millisecond, FramesInFlight: 1}, serveMember(t, m))
	if _, err := s.Put(t.Context(), []byte("k"), nil); err != nil {
		t.Fatal(err)
	}
	m.Switch(rpctest.Switches{BlockPropose: true, BlockReadIndex: true})
	var sent, waiting, read error
	var all sync.WaitGroup
	all.Go(func() { _, sent = s.Put(t.Context(), []byte("k"), nil) })
	all.Go(func() { _, _, read = s.Get(t.Context(), []byte("k")) })
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for m.Enqueued() == 0 {
		<-tick.C
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, waiting = s.Put(ctx, []byte("k"), nil)
	all.Wait()
	if !errors.Is(sent, client.ErrUnknownOutcome) || errors.Is(sent, client.ErrNotApplied) {
		t.Errorf("sent: %v", sent)
	}
	for name, err := range map[string]error{"waiting": waiting, "read": read} {
		if !errors.Is(err, client.ErrNotApplied) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
	}
	canceled, cancelNow := context.WithCancel(t.Context())
	cancelNow()
	if _, err := s.Put(canceled, []byte("k"), nil); !errors.Is(err, client.ErrNotApplied) || !errors.Is(err, context.Canceled) {
		t.Errorf("canceled before: %v", err)
	}
}

// TestSessionOutcomeIsOne: an open outcome is nothing else, also when nobody can
// be reached any more.
func TestSessionOutcomeIsOne(t *testing.T) {
	m := rpctest.New()
	service := kvstream.New(rpctest.Gate(t, m, request.AllowAll{}, request.Config{}), m)
	server, _, err := listen.NewGRPCServer(listen.GRPCConfig{}, func(r grpc.ServiceRegistrar) { kvstream.Register(r, service) })
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	s := session(t, client.SessionConfig{Timeout: time.Second}, l.Addr().String(), "127.0.0.1:1")
	if _, err := s.Put(t.Context(), []byte("k"), nil); err != nil {
		t.Fatal(err)
	}
	m.Switch(rpctest.Switches{BlockPropose: true})
	var all sync.WaitGroup
	all.Go(func() {
		_, err := s.Put(t.Context(), []byte("k"), nil)
		if !errors.Is(err, client.ErrUnknownOutcome) || errors.Is(err, client.ErrNotApplied) || errors.Is(err, client.ErrApplied) ||
			!errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "refused") {
			t.Errorf("sent before the members went away: %v", err)
		}
	})
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for m.Enqueued() == 0 {
		<-tick.C
	}
	server.Stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
	all.Wait()
}

// TestSessionUnreachable: what could not even be sent was not applied, and the
// error says why.
func TestSessionUnreachable(t *testing.T) {
	s := session(t, client.SessionConfig{Timeout: 200 * time.Millisecond}, "127.0.0.1:1", "127.0.0.1:2")
	_, err := s.Put(t.Context(), []byte("k"), nil)
	if !errors.Is(err, client.ErrNotApplied) || !strings.Contains(err.Error(), "127.0.0.1:1: connection refused") {
		t.Errorf("nobody there: %v", err)
	}
}

// TestSessionApplied: the cluster knows that a frame was applied, but not what
// came of it.
func TestSessionApplied(t *testing.T) {
	m := rpctest.New()
	s := session(t, client.SessionConfig{}, serveMember(t, m))
	if _, err := s.Put(t.Context(), []byte("k"), nil); err != nil {
		t.Fatal(err)
	}
	m.Switch(rpctest.Switches{Refuse: statemachine.ErrResultNotKept})
	_, err := s.Put(t.Context(), []byte("k"), nil)
	if !errors.Is(err, client.ErrApplied) || errors.Is(err, client.ErrNotApplied) || errors.Is(err, client.ErrUnknownOutcome) {
		t.Errorf("applied: %v", err)
	}
}

func TestSessionLimits(t *testing.T) {
	m := rpctest.New()
	s := session(t, client.SessionConfig{Timeout: 500 * time.Millisecond, FramesInFlight: 1, Calls: 2, FrameOps: 1}, serveMember(t, m))
	if _, err := s.Put(t.Context(), []byte("k"), nil); err != nil {
		t.Fatal(err)
	}
	m.Switch(rpctest.Switches{BlockPropose: true})
	var all sync.WaitGroup
	var busy atomic.Int64
	for range 10 {
		all.Go(func() {
			if _, err := s.Put(t.Context(), []byte("k"), nil); errors.Is(err, client.ErrTooManyCalls) {
				busy.Add(1)
				if !errors.Is(err, client.ErrNotApplied) {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if busy.Load() < 7 {
		t.Errorf("%d of 10 calls were refused", busy.Load())
	}
	for name, cfg := range map[string]client.SessionConfig{
		"negative": {Timeout: -1}, "too many frames": {FramesInFlight: 65}, "too many operations": {FrameOps: 5000},
	} {
		c, err := client.New(client.Config{Endpoints: []string{"localhost:1"}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.NewSession(cfg); err == nil {
			t.Errorf("%s: taken", name)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestSessionClosed: whoever waits is told.
func TestSessionClosed(t *testing.T) {
	m := rpctest.New()
	s := session(t, client.SessionConfig{FramesInFlight: 1}, serveMember(t, m))
	if _, err := s.Put(t.Context(), []byte("k"), nil); err != nil {
		t.Fatal(err)
	}
	m.Switch(rpctest.Switches{BlockPropose: true})
	var all sync.WaitGroup
	var unknown, notApplied atomic.Int64
	for range 4 {
		all.Go(func() {
			_, err := s.Put(t.Context(), []byte("k"), nil)
			if errors.Is(err, client.ErrUnknownOutcome) {
				unknown.Add(1)
			} else if errors.Is(err, client.ErrNotApplied) && errors.Is(err, client.ErrSessionClosed) {
				notApplied.Add(1)
			} else {
				t.Error(err)
			}
		})
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for m.Enqueued() == 0 {
		<-tick.C
	}
	m.Switch(rpctest.Switches{})
	s.Close()
	all.Wait()
	if unknown.Load() == 0 || unknown.Load()+notApplied.Load() != 4 {
		t.Errorf("%d unknown, %d not applied", unknown.Load(), notApplied.Load())
	}
	if _, err := s.Put(t.Context(), []byte("k"), nil); !errors.Is(err, client.ErrSessionClosed) {
		t.Errorf("after Close: %v", err)
	}
	if n := m.Sessions(); n != 0 {
		t.Errorf("%d sessions are left", n)
	}
}

// TestSessionReadsInPieces: values that are too much for one answer are asked
// for again.
func TestSessionReadsInPieces(t *testing.T) {
	m := rpctest.New()
	s := session(t, client.SessionConfig{FramesInFlight: 1}, serveMember(t, m))
	for i := range 20 {
		if _, err := s.Put(t.Context(), fmt.Appendf(nil, "k%d", i), make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			if v, found, err := s.Get(t.Context(), fmt.Appendf(nil, "k%d", i)); err != nil || !found || len(v.Bytes) != 1<<20 {
				t.Errorf("%d bytes, %t, %v", len(v.Bytes), found, err)
			}
		})
	}
	all.Wait()
}

// TestSessionWithoutService: a server that has no frames is told at once.
func TestSessionWithoutService(t *testing.T) {
	address := rpctest.Listen(t, listen.GRPCConfig{}, func(r grpc.ServiceRegistrar) {
		kvpb.RegisterNativeServer(r, kvpb.UnimplementedNativeServer{})
	})
	s := session(t, client.SessionConfig{}, address)
	if _, err := s.Put(t.Context(), []byte("k"), nil); status.Code(err) != codes.Unimplemented || !errors.Is(err, client.ErrNotApplied) {
		t.Errorf("put: %v", err)
	}
	if _, _, err := s.Get(t.Context(), []byte("k")); status.Code(err) != codes.Unimplemented {
		t.Errorf("get: %v", err)
	}
}
