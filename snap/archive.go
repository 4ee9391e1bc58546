package snap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sort"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// An archive is
//
//	8 bytes   "rkvsnap" and the format version
//	4 bytes   length of the manifest, big-endian
//	n bytes   the manifest
//	...       the files' contents in the manifest's order, nothing between
//
// Position and content follow from the manifest alone, so an offset means the
// same for every reader of one snapshot: a receiver may ask for any ranges, in
// any order, over any number of connections.
const (
	archiveMagic       = "rkvsnap\x01"
	archivePrefixBytes = len(archiveMagic) + 4
)

func archiveBytes(manifestBytes int, files []file) int64 {
	n := int64(archivePrefixBytes) + int64(manifestBytes)
	for _, f := range files {
		n += f.sizeBytes
	}
	return n
}

// archiveStarts returns where each file begins in the archive.
func archiveStarts(manifestBytes int, files []file) []int64 {
	starts := make([]int64, len(files))
	next := int64(archivePrefixBytes) + int64(manifestBytes)
	for i, f := range files {
		starts[i] = next
		next += f.sizeBytes
	}
	return starts
}

// archiveReader reads a checkpoint as an archive. It checks files that are read
// from their start against their checksums, so that one that rotted here is
// blamed here.
type archiveReader struct {
	fs      vfs.FS
	c       *checkpoint
	release func(damaged bool) error

	head     []byte // prefix and manifest
	starts   []int64
	position int64
	// The open file: its number, how much of it was read, and the checksum of
	// that if it was read from the start.
	open     vfs.File
	number   int
	offset   int64
	checksum uint32
	whole    bool

	damaged bool // the files are not what the manifest says
	err     error
}

func newArchiveReader(fs vfs.FS, c *checkpoint, release func(damaged bool) error) *archiveReader {
	head := append([]byte(archiveMagic), 0, 0, 0, 0)
	binary.BigEndian.PutUint32(head[len(archiveMagic):], uint32(len(c.encoded)))
	return &archiveReader{
		fs: fs, c: c, release: release, head: append(head, c.encoded...),
		starts: archiveStarts(len(c.encoded), c.manifest.files),
	}
}

// Seek implements io.Seeker, from the start only.
func (r *archiveReader) Seek(offset int64, whence int) (int64, error) {
	switch {
	case r.err != nil:
		return 0, r.err
	case whence != io.SeekStart || offset < 0 || offset > r.c.sizeBytes:
		return 0, fmt.Errorf("seek to %d of an archive of %d bytes", offset, r.c.sizeBytes)
	case offset == r.position:
		return offset, nil
	}
	if err := r.closeFile(); err != nil {
		return 0, r.fail(err)
	}
	r.position = offset
	return offset, nil
}

// Read implements io.Reader.
func (r *archiveReader) Read(p []byte) (int, error) {
	switch {
	case r.err != nil:
		return 0, r.err
	case len(p) == 0:
		return 0, nil
	case r.position < int64(len(r.head)):
		n := copy(p, r.head[r.position:])
		r.position += int64(n)
		return n, nil
	case r.position == r.c.sizeBytes:
		return 0, io.EOF
	}
	if r.open == nil {
		if err := r.openFile(); err != nil {
			return 0, r.fail(err)
		}
	}
	f := r.c.manifest.files[r.number]
	n, err := r.open.ReadAt(p[:min(int64(len(p)), f.sizeBytes-r.offset)], r.offset)
	r.position += int64(n)
	r.offset += int64(n)
	r.checksum = crc32.Update(r.checksum, crc32.MakeTable(crc32.Castagnoli), p[:n])
	if r.offset == f.sizeBytes {
		err = r.finishFile()
	} else if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return n, r.fail(fmt.Errorf("read snapshot file %s: %w", f.name, err))
	}
	return n, nil
}

// openFile opens the file that has the position; empty ones have none.
func (r *archiveReader) openFile() error {
	files := r.c.manifest.files
	r.number = sort.Search(len(files), func(i int) bool { return r.starts[i]+files[i].sizeBytes > r.position })
	open, err := r.fs.Open(r.fs.PathJoin(r.c.dir, files[r.number].name), vfs.SequentialReadsOption)
	if err != nil {
		return fmt.Errorf("open snapshot file: %w", err)
	}
	r.open, r.offset, r.checksum = open, r.position-r.starts[r.number], 0
	r.whole = r.offset == 0
	return nil
}

func (r *archiveReader) finishFile() error {
	if err := r.closeFile(); err != nil {
		return err
	}
	if r.whole && r.checksum != r.c.manifest.files[r.number].checksum {
		return fmt.Errorf("%w: it changed on this member's disk since the checkpoint", ErrCorrupt)
	}
	return nil
}

func (r *archiveReader) closeFile() error {
	if r.open == nil {
		return nil
	}
	err := r.open.Close()
	r.open = nil
	return err
}

func (r *archiveReader) fail(err error) error {
	r.err, r.damaged = err, true
	return err
}

// Close implements io.Closer. It must be called once.
func (r *archiveReader) Close() error {
	err := r.closeFile()
	r.err = ErrClosed
	return errors.Join(err, r.release(r.damaged))
}
