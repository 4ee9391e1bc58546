package importing

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"raftkv/operator"
	"raftkv/statemachine"
)

var (
	keysCount = flag.Int("import-keys", 400, "keys of the data set")
	versions  = flag.Int("import-versions", 10, "versions of each key")
)

const opsPerTxn = 100 // below etcd's limit of 128

func startEtcd(t *testing.T) (*embed.Etcd, *clientv3.Client) {
	t.Helper()
	cfg := embed.NewConfig()
	cfg.Dir, cfg.UnsafeNoFsync, cfg.LogLevel = t.TempDir(), true, "fatal"
	free := []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	cfg.ListenClientUrls, cfg.ListenPeerUrls = free, free
	cfg.AdvertiseClientUrls, cfg.AdvertisePeerUrls = free, free
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	select {
	case <-e.Server.ReadyNotify():
	case <-time.After(time.Minute):
		t.Fatal("etcd is not ready")
	}
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{e.Clients[0].Addr().String()}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return e, c
}

func key(i int) string { return fmt.Sprintf("registry/%06d", i) }

// load writes versions of every key, in transactions and one by one, with
// leases, deletions, users and roles, and a compaction in the middle.
func load(t *testing.T, c *clientv3.Client) (leases []clientv3.LeaseID) {
	t.Helper()
	ctx := t.Context()
	const seed = 7
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for i := range 5 {
		l, err := c.Grant(ctx, int64(5000+i))
		if err != nil {
			t.Fatal(err)
		}
		leases = append(leases, l.ID)
	}
	for v := range *versions {
		for at := 0; at < *keysCount; at += opsPerTxn {
			var ops []clientv3.Op
			for i := at; i < min(at+opsPerTxn, *keysCount); i++ {
				value := fmt.Sprintf("%d of %d: %x", v, i, rng.Uint64())
				switch {
				case rng.IntN(40) == 0:
					ops = append(ops, clientv3.OpDelete(key(i)))
				case rng.IntN(20) == 0:
					ops = append(ops, clientv3.OpPut(key(i), value, clientv3.WithLease(leases[rng.IntN(len(leases))])))
				default:
					ops = append(ops, clientv3.OpPut(key(i), value))
				}
			}
			if _, err := c.Txn(ctx).Then(ops...).Commit(); err != nil {
				t.Fatal(err)
			}
		}
		for range 20 {
			if _, err := c.Put(ctx, key(rng.IntN(*keysCount)), "single"); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := c.Delete(ctx, key(rng.IntN(*keysCount))); err != nil {
			t.Fatal(err)
		}
		if v == *versions/2 {
			now, err := c.Get(ctx, "x")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Compact(ctx, now.Header.Revision-7, clientv3.WithCompactPhysical()); err != nil {
				t.Fatal(err)
			}
		}
	}
	_, userErr := c.UserAdd(ctx, "root", "secret")
	_, roleErr := c.RoleAdd(ctx, "reader")
	if err := errors.Join(userErr, roleErr); err != nil {
		t.Fatal(err)
	}
	return leases
}

func saveSnapshot(t *testing.T, c *clientv3.Client) string {
	t.Helper()
	r, err := c.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "etcd.db")
	err = operator.SaveFile(t.Context(), path, func(w io.Writer) error {
		_, err := io.Copy(w, r)
		return err
	})
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

func target(t *testing.T) operator.Target {
	return operator.Target{
		DataDir: filepath.Join(t.TempDir(), "data"), Name: "1",
		Cluster: []operator.Peer{{Name: "1", PeerURLs: []string{"http://localhost:1"}}},
	}
}

func TestImport(t *testing.T) {
	e, c := startEtcd(t)
	leases := load(t, c)
	endpoint := e.Clients[0].Addr().String()
	want, err := c.HashKV(t.Context(), endpoint, 0)
	if err != nil {
		t.Fatal(err)
	}
	count, err := c.Get(t.Context(), "", clientv3.WithFromKey(), clientv3.WithCountOnly())
	if err != nil {
		t.Fatal(err)
	}
	path := saveSnapshot(t, c)
	to := target(t)
	begin := time.Now()
	r, err := operator.Import(t.Context(), path, to, operator.ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d keys, revision %d, compacted %d: %d bytes of etcd imported in %v", count.Count, want.HashRevision, want.CompactRevision, info.Size(), time.Since(begin))
	if r.Revision != want.Header.Revision || len(r.Warnings) != 1 {
		t.Errorf("imported up to revision %d, etcd is at %d; warnings %q", r.Revision, want.Header.Revision, r.Warnings)
	}
	state, err := statemachine.LiveDatabase(vfs.Default, filepath.Join(to.DataDir, "member", "state"))
	if err != nil {
		t.Fatal(err)
	}
	err = statemachine.Examine(vfs.Default, state, func(x *statemachine.Examined) error {
		if x.CompactedRevision != want.CompactRevision {
			t.Errorf("compacted %d, etcd %d", x.CompactedRevision, want.CompactRevision)
		}
		hash, err := x.HashKV(t.Context())
		if err != nil {
			return err
		}
		if hash != want.Hash {
			t.Errorf("HashKV %08x, etcd's is %08x", hash, want.Hash)
		}
		n, err := x.Keys(t.Context())
		if n != count.Count {
			t.Errorf("%d keys, etcd has %d", n, count.Count)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	compareLeases(t, c, leases, to.DataDir)
	compareRanges(t, c, want.CompactRevision, want.Header.Revision, to.DataDir)
	refusals(t, path)
}

// open opens the imported state as a member would.
func open(t *testing.T, dataDir string) *statemachine.Machine {
	t.Helper()
	m, err := statemachine.Open(statemachine.Options{Dir: filepath.Join(dataDir, "member", "state"), OnFatal: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func compareLeases(t *testing.T, c *clientv3.Client, leases []clientv3.LeaseID, dataDir string) {
	t.Helper()
	m := open(t, dataDir)
	for _, id := range leases {
		want, err := c.TimeToLive(t.Context(), id, clientv3.WithAttachedKeys())
		if err != nil {
			t.Fatal(err)
		}
		got, found, err := m.Lease(int64(id))
		attached, keysErr := m.LeaseKeys(int64(id))
		if err := errors.Join(err, keysErr); err != nil {
			t.Fatal(err)
		}
		if !found || got.TTLSeconds != want.GrantedTTL || len(attached) != len(want.Keys) || len(attached) == 0 {
			t.Errorf("lease %x: found %v, %d s, %d keys; etcd: %d s, %d keys", id, found, got.TTLSeconds, len(attached), want.GrantedTTL, len(want.Keys))
		}
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

// compareRanges compares whole listings at revisions that can still be read.
func compareRanges(t *testing.T, c *clientv3.Client, from, to int64, dataDir string) {
	t.Helper()
	m := open(t, dataDir)
	defer func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}()
	for rev := from; rev <= to; rev += max(1, (to-from)/5) {
		op := clientv3.OpGet(key(0), clientv3.WithRange(key(300)), clientv3.WithRev(rev))
		want, err := c.Do(t.Context(), op)
		if err != nil {
			t.Fatal(err)
		}
		got, err := rangeAt(t.Context(), m, rev)
		if err != nil {
			t.Fatal(err)
		}
		kvs := want.Get().Kvs
		if len(got) != len(kvs) {
			t.Fatalf("at %d: %d keys, etcd has %d", rev, len(got), len(kvs))
		}
		for i := range kvs {
			if g, w := got[i].String(), kvs[i].String(); g != w {
				t.Fatalf("at %d: %s, etcd has %s", rev, g, w)
			}
		}
	}
}

// refusals: what is damaged is refused and nothing is made of it.
func refusals(t *testing.T, path string) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	flipped := append([]byte(nil), content...)
	flipped[len(flipped)/3] ^= 4
	for name, bad := range map[string][]byte{
		"flipped": flipped, "cut": content[:len(content)/2], "no database": []byte("hello"), "without trailer": content[:len(content)-32],
	} {
		file := filepath.Join(t.TempDir(), "bad")
		if err := os.WriteFile(file, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		to := target(t)
		if _, err := operator.Import(context.Background(), file, to, operator.ImportOptions{}); err == nil {
			t.Errorf("%s: imported", name)
		} else {
			t.Logf("%s: %v", name, err)
		}
		if _, err := os.Stat(to.DataDir); !os.IsNotExist(err) {
			t.Errorf("%s: a data directory was made", name)
		}
		if name == "without trailer" {
			if _, err := operator.Import(context.Background(), file, to, operator.ImportOptions{SkipHashCheck: true}); err != nil {
				t.Errorf("a bare database: %v", err)
			}
		}
	}
}
