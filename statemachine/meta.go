package statemachine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"raftkv/statemachine/engine"
	"raftkv/statemachine/keys"
	"raftkv/statemachine/mvcc"
)

// StateFormat is the version of the tables' encoding (invariant 10).
const StateFormat = 3

// Names of the records of the meta table.
const (
	metaFormat         = "format"          // state format, cluster id
	metaApplied        = "applied"         // progress
	metaConf           = "conf"            // ConfState
	metaClusterVersion = "cluster-version" // text, major.minor.patch
	metaDowngrade      = "downgrade"       // text, major.minor.patch; missing: none
	metaLeaseReads     = "lease-reads"     // text, a duration; missing: off
	metaSwept          = "swept"           // sweepRecord; the member's own
)

// progress is what every batch moves: one record, so that it costs one write.
type progress struct {
	index, term         uint64
	revision, compacted int64
	// hash is the rolling hash of effects up to index.
	hash uint64
	// written is the size of all records ever added to the key space.
	written int64
}

const progressLen = 6 * 8

func (p *progress) encode() []byte {
	b := make([]byte, 0, progressLen)
	for _, v := range []uint64{p.index, p.term, uint64(p.revision), uint64(p.compacted), p.hash, uint64(p.written)} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	return b
}

func decodeProgress(b []byte) (progress, error) {
	if len(b) != progressLen {
		return progress{}, fmt.Errorf("%w: record %q has %d bytes", ErrForeignState, metaApplied, len(b))
	}
	field := func(i int) uint64 { return binary.BigEndian.Uint64(b[8*i:]) }
	return progress{index: field(0), term: field(1), revision: int64(field(2)), compacted: int64(field(3)),
		hash: field(4), written: int64(field(5))}, nil
}

func encodeFormat(clusterID uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, StateFormat), clusterID)
}

func decodeFormat(b []byte) (clusterID uint64, err error) {
	if len(b) < 8 {
		return 0, fmt.Errorf("%w: record %q has %d bytes", ErrForeignState, metaFormat, len(b))
	}
	if format := binary.BigEndian.Uint64(b); format != StateFormat || len(b) != 16 {
		return 0, fmt.Errorf("%w: it has format %d, this binary knows format %d; use the binary that wrote it",
			ErrForeignState, format, StateFormat)
	}
	return binary.BigEndian.Uint64(b[8:]), nil
}

func setConf(b *engine.Batch, conf *raftpb.ConfState) error {
	data, err := proto.Marshal(conf)
	if err != nil {
		return fmt.Errorf("encoding ConfState: %w", err)
	}
	return b.Set(keys.Named(keys.Meta, metaConf), data)
}

func decodeConf(b []byte) (*raftpb.ConfState, error) {
	conf := &raftpb.ConfState{}
	if err := proto.Unmarshal(b, conf); err != nil {
		return nil, fmt.Errorf("%w: record %q: %w", ErrForeignState, metaConf, err)
	}
	return conf, nil
}

// scanTable calls visit with every record of a table; key and value are valid
// during the call.
func scanTable(db pebble.Reader, t keys.Table, durable bool, visit func(key, value []byte) error) error {
	lower, upper := keys.Bounds(t)
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper, OnlyReadGuaranteedDurable: durable})
	if err != nil {
		return fmt.Errorf("reading table %c: %w", t, err)
	}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		var value []byte
		if value, err = it.ValueAndErr(); err == nil {
			err = visit(it.Key(), value)
		}
	}
	if err := errors.Join(err, it.Error(), it.Close()); err != nil {
		return fmt.Errorf("reading table %c: %w", t, err)
	}
	return nil
}

// meta is the decoded meta table.
type meta struct {
	progress
	initialized    bool
	clusterID      uint64
	conf           *raftpb.ConfState
	clusterVersion Version
	downgrade      string        // target, "" for none
	leaseReads     time.Duration // 0: off
	sweepRecord    sweepRecord
}

// readMeta reads the meta table at one point of the database's history; with
// durable, the newest point that would survive a crash.
func readMeta(db pebble.Reader, durable bool) (meta, error) {
	m := meta{sweepRecord: sweepRecord{swept: mvcc.NeverCompacted, target: mvcc.NeverCompacted}}
	err := scanTable(db, keys.Meta, durable, func(key, value []byte) (err error) {
		switch name := string(key[1 : len(key)-1]); name {
		case metaFormat:
			m.initialized = true
			m.clusterID, err = decodeFormat(value)
		case metaApplied:
			m.progress, err = decodeProgress(value)
		case metaConf:
			m.conf, err = decodeConf(value)
		case metaClusterVersion:
			m.clusterVersion, err = decodeClusterVersion(value)
		case metaDowngrade:
			m.downgrade, err = decodeDowngrade(value)
		case metaLeaseReads:
			m.leaseReads, err = decodeLeaseReads(value)
		case metaSwept:
			m.sweepRecord, err = decodeSweepRecord(value)
		default:
			err = fmt.Errorf("%w: unknown record %q", ErrForeignState, name)
		}
		return err
	})
	if err == nil && m.initialized && (m.conf == nil || m.index == 0) {
		err = fmt.Errorf("%w: its meta table is incomplete", ErrForeignState)
	}
	return m, err
}

func (m *meta) snapshotMetadata() *raftpb.SnapshotMetadata {
	return &raftpb.SnapshotMetadata{Index: &m.index, Term: &m.term, ConfState: m.conf}
}
