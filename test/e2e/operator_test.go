package e2e

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

	clientv3 "go.etcd.io/etcd/client/v3"

	"raftkv/test/e2e/harness"
)

// saved is what raft-cli snapshot status says of a file.
type saved struct {
	Revision  int64  `json:"revision"`
	Keys      int64  `json:"keys"`
	ClusterID string `json:"cluster_id"`
}

func snapshotStatus(t *testing.T, c *harness.Cluster, path string) (s saved) {
	t.Helper()
	decode(t, c.CLI(nil, "", "-w", "json", "snapshot", "status", path), &s)
	return s
}

// restored is a stopped cluster of three, made of a snapshot file. The log of
// its first node is elsewhere.
func restored(t *testing.T, file string) *harness.Cluster {
	t.Helper()
	c := harness.NewCluster(t, bin, 3)
	list := strings.Join(c.Endpoints(), ",")
	for _, n := range c.Nodes {
		flags := []string{"--id", strconv.Itoa(n.Number), "--cluster", list}
		if n.Number == 1 {
			flags = append(flags, "--wal-dir", filepath.Join(c.Dir, "elsewhere", "log"))
			n.LongForm = flags
		}
		cli(t, c, nil, append([]string{"snapshot", "restore", file, "--data-dir", n.DataDir()}, flags...)...)
	}
	return c
}

// TestOperatorSnapshots saves under writes with raft-cli and with etcdctl, and
// makes new clusters of both files.
func TestOperatorSnapshots(t *testing.T) {
	c := harness.StartCluster(t, bin, 3)
	w := startWriter(t, c.Client())
	files := map[string]int{} // acknowledged before
	for _, tool := range []string{"raft-cli", "etcdctl"} {
		w.acknowledged(w.count() + 50)
		path := filepath.Join(c.Dir, tool+".snap")
		files[path] = w.count()
		if tool == "raft-cli" {
			cli(t, c, c.Nodes[1:2], "snapshot", "save", path)
		} else if r := c.Etcdctl(c.Nodes[2:3], "", "snapshot", "save", path); r.Code != 0 {
			t.Fatalf("etcdctl snapshot save: %v", r)
		}
	}
	w.acknowledged(w.count() + 20)
	w.stop()
	for path, before := range files {
		s := snapshotStatus(t, c, path)
		if s.Keys < 50 || s.Keys > int64(w.count()+1) {
			t.Errorf("%s: %+v", path, s)
		}
		// A member that is not the leader may lag a little behind what was
		// acknowledged; it has applied all of what the other file was after.
		t.Logf("%s: %d keys, %d acknowledged before", filepath.Base(path), s.Keys, before)
		next := restored(t, path)
		next.Start()
		next.Ready()
		for _, n := range next.Nodes {
			got, err := n.Client().Get(t.Context(), "written/", clientv3.WithPrefix(), clientv3.WithCountOnly())
			if err != nil || got.Count != s.Keys || got.Header.GetRevision() != s.Revision+1_000_000_000 {
				t.Errorf("node %d: %v, %v, want %+v", n.Number, got, err, s)
			}
		}
		if fmt.Sprintf("%x", clusterID(t, next)) == s.ClusterID {
			t.Error("the new cluster has the id of the old one")
		}
		if _, err := next.Client().Put(t.Context(), "after", "x"); err != nil {
			t.Error(err)
		}
		for _, n := range next.Nodes {
			n.Kill()
			cli(t, c, nil, "verify", "--data-dir", n.DataDir())
		}
	}
}

func clusterID(t *testing.T, c *harness.Cluster) uint64 {
	t.Helper()
	got, err := c.Client().MemberList(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return got.Header.GetClusterId()
}

// grown waits until a file has something in it.
func grown(t *testing.T, path string) {
	t.Helper()
	harness.Until(t, harness.Patience, path, func(context.Context) error {
		info, err := os.Stat(path)
		if err == nil && info.Size() == 0 {
			err = errors.New("it is empty")
		}
		return err
	})
}

// TestSaveKilled kills raft-cli in the middle of a save, more often than a
// member has places for saving, and then the member.
func TestSaveKilled(t *testing.T) {
	c := harness.StartCluster(t, bin, 1, "--snapshot-rate-bytes=400000")
	random, value := rand.NewChaCha8([32]byte{}), make([]byte, 128<<10) // which does not compress
	for i := range 16 {
		if _, err := random.Read(value); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Client().Put(t.Context(), fmt.Sprintf("big/%d", i), string(value)); err != nil {
			t.Fatal(err)
		}
	}
	saving := func(path string) *harness.Process {
		return harness.Start(t, harness.Command{
			Name: "raft-cli", Path: bin.RaftCLI, Args: []string{"snapshot", "save", path},
			Env: []string{"RAFTKV_ENDPOINTS=" + c.Nodes[0].Address},
		})
	}
	path := filepath.Join(c.Dir, "cut.snap")
	for range 3 {
		if err := os.RemoveAll(path + ".part"); err != nil {
			t.Fatal(err)
		}
		p := saving(path)
		// The place of the one before is free once its member has noticed.
		harness.Until(t, harness.Patience, "a save that runs", func(context.Context) error {
			select {
			case <-p.Ended():
				p = saving(path)
			default:
			}
			info, err := os.Stat(path + ".part")
			if err == nil && info.Size() == 0 {
				err = errors.New("it is empty")
			}
			return err
		})
		p.Kill()
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("half a snapshot has the name of a whole one: %v", err)
		}
		if r := c.CLI(nil, "", "snapshot", "status", path+".part"); r.Code != 1 {
			t.Fatalf("what is left of a save passes: %v", r)
		}
	}
	p := saving(path)
	grown(t, path+".part")
	c.Nodes[0].Kill()
	if code := p.Exit(harness.Patience); code != 1 {
		t.Errorf("exit code %d", code)
	}
	for _, left := range []string{path, path + ".part"} {
		if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", left, err)
		}
	}
	c.Start()
	c.Ready()
	cli(t, c, nil, "snapshot", "save", path)
	restoreKilled(t, c, path)
}

// restoreKilled kills restores as soon as they have begun.
func restoreKilled(t *testing.T, c *harness.Cluster, file string) {
	t.Helper()
	next := harness.NewCluster(t, bin, 1)
	n := next.Nodes[0]
	args := []string{"snapshot", "restore", file, "--id", "1", "--cluster", n.Address, "--data-dir", n.DataDir()}
	killed := 0
	for range 5 {
		p := harness.Start(t, harness.Command{Name: "raft-cli", Path: bin.RaftCLI, Args: args})
		// An empty directory is none that a restore was interrupted in.
		harness.Until(t, harness.Patience, "a beginning", func(context.Context) error {
			entries, err := os.ReadDir(n.DataDir())
			if err == nil && len(entries) == 0 {
				err = errors.New("it is empty")
			}
			return err
		})
		p.Kill()
		if _, err := os.Stat(filepath.Join(n.DataDir(), "member")); err == nil {
			break // it was faster
		}
		killed++
		started := harness.Run(t, harness.Patience, n.Command())
		if started.Code == 0 || !strings.Contains(started.Stderr, "run that command again") {
			t.Fatalf("a start on what an interrupted restore left: %v", started)
		}
	}
	if killed > 0 {
		if _, err := os.Stat(filepath.Join(n.DataDir(), "member")); err != nil {
			cli(t, c, nil, args...)
		}
	}
	t.Logf("%d restores were killed in the middle", killed)
	next.Start()
	next.Ready()
	if got, err := next.Client().Get(t.Context(), "big/", clientv3.WithPrefix(), clientv3.WithCountOnly()); err != nil || got.Count != 16 {
		t.Errorf("%v, %v", got, err)
	}
}

// TestLostMajority makes a cluster of the one member that is left, by the
// command and by etcd's flag, and grows it again.
func TestLostMajority(t *testing.T) {
	for _, way := range []string{"recover", "flag"} {
		c := harness.StartCluster(t, bin, 3)
		for i := range 20 {
			if _, err := c.Client().Put(t.Context(), fmt.Sprintf("kept/%d", i), "x"); err != nil {
				t.Fatal(err)
			}
		}
		setEverywhere(t, c, "last", "word")
		old := clusterID(t, c)
		for _, n := range c.Nodes {
			n.Kill()
		}
		left := c.Nodes[0]
		c.Gone(c.Nodes[1:]...)
		if way == "recover" {
			args := []string{"recover", "--force-new-cluster", "--data-dir", left.DataDir()}
			for _, answer := range []string{"no\n", "", "yes\n"} {
				r := harness.Run(t, harness.Patience, harness.Command{Name: "recover", Path: bin.RaftKV, Args: args, Stdin: strings.NewReader(answer)})
				if (r.Code == 0) != (answer == "yes\n") || !strings.Contains(r.Stdout, "node 1 of 3 in cluster") {
					t.Fatalf("answered %q: %v", answer, r)
				}
			}
			left.Start()
		} else {
			left.LongForm = left.Command("--force-new-cluster").Args
			left.Start()
		}
		left.Ready()
		got, err := left.Client().Get(t.Context(), "kept/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err != nil || got.Count != 20 || clusterID(t, c) == old {
			t.Errorf("%s: %v, %v", way, got, err)
		}
		join(t, c, 4, left)
		if _, err := c.Client().Put(t.Context(), "grown", "again"); err != nil {
			t.Error(err)
		}
		kept, err := filepath.Glob(filepath.Join(left.DataDir(), "member.before-recovery-*"))
		if err != nil || len(kept) != 1 {
			t.Errorf("%s: kept %v, %v", way, kept, err)
		}
	}
}
