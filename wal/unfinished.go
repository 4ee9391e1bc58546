package wal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	etcdwal "go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"
)

// headBytesMax is more than the head of a segment takes: a checksum, the
// metadata and a hard state. It is one sector, so that a crash leaves all of the
// head or nothing.
const headBytesMax = sectorBytes

// head is what is at the beginning of the last segment.
type head struct {
	// only says that the segment holds its head or nothing: it was begun and
	// perhaps never used.
	only bool
	// whole says that the head is there; it continues a segment that ends with
	// checksum crc.
	whole bool
	crc   uint32
}

// readHead looks at the beginning of the last segment. What is wrong there is
// found by the scan.
func readHead(file []byte) head {
	var h head
	off, crc := 0, uint32(0)
	for n := 0; ; n++ {
		f, verdict, _ := readFrame(file, off, crc)
		if verdict != whole {
			break
		}
		switch {
		case n == 0 && f.kind == etcdwal.CrcType:
			h.crc = f.crc
		case n == 1 && f.kind == etcdwal.MetadataType:
			h.whole = true
		case n == 2 && f.kind == etcdwal.StateType:
		default:
			return head{}
		}
		off, crc = f.end, f.crc
	}
	// A file is allocated before it is renamed, so an empty one has lost what it had.
	h.only = off <= headBytesMax && (h.whole || off == 0) && len(file) > 0 && allZero(file[off:])
	return h
}

// unfinished says whether the last segment was begun by a write that was not
// acknowledged: it holds nothing of its own, and it does not continue what is
// left of the segment before it, which ended so and with this checksum. What looks
// torn there is cut off then, as it is at the end of the last segment.
func (h head) unfinished(before scanned, crc uint32) bool {
	return before.torn || !h.whole || h.crc != crc
}

// removeUnfinished makes the segment before an unfinished one the last. The lock
// goes over to it.
func (f *files) removeUnfinished() error {
	if f.unfinished == "" {
		return nil
	}
	path := filepath.Join(f.dir, f.unfinished)
	f.logger.Warn("removing a segment that was begun by a write that did not end", zap.String("path", path))
	last, err := fileutil.TryLockFile(filepath.Join(f.dir, f.found[len(f.found)-1].name), os.O_RDWR, fileutil.PrivateFileMode)
	if errors.Is(err, fileutil.ErrLocked) {
		return fmt.Errorf("%w: %s", ErrLocked, f.dir)
	}
	if err != nil {
		return fmt.Errorf("wal: lock the segment before an unfinished one: %w", err)
	}
	unfinished := f.lock
	f.lock = last
	err = os.Remove(path)
	if err == nil {
		err = syncDir(f.dir)
	}
	if err := errors.Join(err, unfinished.Close()); err != nil {
		return fmt.Errorf("wal: remove an unfinished segment: %w", err)
	}
	f.unfinished = ""
	return nil
}

// syncFound makes what Replay has read durable, before anything is written
// behind it. A process that was killed in the middle of a write leaves it in the page
// cache alone: in the last segment, or, if it began that one, in the one before,
// which nothing would sync any more.
func (f *files) syncFound() error {
	fdatasync := f.fdatasync
	if fdatasync == nil {
		fdatasync = fileutil.Fdatasync
	}
	for _, segment := range f.found[max(0, len(f.found)-2):] {
		file, err := openToSync(f.dir, segment)
		if err != nil {
			return fmt.Errorf("wal: %w", err)
		}
		if err := errors.Join(fdatasync(file), file.Close()); err != nil {
			return fmt.Errorf("wal: sync what was found: %w", err)
		}
	}
	return nil
}
