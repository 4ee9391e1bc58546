package mvcc

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/cockroachkvs"
	"github.com/cockroachdb/pebble/v2/vfs"

	"raftkv/statemachine/keys"
)

// memory is a batch that keeps its records.
type memory struct{ keys, values [][]byte }

func (m *memory) SetInPlace(keyLen, valueLen int, fill func(key, value []byte)) error {
	k, v := make([]byte, keyLen), make([]byte, valueLen)
	fill(k, v)
	m.keys, m.values = append(m.keys, k), append(m.values, v)
	return keys.Check(k)
}

func manyChanges(n, keyLen int) []recorded {
	var all []recorded
	for i := range n {
		rev := keys.Revision{Main: 1<<40 + int64(i/3), Sub: uint32(i % 3)}
		all = append(all, recorded{revision: rev, key: strings.Repeat("k", keyLen) + fmt.Sprint(i)})
	}
	return all
}

// TestRunsRoundTrip: changes come back from their records as they were, in order, and
// no record has more than a run may.
func TestRunsRoundTrip(t *testing.T) {
	for _, test := range []struct{ changes, keyLen, records int }{
		{0, 0, 0}, {1, 5, 1}, {2, 0, 1}, {runMax, 10, 1}, {runMax + 1, 10, 2}, {3*runMax + 7, 10, 4},
		{5, runBytesMax, 5}, {5, runBytesMax / 2, 3},
	} {
		want := manyChanges(test.changes, test.keyLen)
		var m memory
		if err := recordAll(&m, want); err != nil {
			t.Fatal(err)
		}
		if len(m.keys) != test.records {
			t.Errorf("%d changes of %d bytes: %d records, want %d", test.changes, test.keyLen, len(m.keys), test.records)
		}
		var got []recorded
		for i := range m.keys {
			err := VisitChanges(m.keys[i], m.values[i], func(rev keys.Revision, key []byte) error {
				got = append(got, recorded{rev, string(key)})
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d changes of %d bytes: got %v", test.changes, test.keyLen, got)
		}
	}
}

// TestDamagedRuns: whatever a run's value is, it is its changes or ErrCorrupt.
func TestDamagedRuns(t *testing.T) {
	var m memory
	if err := recordAll(&m, manyChanges(3, 1)); err != nil {
		t.Fatal(err)
	}
	key, value := m.keys[0], m.values[0]
	other := keys.AppendRun(nil, keys.Revision{Main: 1 << 41})
	for name, record := range map[string][2][]byte{
		"empty": {key, nil}, "empty at revision 0": {keys.AppendRun(nil, keys.Revision{}), nil},
		"cut off": {key, value[:len(value)-1]}, "longer": {key, append(slices.Clone(value), 1)},
		"another revision": {other, value}, "no key of the table": {[]byte("k"), value},
		"twice the same": {keys.AppendRun(nil, keys.Revision{Main: 3}), []byte{3, 0, 0, 0, 0, 0}},
		"beyond its end": {keys.AppendRun(nil, keys.Revision{Main: 3}), []byte{4, 0, 0}},
		"huge numbers":   {keys.AppendRun(nil, keys.Revision{Main: 3}), []byte{3, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0}},
	} {
		if err := VisitChanges(record[0], record[1], func(keys.Revision, []byte) error { return nil }); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzChanges(f *testing.F) {
	var m memory
	if err := recordAll(&m, manyChanges(5, 3)); err != nil {
		f.Fatal(err)
	}
	f.Add(m.keys[0], m.values[0])
	f.Fuzz(func(t *testing.T, key, value []byte) {
		var got []recorded
		err := VisitChanges(key, value, func(rev keys.Revision, key []byte) error {
			got = append(got, recorded{rev, string(key)})
			return nil
		})
		if err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatal(err)
		}
		if err == nil && !slices.IsSortedFunc(got, func(a, b recorded) int { return compareRevisions(a.revision, b.revision) }) {
			t.Fatalf("%x %x: %v is out of order", key, value, got)
		}
	})
}

// TestReadRuns: a reader that begins or ends within a run gets what it asked for.
func TestReadRuns(t *testing.T) {
	db, err := pebble.Open("db", &pebble.Options{FS: vfs.NewMem(), Comparer: &cockroachkvs.Comparer})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	var m memory
	first := int64(1 << 40)
	all := manyChanges(3*runMax, 1)
	// Two runs, then one change by itself, then the rest.
	if err := errors.Join(recordAll(&m, all[:300]), recordAll(&m, all[300:301]), recordAll(&m, all[301:])); err != nil {
		t.Fatal(err)
	}
	for i := range m.keys {
		if err := db.Set(m.keys[i], m.values[i], nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		from, last int64
		limit      int
	}{{first, first + 1000, 10000}, {first + 50, first + 60, 10000}, {first + 80, first + 110, 7}, {first + 100, first + 100, 1}, {first + 200, first + 1000, 64}} {
		var want, got []keys.Revision
		for _, c := range all {
			if test.from <= c.revision.Main && c.revision.Main <= test.last {
				want = append(want, c.revision)
			}
		}
		from := keys.Revision{Main: test.from}
		for done := false; !done; {
			var changes []change
			if changes, done, err = readChanges(db, from, test.last, test.limit); err != nil {
				t.Fatal(err)
			}
			for i, c := range changes {
				if c.place != i {
					t.Fatalf("change %d has place %d", i, c.place)
				}
				got, from = append(got, c.revision), nextRevision(c.revision)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%+v: got %v, want %v", test, got, want)
		}
	}
}
