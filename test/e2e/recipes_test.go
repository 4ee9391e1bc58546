package e2e

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.etcd.io/etcd/client/v3/leasing"
	"go.etcd.io/etcd/client/v3/mirror"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.etcd.io/etcd/client/v3/naming/endpoints"
	"go.etcd.io/etcd/client/v3/naming/resolver"
	"go.etcd.io/etcd/client/v3/ordering"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3election/v3electionpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"raftkv/rpc/kvstream/kvpb"
	"raftkv/test/e2e/harness"
)

// TestRecipesOfEtcdsClient: what etcd's client module builds on the API works
// unchanged. One cluster for all, since none disturbs another.
func TestRecipesOfEtcdsClient(t *testing.T) {
	c := harness.StartCluster(t, bin, 3)
	for name, test := range map[string]func(*testing.T, context.Context, *harness.Cluster){
		"mutex": recipeMutex, "election": recipeElection, "stm": recipeSTM, "services": recipeServices,
		"namespace": recipeNamespace, "ordering": recipeOrdering, "mirror": recipeMirror, "leasing": recipeLeasing,
		"naming": recipeNaming, "resolver": recipeResolver,
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*harness.Patience)
			defer cancel()
			test(t, ctx, c)
		})
	}
}

func must[T any](t *testing.T) func(T, error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// recipeMutex: one holder at a time, through the kill of a leader, and the place
// of a holder that has died is free when its lease ends.
func recipeMutex(t *testing.T, ctx context.Context, c *harness.Cluster) {
	const clients, rounds = 4, 5
	dead := must[*concurrency.Session](t)(concurrency.NewSession(c.Client(), concurrency.WithTTL(2)))
	if err := concurrency.NewMutex(dead, "mutex").Lock(ctx); err != nil {
		t.Fatal(err)
	}
	dead.Orphan() // as if the process had died
	var inside, entered atomic.Int64
	var all sync.WaitGroup
	for range clients {
		stock := c.Client()
		all.Go(func() {
			for done := 0; done < rounds && ctx.Err() == nil; {
				if lockOnce(ctx, stock, func() {
					if n := inside.Add(1); n != 1 {
						t.Errorf("%d hold the mutex", n)
					}
					entered.Add(1)
					inside.Add(-1)
				}) == nil {
					done++
				}
			}
		})
	}
	leader, _ := c.Leader()
	leader.Kill()
	all.Wait()
	leader.Start()
	leader.Ready()
	if n := entered.Load(); n < clients*rounds {
		t.Errorf("entered %d times, not %d", n, clients*rounds)
	}
}

// lockOnce takes and leaves the mutex. What fails while there is no leader is
// to be tried again.
func lockOnce(ctx context.Context, stock *clientv3.Client, held func()) error {
	s, err := concurrency.NewSession(stock, concurrency.WithTTL(5))
	if err != nil {
		return err
	}
	m := concurrency.NewMutex(s, "mutex")
	if err := m.Lock(ctx); err != nil {
		return errors.Join(err, s.Close())
	}
	held()
	return errors.Join(m.Unlock(ctx), s.Close())
}

// recipeElection: an observer hears of each leader and of what it proclaims.
func recipeElection(t *testing.T, ctx context.Context, c *harness.Cluster) {
	sessions := []*concurrency.Session{}
	for range 2 {
		s := must[*concurrency.Session](t)(concurrency.NewSession(c.Client()))
		defer s.Close()
		sessions = append(sessions, s)
	}
	first, second := concurrency.NewElection(sessions[0], "election"), concurrency.NewElection(sessions[1], "election")
	if err := first.Campaign(ctx, "one"); err != nil {
		t.Fatal(err)
	}
	seen := concurrency.NewElection(sessions[1], "election").Observe(ctx)
	hear := func(want string) {
		t.Helper()
		select {
		case r, ok := <-seen:
			if !ok || string(r.Kvs[0].Value) != want {
				t.Fatalf("observed %v (%v), not %s", r, ok, want)
			}
		case <-ctx.Done():
			t.Fatalf("%s was not observed", want)
		}
	}
	hear("one")
	elected := make(chan error, 1)
	go func() { elected <- second.Campaign(ctx, "two") }()
	if err := first.Proclaim(ctx, "one again"); err != nil {
		t.Fatal(err)
	}
	hear("one again")
	if err := first.Resign(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-elected; err != nil {
		t.Fatal(err)
	}
	hear("two")
	if err := first.Proclaim(ctx, "too late"); !errors.Is(err, concurrency.ErrElectionNotLeader) {
		t.Errorf("proclaiming after resigning: %v", err)
	}
}

// recipeSTM: concurrent transfers keep the sum at every level of isolation that
// promises it.
func recipeSTM(t *testing.T, ctx context.Context, c *harness.Cluster) {
	const accounts, workers, rounds = 4, 3, 10
	for _, level := range []concurrency.Isolation{
		concurrency.SerializableSnapshot, concurrency.Serializable, concurrency.RepeatableReads, concurrency.ReadCommitted,
	} {
		// One node each: an STM reads the rest at the revision of its first read,
		// serializable, which another node may not have yet.
		stock := c.Nodes[int(level)%len(c.Nodes)].Client()
		for n := range accounts {
			must[*clientv3.PutResponse](t)(stock.Put(ctx, fmt.Sprintf("stm/%d/%d", level, n), "100"))
		}
		var all sync.WaitGroup
		for worker := range workers {
			all.Go(func() {
				for n := range rounds {
					from, to := fmt.Sprintf("stm/%d/%d", level, n%accounts), fmt.Sprintf("stm/%d/%d", level, (n+worker+1)%accounts)
					_, err := concurrency.NewSTM(stock, func(s concurrency.STM) error { return transfer(s, from, to) },
						concurrency.WithIsolation(level), concurrency.WithAbortContext(ctx))
					if err != nil {
						t.Errorf("level %d: %v", level, err)
					}
				}
			})
		}
		all.Wait()
		sum := 0
		for _, kv := range must[*clientv3.GetResponse](t)(stock.Get(ctx, fmt.Sprintf("stm/%d/", level), clientv3.WithPrefix())).Kvs {
			sum += must[int](t)(strconv.Atoi(string(kv.Value)))
		}
		// ReadCommitted does not check what was read, so transfers may be lost.
		if level != concurrency.ReadCommitted && sum != accounts*100 {
			t.Errorf("level %d: the sum is %d", level, sum)
		}
	}
}

func transfer(s concurrency.STM, from, to string) error {
	if from == to {
		return nil
	}
	a, err := strconv.Atoi(s.Get(from))
	if err != nil {
		return err
	}
	b, err := strconv.Atoi(s.Get(to))
	if err != nil {
		return err
	}
	s.Put(from, strconv.Itoa(a-1))
	s.Put(to, strconv.Itoa(b+1))
	return nil
}

// recipeServices: the Lock and Election services, asked through different nodes.
func recipeServices(t *testing.T, ctx context.Context, c *harness.Cluster) {
	lease := func() int64 { return int64(must[*clientv3.LeaseGrantResponse](t)(c.Client().Grant(ctx, 60)).ID) }
	one, two := lease(), lease()
	// Another recipe killed a node and started it again; its connection may still pause.
	restarted := grpc.WaitForReady(true)
	a, b := c.Nodes[0].Client().ActiveConnection(), c.Nodes[1].Client().ActiveConnection()
	held := must[*v3lockpb.LockResponse](t)(v3lockpb.NewLockClient(a).Lock(ctx, &v3lockpb.LockRequest{Name: []byte("service"), Lease: one}, restarted))
	type locked struct {
		*v3lockpb.LockResponse
		err error
	}
	next := make(chan locked, 1)
	go func() {
		r, err := v3lockpb.NewLockClient(b).Lock(ctx, &v3lockpb.LockRequest{Name: []byte("service"), Lease: two}, restarted)
		next <- locked{r, err}
	}()
	unlocked := must[*v3lockpb.UnlockResponse](t)(v3lockpb.NewLockClient(b).Unlock(ctx, &v3lockpb.UnlockRequest{Key: held.Key}, restarted))
	if r := <-next; r.err != nil || r.GetHeader().GetRevision() < unlocked.GetHeader().GetRevision() || string(r.GetKey()) != fmt.Sprintf("service/%x", two) {
		t.Errorf("locked by %v (%v), unlocked by %v", r.LockResponse, r.err, unlocked)
	}
	observed := must[v3electionpb.Election_ObserveClient](t)(v3electionpb.NewElectionClient(b).Observe(ctx, &v3electionpb.LeaderRequest{Name: []byte("chair")}))
	won := must[*v3electionpb.CampaignResponse](t)(v3electionpb.NewElectionClient(a).Campaign(ctx, &v3electionpb.CampaignRequest{Name: []byte("chair"), Lease: one, Value: []byte("me")}))
	if r := must[*v3electionpb.LeaderResponse](t)(observed.Recv()); string(r.GetKv().GetValue()) != "me" {
		t.Errorf("observed %v", r)
	}
	must[*v3electionpb.ResignResponse](t)(v3electionpb.NewElectionClient(b).Resign(ctx, &v3electionpb.ResignRequest{Leader: won.Leader}))
	if _, err := v3electionpb.NewElectionClient(a).Leader(ctx, &v3electionpb.LeaderRequest{Name: []byte("chair")}); err == nil {
		t.Error("somebody is elected after the only candidate resigned")
	}
}

func recipeNamespace(t *testing.T, ctx context.Context, c *harness.Cluster) {
	stock := c.Client()
	kv, watcher := namespace.NewKV(stock.KV, "ns/"), namespace.NewWatcher(stock.Watcher, "ns/")
	events := watcher.Watch(ctx, "", clientv3.WithPrefix(), clientv3.WithRev(1))
	must[*clientv3.PutResponse](t)(kv.Put(ctx, "k", "v"))
	if r := must[*clientv3.GetResponse](t)(stock.Get(ctx, "ns/k")); r.Count != 1 {
		t.Errorf("%v", r)
	}
	if r := <-events; len(r.Events) != 1 || string(r.Events[0].Kv.Key) != "k" {
		t.Errorf("watched %v", r)
	}
	if r := must[*clientv3.DeleteResponse](t)(kv.Delete(ctx, "", clientv3.WithPrefix())); r.Deleted != 1 {
		t.Errorf("deleted %v", r)
	}
}

// recipeOrdering: a serializable read that goes back is found out.
func recipeOrdering(t *testing.T, ctx context.Context, c *harness.Cluster) {
	stock := c.Client()
	kv := ordering.NewKV(stock.KV, ordering.NewOrderViolationSwitchEndpointClosure(stock))
	for n := range 10 {
		put := must[*clientv3.PutResponse](t)(kv.Put(ctx, "ordered", strconv.Itoa(n)))
		must[*clientv3.GetResponse](t)(kv.Get(ctx, "ordered"))
		r, err := kv.Get(ctx, "ordered", clientv3.WithSerializable())
		if err == nil && r.Header.Revision < put.Header.Revision {
			t.Errorf("read at %d behind %d", r.Header.Revision, put.Header.Revision)
		}
		if err != nil && !errors.Is(err, ordering.ErrNoGreaterRev) {
			t.Error(err)
		}
	}
}

func recipeMirror(t *testing.T, ctx context.Context, c *harness.Cluster) {
	stock := c.Client()
	const keys = 1500 // more than one page of the syncer
	for n := range keys / 100 {
		ops := make([]clientv3.Op, 100)
		for i := range ops {
			ops[i] = clientv3.OpPut(fmt.Sprintf("mirror/%05d", n*100+i), "v")
		}
		must[*clientv3.TxnResponse](t)(stock.Txn(ctx).Then(ops...).Commit())
	}
	syncer := mirror.NewSyncer(stock, "mirror/", 0)
	pages, failures := syncer.SyncBase(ctx)
	n := 0
	for page := range pages {
		n += len(page.Kvs)
	}
	if err := <-failures; err != nil || n != keys {
		t.Errorf("%d keys, %v", n, err)
	}
	updates := syncer.SyncUpdates(ctx)
	must[*clientv3.PutResponse](t)(stock.Put(ctx, "mirror/new", "v"))
	if r := <-updates; len(r.Events) != 1 || string(r.Events[0].Kv.Key) != "mirror/new" {
		t.Errorf("update %v", r)
	}
}

// recipeLeasing: a client that caches keys is asked before another changes them.
func recipeLeasing(t *testing.T, ctx context.Context, c *harness.Cluster) {
	open := func() (clientv3.KV, func()) {
		kv, end, err := leasing.NewKV(c.Client(), "leasing/", concurrency.WithTTL(5))
		if err != nil {
			t.Fatal(err)
		}
		return kv, end
	}
	one, endOne := open()
	defer endOne()
	two, endTwo := open()
	defer endTwo()
	for n := range 5 {
		value := strconv.Itoa(n)
		must[*clientv3.PutResponse](t)(one.Put(ctx, "leased", value))
		for _, kv := range []clientv3.KV{one, two, one} {
			if r := must[*clientv3.GetResponse](t)(kv.Get(ctx, "leased")); string(r.Kvs[0].Value) != value {
				t.Errorf("read %v, not %s", r, value)
			}
		}
		one, two = two, one
	}
}

func recipeNaming(t *testing.T, ctx context.Context, c *harness.Cluster) {
	stock := c.Client()
	manager := must[endpoints.Manager](t)(endpoints.NewManager(stock, "service"))
	lease := must[*clientv3.LeaseGrantResponse](t)(stock.Grant(ctx, 60))
	updates := must[endpoints.WatchChannel](t)(manager.NewWatchChannel(ctx))
	if err := manager.AddEndpoint(ctx, "service/a", endpoints.Endpoint{Addr: "127.0.0.1:1"}, clientv3.WithLease(lease.ID)); err != nil {
		t.Fatal(err)
	}
	expect := func(op endpoints.Operation) {
		t.Helper()
		select {
		case got := <-updates:
			if len(got) != 1 || got[0].Op != op || got[0].Key != "service/a" {
				t.Errorf("%+v", got)
			}
		case <-time.After(harness.Patience):
			t.Fatal("no update")
		}
	}
	expect(endpoints.Add)
	// List reads serializably, perhaps from a member that has yet to apply it.
	harness.Until(t, harness.Patience, "the endpoint is listed", func(ctx context.Context) error {
		list, err := manager.List(ctx)
		if err == nil && list["service/a"].Addr != "127.0.0.1:1" {
			err = fmt.Errorf("listed %v", list)
		}
		return err
	})
	must[*clientv3.LeaseRevokeResponse](t)(stock.Revoke(ctx, lease.ID))
	expect(endpoints.Delete)
}

// recipeResolver: gRPC finds the addresses of a service in the store and follows
// them. The service here is the cluster's own.
func recipeResolver(t *testing.T, ctx context.Context, c *harness.Cluster) {
	stock := c.Client()
	manager := must[endpoints.Manager](t)(endpoints.NewManager(stock, "backend"))
	register := func(n *harness.Node) {
		t.Helper()
		if err := manager.AddEndpoint(ctx, "backend/"+n.Address, endpoints.Endpoint{Addr: n.Address}); err != nil {
			t.Fatal(err)
		}
	}
	register(c.Nodes[0])
	register(c.Nodes[1])
	builder, err := resolver.NewBuilder(stock)
	if err != nil {
		t.Fatal(err)
	}
	conn := must[*grpc.ClientConn](t)(grpc.NewClient("etcd:///backend", grpc.WithResolvers(builder),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"round_robin": {}}]}`)))
	defer conn.Close()

	// served waits until calls are answered by these nodes, in turn.
	served := func(want ...*harness.Node) {
		t.Helper()
		harness.Until(t, harness.Patience, fmt.Sprintf("calls go to %d nodes", len(want)), func(ctx context.Context) error {
			got := map[string]bool{}
			for range 3 * len(c.Nodes) {
				st, err := kvpb.NewNativeClient(conn).Status(ctx, &kvpb.StatusRequest{})
				if err != nil {
					return err
				}
				got[st.GetName()] = true
			}
			for _, n := range want {
				if !got[strconv.Itoa(n.Number)] {
					return fmt.Errorf("node %d was not asked, %v were", n.Number, got)
				}
			}
			if len(got) != len(want) {
				return fmt.Errorf("%v were asked", got)
			}
			return nil
		})
	}
	served(c.Nodes[0], c.Nodes[1])
	register(c.Nodes[2])
	served(c.Nodes...)
	for _, n := range c.Nodes[:2] {
		if err := manager.DeleteEndpoint(ctx, "backend/"+n.Address); err != nil {
			t.Fatal(err)
		}
	}
	served(c.Nodes[2])
}
