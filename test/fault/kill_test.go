package fault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"raftkv/server/identity"
	"raftkv/test/e2e/harness"
)

const (
	killNodes      = 3
	killValueBytes = 16 << 10
	killValues     = 640 // 10 MiB
	killRewritten  = 320 // 5 MiB of new tables for one who fell behind
	killRate       = 4 << 20
	// A moment that turns out to have been too late is tried again.
	triesMost = 12
)

// killer kills one end of something that is under way.
type killer struct {
	t   *testing.T
	rng *rand.Rand
	c   *harness.Cluster
	dir string

	tries, newest int
	haste         int // how often moments have been halved
	// sender says which end is to be killed.
	sender bool
}

// phase is something that moves state or members. kill returns whether it struck
// while that was under way.
type phase struct {
	name string
	ends int // 2: a sender and a receiver; 1: there is a receiver alone
	kill func(k *killer) bool
}

func phases() []phase {
	return []phase{
		{"save", 2, (*killer).save},
		{"stream", 2, (*killer).stream},
		{"install", 2, (*killer).install},
		{"restore", 1, (*killer).restore},
		{"member added and promoted", 2, (*killer).join},
		{"member removed", 2, (*killer).remove},
	}
}

// TestKillPoints kills a sender or a receiver at moments by chance while a
// snapshot is saved, streamed, installed or restored, or members change. Whatever
// it was, afterwards the cluster is well and its members hold the same.
func TestKillPoints(t *testing.T) {
	k := &killer{t: t, rng: seeded(t), dir: t.TempDir(), newest: killNodes}
	k.c = harness.StartCluster(t, bin, killNodes, "--snapshot-count=10", "--snapshot-catchup-entries=5", fmt.Sprintf("--snapshot-rate-bytes=%d", killRate))
	leader, _ := k.c.Leader()
	leader.Fill("filled/", killValues, killValueBytes)
	all := phases()
	hits, late := map[string]int{}, 0
	for point := range *points {
		if point%len(all) == 0 {
			k.rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		}
		p := all[point%len(all)]
		k.sender = p.ends == 2 && k.rng.IntN(2) == 0
		began, hit := time.Now(), false
		for try := 0; !hit && try < triesMost; try++ {
			k.tries++
			k.haste = try / 3
			if hit = p.kill(k); !hit {
				late++
			}
			k.healthy()
		}
		if !hit {
			t.Fatalf("%s: no kill struck while it was under way, in %d tries", p.name, triesMost)
		}
		hits[fmt.Sprintf("%s/%s", p.name, map[bool]string{true: "sender", false: "receiver"}[k.sender])]++
		t.Logf("point %d: %s, sender killed: %t, %.1f s", point+1, p.name, k.sender, time.Since(began).Seconds())
	}
	t.Logf("%d kills struck: %v; %d came too late and were repeated", *points, hits, late)
	for _, p := range all {
		if n := hits[p.name+"/sender"] + hits[p.name+"/receiver"]; n < *points/len(all) {
			t.Errorf("only %d kills struck during %s", n, p.name)
		}
	}
}

// healthy starts what is down and requires that every node serves and holds the
// same as the others.
func (k *killer) healthy() {
	k.t.Helper()
	for _, n := range k.c.Nodes {
		if k.down(n.Process) {
			n.Start()
		}
	}
	k.c.Ready()
	k.c.Leader()
	for _, n := range k.c.Nodes {
		harness.Until(k.t, harness.Patience, fmt.Sprintf("a write through node %d", n.Number), func(ctx context.Context) error {
			_, err := n.Client().Put(ctx, fmt.Sprintf("healthy/%d", n.Number), strconv.Itoa(k.tries))
			return err
		})
	}
	resp, err := k.c.Nodes[0].Client().MemberList(k.t.Context())
	if err != nil || len(resp.Members) != len(k.c.Nodes) {
		k.t.Fatalf("%d nodes, members are %v (%v)", len(k.c.Nodes), resp.Members, err)
	}
	k.c.EqualHashes()
}

func (k *killer) down(p *harness.Process) bool {
	select {
	case <-p.Ended():
		return true
	default:
		return false
	}
}

// moment waits for a part of the time, by chance. Of less time, after kills that
// came too late: how long a thing takes depends on the machine.
func (k *killer) moment(most time.Duration) {
	<-time.After(time.Duration(k.rng.Int64N(int64(most >> k.haste))))
}

// cli starts raft-cli.
func (k *killer) cli(nodes []*harness.Node, args ...string) *harness.Process {
	return harness.Start(k.t, harness.Command{
		Name: "raft-cli " + args[0], Path: bin.RaftCLI, Args: args, Dir: k.dir,
		Env: []string{"RAFTKV_ENDPOINTS=" + strings.Join(k.c.Endpoints(nodes...), ",")},
	})
}

// ran runs raft-cli to its end and requires that it succeeds.
func (k *killer) ran(nodes []*harness.Node, args ...string) string {
	k.t.Helper()
	p := k.cli(nodes, args...)
	if code := p.Exit(2 * harness.Patience); code != 0 {
		k.t.Fatalf("raft-cli %v: exit code %d: %s", args, code, p.Stderr)
	}
	return p.Stdout.String()
}

// begun waits until a file is there, or the process has ended.
func (k *killer) begun(p *harness.Process, path string) {
	k.t.Helper()
	harness.Until(k.t, harness.Patience, path, func(context.Context) error {
		if k.down(p) {
			return nil
		}
		_, err := os.Stat(path)
		return err
	})
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// save kills a node that sends its state to a file, or the one who writes it.
func (k *killer) save() bool {
	from := k.c.Nodes[k.rng.IntN(len(k.c.Nodes))]
	file := filepath.Join(k.dir, fmt.Sprintf("saved-%d", k.tries))
	cli := k.cli([]*harness.Node{from}, "snapshot", "save", file)
	k.begun(cli, file+".part")
	k.moment(120 * time.Millisecond)
	struck := !k.down(cli)
	if k.sender {
		from.Kill()
		if code := cli.Exit(2 * harness.Patience); (code == 0) != exists(file) {
			k.t.Errorf("its node was killed, snapshot save ended with %d, the file is there: %t", code, exists(file))
		}
	} else {
		cli.Kill()
		struck = struck && !exists(file)
	}
	if exists(file) { // then it is whole
		k.ran(nil, "snapshot", "status", file)
	}
	k.ran(k.c.Others(from), "snapshot", "save", file+"-again")
	k.ran(nil, "snapshot", "status", file+"-again")
	for _, f := range []string{file, file + "-again", file + ".part"} {
		if err := os.RemoveAll(f); err != nil {
			k.t.Error(err)
		}
	}
	return struck
}

// behind stops a follower and writes what the others do not keep for it.
func (k *killer) behind() (leader, late *harness.Node) {
	k.t.Helper()
	leader, _ = k.c.Leader()
	late = k.c.Others(leader)[k.rng.IntN(killNodes-1)]
	late.Kill()
	k.compact(leader)
	leader.Fill("filled/", killRewritten, killValueBytes)
	leader.ReleasesLog(func(ctx context.Context) error {
		_, err := leader.Client().Put(ctx, "released", strconv.Itoa(k.tries))
		return err
	})
	return leader, late
}

// compact keeps the state from growing with every point.
func (k *killer) compact(n *harness.Node) {
	k.t.Helper()
	s, err := n.Status(k.t.Context())
	if err == nil {
		_, err = n.Client().Compact(k.t.Context(), s.GetRevision(), clientv3.WithCompactPhysical())
	}
	// Two points may come to the same revision.
	if err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
		k.t.Fatal(err)
	}
}

func (k *killer) end(sender, receiver *harness.Node) {
	if k.sender {
		sender.Kill()
	} else {
		receiver.Kill()
	}
}

// stream kills one end of a snapshot on its way to a follower.
func (k *killer) stream() (struck bool) {
	leader, late := k.behind()
	late.Start()
	part := 0.05 + 0.8*k.rng.Float64()
	harness.Until(k.t, 2*harness.Patience, "a part of a snapshot to be sent", func(ctx context.Context) error {
		s, err := leader.Status(ctx)
		if err != nil {
			return err
		}
		for _, t := range s.GetSnapshots() {
			if t.GetSending() && float64(t.GetDoneBytes()) >= part*float64(t.GetTotalBytes()) {
				struck = t.GetDoneBytes() < t.GetTotalBytes()
				return nil
			}
		}
		if strings.Contains(late.Stdout.String(), received) {
			return nil // too late
		}
		return errors.New("not yet")
	})
	k.end(leader, late)
	return struck && !strings.Contains(late.Stdout.String(), received)
}

// received is what a follower says when it has a whole snapshot, and is about to
// install it; installed, when it has and goes on with the log.
const (
	received  = "[FOLLOWER] Received a snapshot from"
	installed = "[FOLLOWER] Caught up!"
)

// install kills the follower that replaces its state, or the leader meanwhile.
func (k *killer) install() bool {
	leader, late := k.behind()
	late.Start()
	late.Line(2*harness.Patience, received, func(line string) bool { return strings.HasPrefix(line, received) })
	k.moment(25 * time.Millisecond)
	k.end(leader, late)
	_, after, _ := strings.Cut(late.Stdout.String(), received)
	return !strings.Contains(after, installed)
}

// restore kills the one who makes a data directory from a file, and makes it
// again. A node that starts on it holds what the file says.
func (k *killer) restore() bool {
	file := filepath.Join(k.dir, fmt.Sprintf("restored-%d", k.tries))
	k.ran(nil, "snapshot", "save", file)
	port := harness.FreePorts(k.t, 2)
	url, name := fmt.Sprintf("http://localhost:%d", port), fmt.Sprintf("restored-%d", k.tries)
	args := []string{"snapshot", "restore", file, "--keep-revision", "--data-dir", name + ".data", "--name", name, "--initial-cluster", name + "=" + url}
	cli := k.cli(nil, args...)
	dir := filepath.Join(k.dir, name+".data")
	k.begun(cli, filepath.Join(dir, identity.PartialName))
	k.moment(150 * time.Millisecond)
	struck := !k.down(cli)
	cli.Kill()
	if exists(filepath.Join(dir, "member")) {
		struck = false // it was complete
	} else {
		k.ran(nil, args...)
	}
	k.startRestored(name, url, fmt.Sprintf("http://localhost:%d", port+1), k.ran(nil, "-w", "json", "snapshot", "status", file))
	if err := errors.Join(os.RemoveAll(dir), os.Remove(file)); err != nil {
		k.t.Error(err)
	}
	return struck
}
