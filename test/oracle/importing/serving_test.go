package importing

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"raftkv/test/e2e/harness"
)

// ours builds the programs and imports a snapshot of etcd with raft-cli, for a
// cluster of one.
func ours(t *testing.T, snapshot string) *harness.Cluster {
	t.Helper()
	bin, err := harness.BuildOurs(t.Context(), filepath.Join("..", "..", ".."), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c := harness.NewCluster(t, bin, 1)
	n := c.Nodes[0]
	r := c.CLI(nil, "", "import", "--from-etcd", snapshot, "--id", "1", "--cluster", n.Address, "--data-dir", n.DataDir())
	if r.Code != 0 || !strings.Contains(r.Stdout, "Imported") {
		t.Fatalf("raft-cli import: %v", r)
	}
	return c
}

// TestServeImported moves from etcd as an operator does: a snapshot is imported,
// a node started on it, two more join. A stock client finds what etcd holds, and
// what it writes goes on from there.
func TestServeImported(t *testing.T) {
	e, etcd := startEtcd(t)
	leases := load(t, etcd)
	short := map[string]clientv3.LeaseID{}
	for _, name := range []string{"ends", "kept"} {
		l, err := etcd.Grant(t.Context(), 8)
		if err != nil {
			t.Fatal(err)
		}
		short[name] = l.ID
		if _, err := etcd.Put(t.Context(), "short/"+name, "value", clientv3.WithLease(l.ID)); err != nil {
			t.Fatal(err)
		}
	}
	path := saveSnapshot(t, etcd)
	want, err := etcd.HashKV(t.Context(), e.Clients[0].Addr().String(), 0)
	if err != nil {
		t.Fatal(err)
	}
	// What etcd expires from now on is behind what is compared.
	head := want.HashRevision

	c := ours(t, path)
	first := c.Nodes[0]
	c.Start()
	c.Ready()
	kv := first.Client()
	kept, err := kv.KeepAlive(t.Context(), short["kept"])
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for range kept { // it has to be read
		}
	}()
	sameHistory(t, etcd, kv, want.CompactRevision, head)
	sameLeases(t, etcd, kv, leases)
	expires(t, kv, short["ends"], short["kept"])
	grownRevision := writes(t, kv)

	for number := 2; number <= 3; number++ {
		n := c.Joining(number, first)
		n.Start()
		n.Ready()
		n.Votes()
	}
	revision, _ := c.EqualHashes()
	if revision < grownRevision {
		t.Errorf("the members are at revision %d, %d was written", revision, grownRevision)
	}
	last := c.Nodes[2].Client()
	sameHistory(t, etcd, last, want.CompactRevision, head)
	first.Kill()
	put, err := c.Client(c.Nodes[1:]...).Put(t.Context(), "behind", "the first node")
	if err != nil || put.Header.Revision <= revision {
		t.Errorf("without the node that was imported: %v, %v", put, err)
	}
}

// sameHistory compares what clients read of every revision's kind: the newest, old
// ones, compacted ones and those to come; and the events in between.
func sameHistory(t *testing.T, etcd, kv *clientv3.Client, compacted, head int64) {
	t.Helper()
	all := func(rev int64) clientv3.Op { return clientv3.OpGet("", clientv3.WithFromKey(), clientv3.WithRev(rev)) }
	for _, rev := range []int64{compacted, compacted + 1, (compacted + head) / 2, head - 1, head} {
		a, aErr := etcd.Do(t.Context(), all(rev))
		b, bErr := kv.Do(t.Context(), all(rev))
		if err := errors.Join(aErr, bErr); err != nil {
			t.Fatalf("at %d: %v", rev, err)
		}
		theirs, our := a.Get(), b.Get()
		if theirs.Count != our.Count || theirs.Count == 0 || !slices.EqualFunc(theirs.Kvs, our.Kvs, func(x, y *mvccpb.KeyValue) bool { return x.String() == y.String() }) {
			t.Errorf("at %d: %d keys, etcd has %d, or they differ", rev, our.Count, theirs.Count)
		}
	}
	for rev, code := range map[int64]error{compacted - 1: rpctypes.ErrCompacted, head + 1_000_000: rpctypes.ErrFutureRev} {
		if _, err := kv.Do(t.Context(), all(rev)); !errors.Is(err, code) {
			t.Errorf("at %d: %v, want %v", rev, err, code)
		}
	}
	if a, b := events(t, etcd, compacted+1, head), events(t, kv, compacted+1, head); len(a) == 0 || !slices.Equal(a, b) {
		t.Errorf("%d events from %d to %d, etcd has %d, or they differ", len(b), compacted+1, head, len(a))
	}
}

// events are those of some revisions, by revision and key.
func events(t *testing.T, c *clientv3.Client, from, to int64) (all []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*harness.Patience)
	defer cancel()
	last := int64(0)
	for resp := range c.Watch(ctx, "", clientv3.WithFromKey(), clientv3.WithRev(from), clientv3.WithPrevKV()) {
		if err := resp.Err(); err != nil {
			t.Fatal(err)
		}
		for _, ev := range resp.Events {
			if last = ev.Kv.ModRevision; last <= to {
				all = append(all, fmt.Sprintf("%010d %s %s", last, ev.Kv.Key, ev))
			}
		}
		if last >= to {
			break
		}
	}
	if last < to {
		t.Errorf("the events end at %d, not at %d", last, to)
	}
	slices.SortFunc(all, cmp.Compare[string])
	return all
}

func sameLeases(t *testing.T, etcd, kv *clientv3.Client, leases []clientv3.LeaseID) {
	t.Helper()
	for _, id := range leases {
		want, wantErr := etcd.TimeToLive(t.Context(), id, clientv3.WithAttachedKeys())
		got, err := kv.TimeToLive(t.Context(), id, clientv3.WithAttachedKeys())
		if err := errors.Join(wantErr, err); err != nil {
			t.Fatal(err)
		}
		// Keys come in any order; a time to live begins anew, as after a restart of etcd.
		for _, keys := range [][][]byte{want.Keys, got.Keys} {
			slices.SortFunc(keys, slices.Compare[[]byte])
		}
		if got.GrantedTTL != want.GrantedTTL || got.TTL <= 0 || got.TTL > got.GrantedTTL || !slices.EqualFunc(got.Keys, want.Keys, slices.Equal[[]byte]) {
			t.Errorf("lease %x: %d of %d s left, %d keys; etcd granted %d s, %d keys", id, got.TTL, got.GrantedTTL, len(got.Keys), want.GrantedTTL, len(want.Keys))
		}
	}
}

// expires: a lease that nobody renews ends with its key, one that is renewed does
// not.
func expires(t *testing.T, kv *clientv3.Client, ends, kept clientv3.LeaseID) {
	t.Helper()
	began := time.Now()
	harness.Until(t, 2*harness.Patience, "the short lease ends", func(ctx context.Context) error {
		left, err := kv.Get(ctx, "short/ends")
		if err == nil && len(left.Kvs) > 0 {
			err = errors.New("its key is still there")
		}
		return err
	})
	if ttl, err := kv.TimeToLive(t.Context(), ends); err != nil || ttl.TTL != -1 {
		t.Errorf("the lease that ended after %v: %v, %v", time.Since(began), ttl, err)
	}
	if got, err := kv.Get(t.Context(), "short/kept"); err != nil || len(got.Kvs) != 1 {
		t.Errorf("the key of the lease that is renewed: %v, %v", got, err)
	}
	if ttl, err := kv.TimeToLive(t.Context(), kept); err != nil || ttl.TTL <= 0 {
		t.Errorf("the lease that is renewed: %v, %v", ttl, err)
	}
}

// writes go on with revisions and versions where etcd was.
func writes(t *testing.T, kv *clientv3.Client) (revision int64) {
	t.Helper()
	ctx := t.Context()
	some, err := kv.Get(ctx, "registry/", clientv3.WithPrefix(), clientv3.WithLimit(1), clientv3.WithSort(clientv3.SortByVersion, clientv3.SortDescend))
	if err != nil || len(some.Kvs) != 1 || some.Kvs[0].Version < 2 {
		t.Fatalf("no key with versions: %v, %v", some, err)
	}
	old := some.Kvs[0]
	put, err := kv.Put(ctx, string(old.Key), "new", clientv3.WithPrevKV())
	if err != nil {
		t.Fatal(err)
	}
	if put.Header.Revision != some.Header.Revision+1 || put.PrevKv.String() != old.String() {
		t.Errorf("a put at revision %d over %v became revision %d over %v", some.Header.Revision, old, put.Header.Revision, put.PrevKv)
	}
	got, err := kv.Get(ctx, string(old.Key))
	if err != nil || len(got.Kvs) != 1 {
		t.Fatalf("%v, %v", got, err)
	}
	if k := got.Kvs[0]; k.Version != old.Version+1 || k.CreateRevision != old.CreateRevision || k.ModRevision != put.Header.Revision {
		t.Errorf("%v became %v", old, k)
	}
	swapped, err := kv.Txn(ctx).If(clientv3.Compare(clientv3.Version(string(old.Key)), "=", old.Version+1)).Then(clientv3.OpDelete(string(old.Key))).Commit()
	if err != nil || !swapped.Succeeded || swapped.Header.Revision != put.Header.Revision+1 {
		t.Errorf("a transaction on the version: %v, %v", swapped, err)
	}
	return put.Header.Revision + 1
}
