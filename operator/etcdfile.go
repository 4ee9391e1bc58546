package operator

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/coreos/go-semver/semver"
	"go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/server/v3/lease/leasepb"
	"google.golang.org/protobuf/proto"

	"raftkv/statemachine"
	"raftkv/statemachine/keys"
	"raftkv/statemachine/mvcc"
)

// Buckets of etcd's database, and names in its bucket of meta data.
const (
	bucketKeys   = "key"
	bucketLeases = "lease"
	bucketMeta   = "meta"
	bucketAlarms = "alarm"

	metaScheduledCompact = "scheduledCompactRev"
	metaFinishedCompact  = "finishedCompactRev"
	metaStorageVersion   = "storageVersion"
)

// authBuckets are kept as they are.
func authBuckets() []string { return []string{"auth", "authUsers", "authRoles"} }

// ErrNotEtcd means that a database is not one of an etcd that can be imported.
var ErrNotEtcd = errors.New("not a database of etcd 3.5 to 3.7")

// etcdFile is an open database of etcd, in one transaction.
type etcdFile struct {
	db *bbolt.DB
	tx *bbolt.Tx
}

// openEtcd opens a snapshot of etcd whose trailer matches, or with skipHash a
// bare database, which is checked page by page then.
func openEtcd(path string, skipHash bool) (f *etcdFile, err error) {
	switch {
	case !isBbolt(path):
		return nil, fmt.Errorf("%s: %w: it does not begin like one", path, ErrNotEtcd)
	case !skipHash:
		if err := checkTrailer(path); err != nil {
			return nil, fmt.Errorf("%w; a copy of a stopped member's member/snap/db has no such trailer: use --skip-hash-check for it", err)
		}
	}
	defer func() {
		// bbolt panics on pages that it cannot make sense of.
		if r := recover(); r != nil {
			f, err = nil, fmt.Errorf("%s: %w: it is damaged: %v", path, ErrNotEtcd, r)
		}
	}()
	db, err := bbolt.Open(path, 0o400, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", path, ErrNotEtcd, err)
	}
	f = &etcdFile{db: db}
	if f.tx, err = db.Begin(false); err == nil {
		err = f.check(skipHash)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.close())
	}
	return f, nil
}

func (f *etcdFile) close() error {
	var err error
	if f.tx != nil {
		err = f.tx.Rollback()
	}
	return errors.Join(err, f.db.Close())
}

func (f *etcdFile) check(pages bool) error {
	if pages {
		var first error
		for err := range f.tx.Check() {
			if first == nil {
				first = err
			}
		}
		if first != nil {
			return fmt.Errorf("%w: it is damaged: %w", ErrNotEtcd, first)
		}
	}
	for _, name := range []string{bucketKeys, bucketLeases, bucketMeta} {
		if f.tx.Bucket([]byte(name)) == nil {
			return fmt.Errorf("%w: it has no bucket %q", ErrNotEtcd, name)
		}
	}
	// Only 3.6 and later say which they are.
	if text := f.tx.Bucket([]byte(bucketMeta)).Get([]byte(metaStorageVersion)); text != nil {
		v, err := semver.NewVersion(string(text))
		if err != nil || v.Major != 3 || v.Minor > 7 {
			return fmt.Errorf("%w: its storage version is %q", ErrNotEtcd, text)
		}
	}
	return nil
}

// compaction returns up to where versions are unreadable and up to where etcd
// has removed them.
func (f *etcdFile) compaction() (compacted, swept int64, err error) {
	read := func(name string) (int64, error) {
		b := f.tx.Bucket([]byte(bucketMeta)).Get([]byte(name))
		if b == nil {
			return mvcc.NeverCompacted, nil
		}
		rev, _, err := decodeEtcdRevision(b)
		return rev.Main, err
	}
	if swept, err = read(metaFinishedCompact); err != nil {
		return 0, 0, err
	}
	scheduled, err := read(metaScheduledCompact)
	return max(swept, scheduled), swept, err
}

// decodeEtcdRevision reads main, '_', sub and, for a tombstone, 't'.
func decodeEtcdRevision(b []byte) (rev keys.Revision, tombstone bool, err error) {
	if len(b) != 17 && (len(b) != 18 || b[17] != 't') || b[8] != '_' {
		return rev, false, fmt.Errorf("%w: %x is no revision", ErrNotEtcd, b)
	}
	main, sub := binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[9:])
	if main > math.MaxInt64 || sub > math.MaxUint32 {
		return rev, false, fmt.Errorf("%w: revision %d.%d is too large", ErrNotEtcd, main, sub)
	}
	return keys.Revision{Main: int64(main), Sub: uint32(sub)}, len(b) == 18, nil
}

// checkEvery is how many records are read between two looks at the context.
const checkEvery = 10_000

// each calls visit with every record of a bucket, in order; one that does not
// exist has none.
func (f *etcdFile) each(ctx context.Context, bucket string, visit func(k, v []byte) error) error {
	b := f.tx.Bucket([]byte(bucket))
	if b == nil {
		return nil
	}
	n := 0
	return b.ForEach(func(k, v []byte) error {
		if n++; n%checkEvery == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return visit(k, v)
	})
}

// versions hands over the history of the key space. Records without a key are
// those by which etcdutl's restore raises the revision.
func (f *etcdFile) versions(ctx context.Context, im *statemachine.Importer) (versions, newest int64, err error) {
	var record mvccpb.KeyValue
	err = f.each(ctx, bucketKeys, func(k, v []byte) error {
		rev, tombstone, err := decodeEtcdRevision(k)
		if err != nil {
			return err
		}
		proto.Reset(&record)
		if err := proto.Unmarshal(v, &record); err != nil {
			return fmt.Errorf("%w: record of revision %d.%d: %w", ErrNotEtcd, rev.Main, rev.Sub, err)
		}
		newest = max(newest, rev.Main)
		if len(record.GetKey()) == 0 {
			return nil
		}
		versions++
		return im.Version(&statemachine.ImportedVersion{Tombstone: tombstone, KeyValue: mvcc.KeyValue{
			Key: record.GetKey(), Value: record.GetValue(), Revision: rev,
			CreateRevision: record.GetCreateRevision(), Version: record.GetVersion(), Lease: record.GetLease(),
		}})
	})
	return versions, newest, err
}

func (f *etcdFile) leases(ctx context.Context, im *statemachine.Importer) error {
	return f.each(ctx, bucketLeases, func(_, v []byte) error {
		var l leasepb.Lease
		if err := proto.Unmarshal(v, &l); err != nil {
			return fmt.Errorf("%w: a lease: %w", ErrNotEtcd, err)
		}
		return im.Lease(statemachine.Lease{ID: l.GetID(), TTLSeconds: l.GetTTL(), RemainingSeconds: l.GetRemainingTTL()})
	})
}

func (f *etcdFile) auth(ctx context.Context, im *statemachine.Importer) (records int, err error) {
	for _, bucket := range authBuckets() {
		err = errors.Join(err, f.each(ctx, bucket, func(k, v []byte) error {
			records++
			return im.Auth(bucket, k, v)
		}))
	}
	return records, err
}
