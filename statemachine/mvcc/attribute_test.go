package mvcc

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/cockroachkvs"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"raftkv/statemachine/keys"
)

// The head of a version is the same whether its value is read or not, and that of
// a first version without a lease needs no value.
func TestHeadsOfFirstVersionsNeedNoValue(t *testing.T) {
	for _, marked := range []bool{false, true} {
		for _, valueBytes := range []int{10, 1000} {
			t.Run(fmt.Sprintf("marked=%t, %d bytes", marked, valueBytes), func(t *testing.T) {
				db := openSeparated(t, marked)
				value := make([]byte, valueBytes)
				versions := []struct {
					key string
					kv  KeyValue
				}{
					{"first", KeyValue{CreateRevision: 5, Version: 1, Revision: keys.Revision{Main: 5}}},
					{"first of a transaction", KeyValue{CreateRevision: 6, Version: 1, Revision: keys.Revision{Main: 6, Sub: 3}}},
					{"leased", KeyValue{CreateRevision: 7, Version: 1, Lease: 9, Revision: keys.Revision{Main: 7}}},
					{"twice", KeyValue{CreateRevision: 8, Version: 1, Revision: keys.Revision{Main: 8}}},
					{"twice", KeyValue{CreateRevision: 8, Version: 2, Revision: keys.Revision{Main: 9}}},
				}
				for _, v := range versions {
					v.kv.Value = value
					data := make([]byte, v.kv.encodedLen())
					v.kv.encode(data)
					if err := db.Set(keys.AppendVersion(nil, v.key, v.kv.Revision), data, nil); err != nil {
						t.Fatal(err)
					}
				}
				if err := db.Set(keys.AppendVersion(nil, "gone", keys.Revision{Main: 10}), []byte{tagTombstone}, nil); err != nil {
					t.Fatal(err)
				}
				if err := db.Flush(); err != nil {
					t.Fatal(err)
				}
				for _, v := range versions[:4] {
					checkHead(t, db, v.key, 8, marked && valueBytes > 128 && v.kv.Lease == 0)
				}
				checkHead(t, db, "twice", 20, false)
				checkHead(t, db, "gone", 20, false)
				checkHead(t, db, "never", 20, false)
			})
		}
	}
}

// checkHead compares the head of a key with the version that a read finds.
func checkHead(t *testing.T, db *pebble.DB, key string, revision int64, unread bool) {
	t.Helper()
	it, err := newIterator(db)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := it.Close(); err != nil {
			t.Error(err)
		}
	}()
	var c cursor
	got, err := c.head(it, []byte(key), revision)
	if err != nil {
		t.Fatal(err)
	}
	fetched := it.Stats().InternalStats.SeparatedPointValue.ValueBytesFetched
	kv, _, err := c.get(it, []byte(key), revision)
	if err != nil {
		t.Fatal(err)
	}
	if want := (head{createRevision: kv.CreateRevision, version: kv.Version, lease: kv.Lease}); got != want {
		t.Errorf("%s: head %+v, want %+v", key, got, want)
	}
	if unread && fetched > 0 {
		t.Errorf("%s: %d bytes of a value were read", key, fetched)
	}
}

// openSeparated opens a database like that of package engine.
func openSeparated(t *testing.T, marked bool) *pebble.DB {
	o := &pebble.Options{
		FS: vfs.NewMem(), Comparer: &cockroachkvs.Comparer, FormatMajorVersion: pebble.FormatNewest,
		KeySchema: cockroachkvs.KeySchema.Name, KeySchemas: sstable.MakeKeySchemas(&cockroachkvs.KeySchema),
	}
	o.Experimental.ValueSeparationPolicy = func() pebble.ValueSeparationPolicy {
		return pebble.ValueSeparationPolicy{Enabled: true, MinimumSize: 128, MaxBlobReferenceDepth: 10}
	}
	if marked {
		o.Experimental.ShortAttributeExtractor = Attribute
	}
	db, err := pebble.Open("", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func FuzzAttribute(f *testing.F) {
	f.Add(keys.AppendVersion(nil, "k", keys.Revision{Main: 3}), []byte{tagValue, 3, 1, 0, 'v'})
	f.Add(keys.AppendRevision(nil, keys.Revision{Main: 3}), []byte("k"))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		attribute, err := Attribute(key, 0, value)
		if err != nil {
			t.Fatal(err) // Pebble would write the value with its key
		}
		if attribute == 0 {
			return
		}
		_, rev, err := keys.DecodeVersion(key)
		var kv KeyValue
		exists, decodeErr := kv.decode(value)
		if err != nil || decodeErr != nil || !exists || kv.Version != 1 || kv.Lease != 0 || kv.CreateRevision != rev.Main {
			t.Fatalf("%x: %x is marked as a first version", key, value)
		}
	})
}
