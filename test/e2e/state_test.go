package e2e

import (
	"context"
	"crypto/sha256"
	"fmt"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"raftkv/test/e2e/harness"
)

// record is all that a key has, its value as a hash.
type record struct {
	created, modified, version, lease int64
	valueBytes                        int
	valueSHA256                       [sha256.Size]byte
}

// state is everything that a node holds.
type state struct {
	revision int64
	records  map[string]record
}

// pageKeys is how many keys are read at once.
const pageKeys = 500

// localState reads all keys of a node from the node itself, without asking
// others, as of the revision it has reached.
func localState(ctx context.Context, n *harness.Node) (state, error) {
	s := state{records: map[string]record{}}
	from := "\x00"
	for {
		resp, err := n.Client().Get(ctx, from, clientv3.WithFromKey(), clientv3.WithLimit(pageKeys),
			clientv3.WithSerializable(), clientv3.WithRev(s.revision))
		if err != nil {
			return s, fmt.Errorf("reading node %d from %q: %w", n.Number, from, err)
		}
		if s.revision == 0 {
			s.revision = resp.Header.GetRevision()
		}
		for _, kv := range resp.Kvs {
			s.records[string(kv.Key)] = record{
				created: kv.CreateRevision, modified: kv.ModRevision, version: kv.Version, lease: kv.Lease,
				valueBytes: len(kv.Value), valueSHA256: sha256.Sum256(kv.Value),
			}
			from = string(kv.Key) + "\x00"
		}
		if !resp.More {
			return s, nil
		}
	}
}

// requireEqualStates waits until the nodes have applied the same and compares
// everything they hold, revisions included. It returns the common state.
func requireEqualStates(t *testing.T, nodes ...*harness.Node) state {
	t.Helper()
	harness.Until(t, harness.Patience, "every node to apply everything", func(ctx context.Context) error {
		var revision int64
		for _, n := range nodes {
			s, err := n.Status(ctx)
			if err != nil {
				return fmt.Errorf("node %d: %w", n.Number, err)
			}
			if revision != 0 && s.GetRevision() != revision {
				return fmt.Errorf("node %d is at revision %d, another at %d", n.Number, s.GetRevision(), revision)
			}
			revision = s.GetRevision()
		}
		return nil
	})
	var first state
	for _, n := range nodes {
		s, err := localState(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		if first.records == nil {
			first = s
			continue
		}
		report(t, compare(fmt.Sprintf("nodes %d and %d", nodes[0].Number, n.Number), first, s))
	}
	return first
}

// compare returns every difference between what two nodes hold.
func compare(who string, a, b state) (faults []error) {
	if a.revision != b.revision {
		faults = append(faults, fmt.Errorf("%s are at revisions %d and %d", who, a.revision, b.revision))
	}
	for key, r := range a.records {
		if other, ok := b.records[key]; !ok || other != r {
			faults = append(faults, fmt.Errorf("%s differ in %q: %+v and %+v (there: %v)", who, key, r, other, ok))
		}
	}
	for key := range b.records {
		if _, ok := a.records[key]; !ok {
			faults = append(faults, fmt.Errorf("%s differ in %q: only the second has it", who, key))
		}
	}
	return faults
}

// reportedMax bounds what a failed comparison of many keys prints.
const reportedMax = 5

// report fails the test for every fault and prints the first ones.
func report(t *testing.T, faults []error) {
	t.Helper()
	for _, err := range faults[:min(len(faults), reportedMax)] {
		t.Error(err)
	}
	if more := len(faults) - reportedMax; more > 0 {
		t.Errorf("and %d faults more", more)
	}
}

// countLocal counts a node's own keys with a prefix.
func countLocal(ctx context.Context, n *harness.Node, prefix string) (int64, error) {
	resp, err := n.Client().Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithCountOnly(), clientv3.WithSerializable())
	if err != nil {
		return 0, fmt.Errorf("counting on node %d: %w", n.Number, err)
	}
	return resp.Count, nil
}

// requireContiguous checks that the keys account for every revision from 2 to
// the last, and returns what was put at each. Only puts may have happened. A
// key of a version above 1 was written more often than it shows; its history is
// read.
func requireContiguous(t *testing.T, client *clientv3.Client, s state) (byRevision map[int64][]string) {
	t.Helper()
	byRevision = map[int64][]string{}
	for key, r := range s.records {
		revisions, err := history(t.Context(), client, key, r)
		if err != nil {
			t.Fatal(err)
		}
		for _, revision := range revisions {
			byRevision[revision] = append(byRevision[revision], key)
		}
	}
	report(t, holes(s.revision, byRevision))
	return byRevision
}

// holes returns a fault for every revision up to last that no key accounts for,
// and for those that cannot be. A new store is at revision 1.
func holes(last int64, byRevision map[int64][]string) (faults []error) {
	for revision := int64(2); revision <= last; revision++ {
		if len(byRevision[revision]) == 0 {
			faults = append(faults, fmt.Errorf("nothing was written at revision %d of %d", revision, last))
		}
	}
	for revision, keys := range byRevision {
		if revision < 2 || revision > last {
			faults = append(faults, fmt.Errorf("%q was written at revision %d, the last is %d", keys, revision, last))
		}
	}
	return faults
}

// history lists the revisions at which a key was put, newest first.
func history(ctx context.Context, client *clientv3.Client, key string, r record) ([]int64, error) {
	revisions := []int64{r.modified}
	for last := r; last.version > 1; {
		resp, err := client.Get(ctx, key, clientv3.WithRev(last.modified-1), clientv3.WithKeysOnly())
		if err != nil {
			return nil, fmt.Errorf("reading %q at revision %d: %w", key, last.modified-1, err)
		}
		if len(resp.Kvs) != 1 || resp.Kvs[0].Version != last.version-1 {
			return nil, fmt.Errorf("%q had version %d at revision %d; before that it was %v", key, last.version, last.modified, resp.Kvs)
		}
		last = record{modified: resp.Kvs[0].ModRevision, version: resp.Kvs[0].Version}
		revisions = append(revisions, last.modified)
	}
	if oldest := revisions[len(revisions)-1]; oldest != r.created {
		return nil, fmt.Errorf("%q was created at revision %d, its first version is of %d", key, r.created, oldest)
	}
	return revisions, nil
}
