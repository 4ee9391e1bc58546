package wal

import (
	"errors"
	"fmt"

	etcdwal "go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// scanner reads the segment files of one log, oldest first.
type scanner struct {
	visit func(Record) error
	// begun says that a file was read; crc is the checksum where it ended.
	begun bool
	crc   uint32
	// metadata are those of the first file.
	metadata []byte
}

// scanned is what the scan of a file leads to.
type scanned struct {
	// end is where its last good record ends.
	end int64
	// torn says that something was cut off there that a torn write may have
	// left; only in the last file.
	torn   bool
	reason string
}

// scan reads one file. Its errors are DamageErrors for damage, else those of
// visit.
func (s *scanner) scan(name string, file []byte, last bool) (scanned, error) {
	off, n := 0, 0
	damage := func(format string, args ...any) error {
		return &DamageError{File: name, Offset: int64(off), Reason: fmt.Errorf(format, args...)}
	}
	for ; ; n++ {
		f, verdict, reason := readFrame(file, off, s.crc)
		switch {
		case verdict == damaged:
			return scanned{}, damage("%s", reason)
		case verdict != whole && n < 2:
			// A segment is renamed into place once its head is durable.
			return scanned{}, damage("the head of the segment is missing")
		case verdict == torn && !last:
			return scanned{}, damage("%s, and it is not the last segment", reason)
		case verdict != whole && last && syncedBehind(file, max(f.end, off+lengthBytes), f.end-off > stateBytesMax):
			return scanned{}, damage("a record is missing before others that were written later")
		case verdict != whole:
			return scanned{end: int64(off), torn: verdict == torn, reason: reason}, nil
		}
		if err := s.record(f, n); err != nil {
			var rule *ruleError
			if errors.As(err, &rule) {
				err = damage("%w", err)
			}
			return scanned{}, err
		}
		off = f.end
	}
}

// record handles the nth record of a file.
func (s *scanner) record(f frame, n int) error {
	switch {
	case (n == 0) != (f.kind == etcdwal.CrcType) || (n == 1) != (f.kind == etcdwal.MetadataType):
		return broken("record %d of the segment is of type %d", n, f.kind)
	case f.kind == etcdwal.CrcType:
		// A segment that ends too early shows here, in its successor.
		if s.begun && f.crc != s.crc || f.data != nil {
			return broken("the segment does not continue the one before it")
		}
		s.begun, s.crc = true, f.crc
		return nil
	}
	s.crc = f.crc
	if f.kind == etcdwal.MetadataType && s.metadata != nil {
		if string(s.metadata) != string(f.data) {
			return broken("the segment has other metadata than the one before it")
		}
		return nil
	}
	record, err := decodeRecord(f)
	if err != nil {
		return err
	}
	if record.Metadata != nil {
		s.metadata = record.Metadata
	}
	return s.visit(record)
}

// decodeRecord decodes the data of a record, strictly: a field that the type
// does not have means that the type, which no checksum covers, is wrong.
func decodeRecord(f frame) (Record, error) {
	var record Record
	var err error
	switch f.kind {
	case etcdwal.MetadataType:
		record.Metadata = append([]byte{}, f.data...)
	case etcdwal.EntryType:
		record.Entry = &raftpb.Entry{}
		err = unmarshal(f.data, record.Entry)
		if t := record.Entry.GetType(); err == nil && (t < raftpb.EntryNormal || t > raftpb.EntryConfChangeV2) {
			err = broken("an entry is of unknown type %d", t)
		}
	case etcdwal.StateType:
		record.State = &raftpb.HardState{}
		err = unmarshal(f.data, record.State)
	case etcdwal.SnapshotType:
		snapshot := &walpb.Snapshot{}
		err = unmarshal(f.data, snapshot)
		record.Snapshot = &raftpb.SnapshotMetadata{Index: snapshot.Index, Term: snapshot.Term, ConfState: snapshot.ConfState}
	default:
		err = broken("a record is of unknown type %d", f.kind)
	}
	return record, err
}

func unmarshal(data []byte, m proto.Message) error {
	if err := proto.Unmarshal(data, m); err != nil {
		return broken("a record is not what its type says: %v", err)
	}
	if len(m.ProtoReflect().GetUnknown()) > 0 {
		return broken("a record has fields that its type does not have")
	}
	return nil
}
