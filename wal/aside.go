package wal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	etcdwal "go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"
	"google.golang.org/protobuf/encoding/protowire"

	"raftkv/wal/ring"
)

// syncAside makes what etcd's WAL has written durable in its place, so that no
// processor is held while the disk works (package ring). etcd's WAL is then told
// not to sync; it still writes, in the same order.
//
// One order is not kept: a segment is renamed into place before its head, and
// before the last write of the segment before it, are durable. Both are durable
// before that write is acknowledged; what a crash may leave instead is found by
// recovery (unfinished.go).
type syncAside struct {
	dir string
	// fdatasync and broken are the ring's, or a test's.
	fdatasync func(*os.File) error
	broken    func() error
	ring      *ring.Ring
	// file is the last segment, number seq, opened by us: that of etcd's WAL
	// cannot be reached.
	file *os.File
	seq  uint64
	// bytesMax is at least what file holds. A segment is ended when it is full,
	// so one that cannot be is the last one still.
	bytesMax int64
	// failed is the first error, final: what is on disk is not known.
	failed error
}

// slowSync is when etcd warns of a slow disk, in the same words.
const slowSync = time.Second

// recordBytesMax is what a record with so many bytes of data takes in a segment,
// at most: its length, its type, a checksum of any size, the data and the padding.
func recordBytesMax(data int) int64 {
	const kind, checksum = 2, 6
	return lengthBytes + int64(kind+checksum+protowire.SizeTag(3)+protowire.SizeBytes(data)+7)&^7
}

// newSyncAside begins to sync the last of segments, which holds bytesMax at most.
// The caller tells etcd's WAL that it need not.
func newSyncAside(dir string, segments []segmentFile, bytesMax int64, fdatasync func(*os.File) error) (*syncAside, error) {
	s := &syncAside{dir: dir, fdatasync: fdatasync, broken: func() error { return nil }, bytesMax: bytesMax}
	if fdatasync == nil {
		r, err := ring.New()
		if err != nil {
			return nil, err
		}
		s.ring, s.fdatasync, s.broken = r, r.Fdatasync, r.Broken
	}
	if err := s.turnTo(segments[len(segments)-1]); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// turnTo makes a segment the one to sync, and the one before it durable.
func (s *syncAside) turnTo(segment segmentFile) error {
	file, err := openToSync(s.dir, segment)
	if err != nil {
		return err
	}
	ended := s.file
	s.file, s.seq = file, segment.seq
	if ended == nil {
		return nil
	}
	if err := errors.Join(s.fdatasync(ended), ended.Close()); err != nil {
		return fmt.Errorf("sync a segment that has ended: %w", err)
	}
	return nil
}

func openToSync(dir string, segment segmentFile) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(dir, segment.name), os.O_RDWR, 0) // some file systems sync only what may be written
	if err != nil {
		return nil, fmt.Errorf("open a segment to sync it: %w", err)
	}
	return file, nil
}

// wrote has to follow each write, of at most so many bytes, and makes it durable
// if that is wanted. One that has begun a segment is made durable anyway, since
// recovery takes only the last segment for unfinished; durable says so.
func (s *syncAside) wrote(bytesMax int64, wanted bool) (durable bool, err error) {
	if s.failed != nil {
		return false, s.failed
	}
	began, err := s.follow(bytesMax)
	durable = wanted || began
	if err == nil && durable {
		err = s.fdatasync(s.file)
	}
	s.failed = err
	return durable, err
}

// follow turns to a segment that the last write may have begun.
func (s *syncAside) follow(bytesMax int64) (began bool, err error) {
	if s.bytesMax += bytesMax; s.bytesMax < etcdwal.SegmentSizeBytes {
		return false, nil
	}
	segments, err := listSegments(s.dir)
	if err != nil {
		return false, err
	}
	for _, segment := range segments {
		if segment.seq <= s.seq {
			continue
		}
		if err := s.turnTo(segment); err != nil {
			return false, err
		}
		s.bytesMax, began = headBytesMax, true
	}
	return began, nil
}

// close syncs nothing.
func (s *syncAside) close() error {
	var errs []error
	if s.file != nil {
		errs = append(errs, s.file.Close())
		s.file = nil
	}
	if s.ring != nil {
		errs = append(errs, s.ring.Close())
	}
	return errors.Join(errs...)
}

// takeOver has the segments synced aside, where that is wanted and possible.
func (f *files) takeOver() error {
	f.holds.Store(true)
	if !f.wantAside && f.fdatasync == nil {
		return nil
	}
	aside, err := newSyncAside(f.dir, f.names, f.tail.end, f.fdatasync)
	if err != nil {
		f.logger.Info("the log is synced by a system call that holds a processor", zap.String("reason", err.Error()))
		return nil
	}
	f.wal.SetUnsafeNoFsync()
	f.aside = aside
	f.holds.Store(false)
	return nil
}

// noteBroken looks, after each sync, whether the ring still makes them.
func (f *files) noteBroken() {
	why := f.aside.broken()
	if why == nil || f.holds.Load() {
		return
	}
	f.holds.Store(true)
	f.logger.Warn("io_uring failed: from now on the log is synced by a system call that holds a processor", zap.String("reason", why.Error()))
}

// written ends a write of at most so many bytes: durable says whether it was to
// be synced, and by etcd's WAL was.
func (f *files) written(begin time.Time, bytesMax int64, durable bool) (err error) {
	if f.aside != nil {
		if durable, err = f.aside.wrote(bytesMax, durable); err != nil {
			return err
		}
		f.noteBroken()
	}
	if !durable {
		return nil
	}
	took := time.Since(begin)
	if f.aside != nil && took > slowSync {
		f.logger.Warn("slow fdatasync", zap.Duration("took", took), zap.Duration("expected-duration", slowSync))
	}
	f.observe(took)
	return nil
}
