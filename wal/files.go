package wal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	etcdwal "go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
)

// files are Segments in a directory, written by etcd's WAL package.
type files struct {
	dir     string
	logger  *zap.Logger
	observe func(time.Duration)
	// wantAside: to be synced by syncAside, with fdatasync if that is not nil.
	wantAside bool
	fdatasync func(*os.File) error

	// Between openFiles and Resume.

	// lock is the last segment, locked as etcd locks it: a process that has the
	// log open is writing what would look like a torn tail here.
	lock *fileutil.LockedFile
	// found are the segments that Replay read, and tail what it made of the last.
	found []segmentFile
	tail  scanned
	// unfinished is the name of a segment behind them that never came into use.
	unfinished string
	// holders has, for each snapshot record, the position in found of the last
	// segment that has it.
	holders map[entryID]int

	// From Resume or Create on.

	wal *etcdwal.WAL
	// aside syncs in the place of wal; nil: wal does.
	aside *syncAside
	// holds: a sync holds a processor. It may be asked for at any time.
	holds atomic.Bool
	// state is what wal compares the next hard state with.
	state *raftpb.HardState
	// names are the segments when they were last listed, unlisted roughly the
	// bytes written since.
	names    []segmentFile
	unlisted int64
}

// openFiles locks the log in opts.Dir for reading.
func openFiles(opts Options) (*files, error) {
	found, err := listSegments(opts.Dir)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("wal: %s: %w: it holds no log", opts.Dir, os.ErrNotExist)
	}
	last := filepath.Join(opts.Dir, found[len(found)-1].name)
	lock, err := fileutil.TryLockFile(last, os.O_RDWR, fileutil.PrivateFileMode)
	if errors.Is(err, fileutil.ErrLocked) {
		return nil, fmt.Errorf("%w: %s", ErrLocked, opts.Dir)
	}
	if err != nil {
		return nil, fmt.Errorf("wal: lock the last segment: %w", err)
	}
	return &files{
		dir: opts.Dir, logger: opts.Logger, observe: opts.ObserveFsync, wantAside: opts.SyncAside, fdatasync: opts.fdatasync,
		lock: lock, found: found, holders: map[entryID]int{},
	}, nil
}

// Replay reads the segments. It changes nothing.
func (f *files) Replay(visit func(Record) error) error {
	position := 0
	s := scanner{visit: func(r Record) error {
		if r.Snapshot != nil {
			f.holders[idOf(r.Snapshot)] = position
		}
		return visit(r)
	}}
	last, err := f.lastHead()
	if err != nil {
		return err
	}
	for i, segment := range f.found {
		position = i
		// Release makes the removal of each segment durable before the next, so
		// no crash leaves a hole in the numbers.
		if i > 0 && segment.seq != f.found[i-1].seq+1 {
			return &DamageError{File: filepath.Join(f.dir, segment.name), Reason: errors.New("the segment before it is missing")}
		}
		before := last.only && i == len(f.found)-2
		if err := f.scan(&s, segment, before || i == len(f.found)-1); err != nil {
			return err
		}
		if before && last.unfinished(f.tail, s.crc) {
			f.unfinished, f.found = f.found[i+1].name, f.found[:i+1]
			return nil
		}
	}
	return nil
}

// scan reads a segment. ends: a crash may have torn it.
func (f *files) scan(s *scanner, segment segmentFile, ends bool) error {
	path := filepath.Join(f.dir, segment.name)
	var scanning error
	err := withFile(path, func(content []byte) error {
		f.tail, scanning = s.scan(path, content, ends)
		return nil
	})
	if scanning != nil {
		return scanning
	}
	if err != nil {
		return fmt.Errorf("wal: read a segment: %w", err)
	}
	return nil
}

// lastHead reads the head of the last segment, if there is one before it.
func (f *files) lastHead() (h head, err error) {
	n := len(f.found)
	if n < 2 {
		return head{}, nil
	}
	err = withFile(filepath.Join(f.dir, f.found[n-1].name), func(content []byte) error {
		h = readHead(content)
		return nil
	})
	if err != nil {
		return head{}, fmt.Errorf("wal: read the last segment: %w", err)
	}
	return h, nil
}

// Resume repairs the tail and hands the files to etcd's WAL.
func (f *files) Resume(start *raftpb.SnapshotMetadata) error {
	if err := f.checkStart(idOf(start)); err != nil {
		return err
	}
	if err := f.removeUnfinished(); err != nil {
		return err
	}
	if err := errors.Join(f.repair(), f.syncFound()); err != nil {
		return err
	}
	// A process that was killed while it began a segment leaves a temporary file
	// with a head in it. etcd's WAL would take it for an empty one, and write a
	// possibly shorter head over it.
	if err := removeTemporary(f.dir); err != nil {
		return err
	}
	// And if it was killed between a rename and the fsync of a directory, the
	// entry of the last segment, or of the log itself, may not be durable yet.
	if err := errors.Join(syncDir(f.dir), syncDir(filepath.Dir(f.dir))); err != nil {
		return err
	}
	if err := f.unlock(); err != nil {
		return err
	}
	snapshot := snapshotRecord(start)
	w, err := etcdwal.Open(f.logger, f.dir, snapshot)
	if err != nil {
		if errors.Is(err, fileutil.ErrLocked) {
			return fmt.Errorf("%w: %s", ErrLocked, f.dir)
		}
		return fmt.Errorf("wal: open the segments: %w", err)
	}
	f.wal = w
	// ReadAll is needed to get to the end; replay has the entries.
	if _, _, _, err := w.ReadAll(); err != nil {
		return fmt.Errorf("wal: read the segments from snapshot record %d: %w", start.GetIndex(), err)
	}
	f.found, f.holders = nil, nil
	if err := f.list(); err != nil {
		return err
	}
	return f.takeOver()
}

// checkStart makes sure that etcd's WAL will find the snapshot record. It reads
// from the last segment whose name is not beyond the record, and when the record
// is not there, ReadAll in write mode reports no error and a log that starts
// nowhere.
func (f *files) checkStart(start entryID) error {
	holder, ok := f.holders[start]
	if !ok {
		return &DamageError{File: f.dir, Reason: fmt.Errorf("there is no snapshot record %d of term %d", start.index, start.term)}
	}
	for i := len(f.found) - 1; i >= 0; i-- {
		if f.found[i].index > start.index {
			continue
		}
		if i <= holder {
			return nil
		}
		break
	}
	return &DamageError{File: f.dir, Reason: fmt.Errorf("snapshot record %d lies in %s, where no reader looks for it",
		start.index, f.found[holder].name)}
}

// repair cuts off what a torn write left behind the last record. etcd's WAL does
// it only where the next length is zero, and does not sync it.
func (f *files) repair() error {
	if !f.tail.torn {
		return nil
	}
	f.logger.Warn("cutting off a torn write at the end of the log", zap.String("path", f.lock.Name()),
		zap.Int64("offset", f.tail.end), zap.String("reason", f.tail.reason))
	if err := f.lock.Truncate(f.tail.end); err != nil {
		return fmt.Errorf("wal: repair the tail: %w", err)
	}
	// The file may have ended inside a length; whole zeros must follow.
	if f.tail.end < etcdwal.SegmentSizeBytes {
		if err := fileutil.Preallocate(f.lock.File, etcdwal.SegmentSizeBytes, true); err != nil {
			return fmt.Errorf("wal: repair the tail: %w", err)
		}
	}
	if err := fileutil.Fsync(f.lock.File); err != nil {
		return fmt.Errorf("wal: repair the tail: %w", err)
	}
	return nil
}

func (f *files) unlock() error {
	if f.lock == nil {
		return nil
	}
	lock := f.lock
	f.lock = nil
	if err := lock.Close(); err != nil {
		return fmt.Errorf("wal: unlock the last segment: %w", err)
	}
	return nil
}

// Save writes entries, then hs.
func (f *files) Save(hs *raftpb.HardState, entries []*raftpb.Entry) error {
	bytesMax := recordBytesMax(proto.Size(hs))
	for _, e := range entries {
		bytesMax += recordBytesMax(proto.Size(e))
	}
	f.unlisted += bytesMax
	durable := raft.MustSync(hs, f.state, len(entries))
	f.state = hs
	begin := time.Now()
	if err := f.wal.Save(hs, entries); err != nil {
		return err
	}
	return f.written(begin, bytesMax, durable)
}

// SaveSnapshot writes a snapshot record and syncs.
func (f *files) SaveSnapshot(meta *raftpb.SnapshotMetadata) error {
	begin, record := time.Now(), snapshotRecord(meta)
	if err := f.wal.SaveSnapshot(record); err != nil {
		return err
	}
	return f.written(begin, recordBytesMax(proto.Size(record)), true)
}

// Sync syncs what was saved.
func (f *files) Sync() error {
	begin := time.Now()
	if err := f.wal.Sync(); err != nil {
		return err
	}
	return f.written(begin, 0, true)
}

// Close releases files and locks.
func (f *files) Close() error {
	if f.wal == nil {
		return f.unlock()
	}
	var err error
	if f.aside != nil {
		err = errors.Join(f.Sync(), f.aside.close()) // before others may lock the log
	}
	err = errors.Join(err, f.wal.Close())
	f.wal, f.aside = nil, nil
	if err != nil {
		return fmt.Errorf("wal: close the segments: %w", err)
	}
	return nil
}

func snapshotRecord(meta *raftpb.SnapshotMetadata) *walpb.Snapshot {
	return &walpb.Snapshot{Index: new(meta.GetIndex()), Term: new(meta.GetTerm()), ConfState: meta.GetConfState()}
}
