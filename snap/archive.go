package snap

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

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
// same for every reader of one snapshot.
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

// archiveReader reads a checkpoint as an archive. It checks what it reads
// against the checksums, so that a file that rotted here is blamed here.
type archiveReader struct {
	fs      vfs.FS
	c       *checkpoint
	release func() error

	head     []byte // what is still to be read of prefix and manifest
	next     int    // of the files
	open     vfs.File
	left     int64 // of the open file
	checksum uint32
	err      error
}

func newArchiveReader(fs vfs.FS, c *checkpoint, release func() error) *archiveReader {
	head := append([]byte(archiveMagic), 0, 0, 0, 0)
	binary.BigEndian.PutUint32(head[len(archiveMagic):], uint32(len(c.encoded)))
	return &archiveReader{fs: fs, c: c, release: release, head: append(head, c.encoded...)}
}

// Read implements io.Reader.
func (r *archiveReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for r.err == nil {
		if len(r.head) > 0 {
			n := copy(p, r.head)
			r.head = r.head[n:]
			return n, nil
		}
		if r.open == nil {
			r.err = r.openNext()
			continue
		}
		if r.left == 0 {
			r.err = r.finishFile()
			continue
		}
		n, err := r.open.Read(p[:min(int64(len(p)), r.left)])
		r.left -= int64(n)
		r.checksum = crc32.Update(r.checksum, crc32.MakeTable(crc32.Castagnoli), p[:n])
		if err == io.EOF && r.left > 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil && err != io.EOF {
			r.err = fmt.Errorf("read snapshot file %s: %w", r.c.manifest.files[r.next].name, err)
		}
		if n > 0 {
			return n, nil
		}
	}
	return 0, r.err
}

func (r *archiveReader) openNext() error {
	if r.next == len(r.c.manifest.files) {
		return io.EOF
	}
	f := r.c.manifest.files[r.next]
	open, err := r.fs.Open(r.fs.PathJoin(r.c.dir, f.name), vfs.SequentialReadsOption)
	if err != nil {
		return fmt.Errorf("open snapshot file: %w", err)
	}
	r.open, r.left, r.checksum = open, f.sizeBytes, 0
	return nil
}

func (r *archiveReader) finishFile() error {
	f := r.c.manifest.files[r.next]
	err := r.open.Close()
	r.open = nil
	r.next++
	if err != nil {
		return fmt.Errorf("close snapshot file %s: %w", f.name, err)
	}
	if r.checksum != f.checksum {
		return fmt.Errorf("%w: file %s changed on this member's disk since the checkpoint", ErrCorrupt, f.name)
	}
	return nil
}

// Close implements io.Closer. It must be called once.
func (r *archiveReader) Close() error {
	var err error
	if r.open != nil {
		err = r.open.Close()
		r.open = nil
	}
	r.err = ErrClosed
	if releaseErr := r.release(); err == nil {
		err = releaseErr
	}
	return err
}
