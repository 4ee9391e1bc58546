package fault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"raftkv/test/e2e/harness"
	"raftkv/test/fault/wire"
)

// exitRemoved is the exit code of a node that the cluster has removed.
const exitRemoved = 3

// world is a cluster whose nodes reach each other through a faulty network.
type world struct {
	t    *testing.T
	rng  *rand.Rand
	c    *harness.Cluster
	net  *wire.Network
	work *workload

	newest    int                // highest number that a node had
	processes []*harness.Process // all there ever were
	crashes   int
	installs  int
	changes   int

	leases  bool // lease reads are on
	byLease int  // rounds of reads that leases have answered, as far as they were counted
	counted map[*harness.Process]int
}

// newWorld starts a cluster of so many nodes.
func newWorld(t *testing.T, rng *rand.Rand, nodes int, flags ...string) *world {
	t.Helper()
	requireNetwork(t)
	w := &world{t: t, rng: rng, c: harness.NewCluster(t, bin, nodes, flags...), net: wire.New(), newest: nodes, counted: map[*harness.Process]int{}}
	t.Cleanup(func() {
		if err := w.net.Close(); err != nil {
			t.Error(err)
		}
	})
	first := harness.FreePorts(t, nodes)
	var peerings []harness.Peering
	for i := range nodes {
		peerings = append(peerings, w.door(i+1, first+i))
	}
	w.c.UseLongForm(peerings)
	for _, n := range w.c.Nodes {
		w.start(n)
	}
	w.c.Ready()
	return w
}

// door makes a place in the network for a node.
func (w *world) door(number, port int) harness.Peering {
	w.t.Helper()
	url, err := w.net.Open(number, fmt.Sprintf("localhost:%d", port))
	if err != nil {
		w.t.Fatal(err)
	}
	return harness.Peering{Listen: port, URL: url}
}

func (w *world) start(n *harness.Node) {
	w.t.Helper()
	n.Start()
	w.net.Process(n.Number, n.PID())
	w.processes = append(w.processes, n.Process)
}

func (w *world) kill(nodes ...*harness.Node) {
	for _, n := range nodes {
		n.Kill()
		w.crashes++
	}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// hold lets a fault last.
func (w *world) hold(least, spread time.Duration) {
	timer := time.NewTimer(least + time.Duration(w.rng.Int64N(int64(spread))))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-w.t.Context().Done():
	}
}

// some returns that many nodes by chance.
func (w *world) some(n int) []*harness.Node {
	all := slices.Clone(w.c.Nodes)
	w.rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:n]
}

// leaderOr is the leader with a chance of one half, or anybody.
func (w *world) leaderOr() *harness.Node {
	if w.rng.IntN(2) == 0 {
		return w.some(1)[0]
	}
	leader, _ := w.c.Leader()
	return leader
}

// well waits until every node serves, all agree on a leader, and writes are
// acknowledged again.
func (w *world) well() {
	w.t.Helper()
	w.c.Ready()
	w.c.Leader()
	w.progress(20)
}

// progress waits until n more writes are acknowledged.
func (w *world) progress(n int64) {
	w.t.Helper()
	want := w.work.acknowledged.Load() + n
	harness.Until(w.t, 2*harness.Patience, "more acknowledged writes", func(context.Context) error {
		if got := w.work.acknowledged.Load(); got < want {
			return fmt.Errorf("%d of %d", got, want)
		}
		return nil
	})
}

// elections counts what the nodes told of.
func (w *world) elections() (n int) {
	for _, p := range w.processes {
		n += strings.Count(p.Stdout.String(), "[LEADER] Elected! Term:")
	}
	return n
}

// installed returns how many snapshots a process has installed.
func (w *world) installed(n *harness.Node) (count int) {
	w.t.Helper()
	harness.Until(w.t, harness.Patience, "metrics", func(ctx context.Context) error {
		m, err := n.Metrics(ctx)
		count = int(m["raftkv_snapshot_installed_total"])
		return err
	})
	return count
}

// awaitInstall waits until a process has installed a snapshot.
func (w *world) awaitInstall(n *harness.Node) {
	w.t.Helper()
	harness.Until(w.t, 2*harness.Patience, fmt.Sprintf("node %d to install a snapshot", n.Number), func(ctx context.Context) error {
		m, err := n.Metrics(ctx)
		if err == nil && m["raftkv_snapshot_installed_total"] == 0 {
			err = errors.New("it has not")
		}
		return err
	})
}

// awaitLog waits until a node has applied what the leader has committed by now.
func (w *world) awaitLog(n *harness.Node) {
	w.t.Helper()
	committed := uint64(0)
	harness.Until(w.t, 2*harness.Patience, fmt.Sprintf("node %d to catch up", n.Number), func(ctx context.Context) error {
		if committed == 0 {
			leader, _ := w.c.Leader()
			s, err := leader.Status(ctx)
			if err != nil {
				return err
			}
			committed = s.GetCommitIndex()
		}
		s, err := n.Status(ctx)
		if err == nil && s.GetAppliedIndex() < committed {
			err = fmt.Errorf("it has applied %d of %d", s.GetAppliedIndex(), committed)
		}
		return err
	})
}

// add brings a new node into the cluster: as a learner, through a snapshot, as a
// voter.
func (w *world) add() *harness.Node {
	w.t.Helper()
	w.newest++
	number := w.newest
	peering := w.door(number, w.c.PeerPort())
	admin := w.c.Client()
	var initial []string
	var id uint64
	harness.Until(w.t, 2*harness.Patience, "adding a member", func(ctx context.Context) error {
		_, err := admin.MemberAddAsLearner(ctx, []string{peering.URL})
		if err != nil && !errors.Is(err, rpctypes.ErrPeerURLExist) { // it exists if an answer got lost
			return err
		}
		resp, err := admin.MemberList(ctx)
		if err != nil {
			return err
		}
		id, initial = listed(resp.Members, number, peering.URL)
		if id == 0 {
			return errors.New("it is not in the list")
		}
		return nil
	})
	n := w.c.Added(number, peering, initial)
	w.start(n)
	n.ExactLine(2*harness.Patience, "ready to serve client requests")
	harness.Until(w.t, 2*harness.Patience, "promoting a member", func(ctx context.Context) error {
		_, err := admin.MemberPromote(ctx, id)
		if errors.Is(err, rpctypes.ErrMemberNotLearner) {
			return nil
		}
		return err
	})
	n.Ready() // a learner is not
	w.changes += 2
	w.work.target(w.c.Endpoints())
	return n
}

// listed returns the id of the member at a URL, and all as name=url.
func listed(members []*pb.Member, number int, url string) (id uint64, initial []string) {
	for _, m := range members {
		name := m.Name
		if m.PeerURLs[0] == url {
			id, name = m.ID, fmt.Sprint(number)
		}
		initial = append(initial, name+"="+m.PeerURLs[0])
	}
	return id, initial
}

// remove takes a node out of the cluster for ever.
func (w *world) remove(n *harness.Node) {
	w.t.Helper()
	rest := w.c.Others(n)
	admin := w.c.Client(rest...)
	id := w.idOf(admin, n)
	harness.Until(w.t, 2*harness.Patience, "removing a member", func(ctx context.Context) error {
		_, err := admin.MemberRemove(ctx, id)
		if errors.Is(err, rpctypes.ErrMemberNotFound) {
			return nil // an answer got lost
		}
		return err
	})
	if code := n.Exit(2 * harness.Patience); code != exitRemoved {
		w.t.Errorf("removed node %d ended with %d", n.Number, code)
	}
	w.changes++
	w.c.Gone(n)
	w.work.target(w.c.Endpoints())
}

func (w *world) idOf(admin *clientv3.Client, n *harness.Node) (id uint64) {
	w.t.Helper()
	harness.Until(w.t, harness.Patience, "the list of members", func(ctx context.Context) error {
		resp, err := admin.MemberList(ctx)
		if err != nil {
			return err
		}
		for _, m := range resp.Members {
			if m.Name == fmt.Sprint(n.Number) {
				id = m.ID
				return nil
			}
		}
		return fmt.Errorf("node %d is no member", n.Number)
	})
	return id
}
