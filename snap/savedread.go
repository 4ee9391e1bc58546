package snap

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Saved is an open snapshot file whose every byte was verified.
type Saved struct {
	SavedHeader
	// SizeBytes is the length of the file, SHA256 its trailer.
	SizeBytes int64
	SHA256    [sha256.Size]byte

	file   *os.File
	starts []int64 // where the files' contents begin
}

// OpenSaved opens a snapshot file and reads all of it to verify it; progress,
// if not nil, is told how many bytes were read.
func OpenSaved(ctx context.Context, path string, progress func(bytes int64)) (*Saved, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	s, err := openSaved(ctx, f, progress)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return s, nil
}

func openSaved(ctx context.Context, f *os.File, progress func(int64)) (*Saved, error) {
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%w: it is no regular file", ErrForeignFile)
	}
	s := &Saved{file: f, SizeBytes: info.Size()}
	v := &verifier{digest: sha256.New(), ctx: ctx, progress: progress}
	v.r = bufio.NewReaderSize(f, copyBytes)
	var l layout
	if s.SavedHeader, l, err = readSavedHeader(v); err != nil {
		return nil, err
	}
	if s.SizeBytes != l.end {
		return nil, fmt.Errorf("%w: it has %d bytes, its header says %d; it was cut short, or something was appended", ErrCorrupt, s.SizeBytes, l.end)
	}
	if s.files, err = v.contents(s.files); err != nil {
		return nil, err
	}
	if s.SHA256, err = v.rest(l); err != nil {
		return nil, err
	}
	at := l.contents
	for _, f := range s.files {
		s.starts = append(s.starts, at)
		at += f.sizeBytes
	}
	return s, nil
}

// verifier reads a snapshot file once, from its beginning to its end.
type verifier struct {
	r         io.Reader
	digest    hash.Hash
	ctx       context.Context
	progress  func(int64)
	read      int64
	checksums []byte // as computed
}

// Read implements io.Reader: what is read is hashed.
func (v *verifier) Read(p []byte) (int, error) {
	if err := context.Cause(v.ctx); err != nil {
		return 0, err
	}
	n, err := v.r.Read(p)
	v.digest.Write(p[:n])
	v.read += int64(n)
	if v.progress != nil {
		v.progress(v.read)
	}
	return n, err
}

// contents returns the files with the checksums of their contents.
func (v *verifier) contents(files []file) ([]file, error) {
	buf := make([]byte, copyBytes)
	for i := range files {
		sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
		if _, err := io.CopyBuffer(sum, io.LimitReader(v, files[i].sizeBytes), buf); err != nil {
			return nil, fmt.Errorf("read %s: %w", files[i].name, err)
		}
		files[i].checksum = sum.Sum32()
		v.checksums = binary.BigEndian.AppendUint32(v.checksums, files[i].checksum)
	}
	for i := range files {
		stored := make([]byte, crcBytes)
		if _, err := io.ReadFull(v, stored); err != nil {
			return nil, fmt.Errorf("read the checksums: %w", err)
		}
		if binary.BigEndian.Uint32(stored) != files[i].checksum {
			return nil, fmt.Errorf("%w: %s in it does not match its checksum", ErrCorrupt, files[i].name)
		}
	}
	return files, nil
}

// rest verifies padding and trailer.
func (v *verifier) rest(l layout) (sum [sha256.Size]byte, err error) {
	padding := make([]byte, l.trailer-v.read)
	if _, err := io.ReadFull(v, padding); err != nil {
		return sum, fmt.Errorf("read the padding: %w", err)
	}
	want := v.digest.Sum(nil)
	if _, err := io.ReadFull(v, sum[:]); err != nil {
		return sum, fmt.Errorf("read the trailer: %w", err)
	}
	if !bytes.Equal(want, sum[:]) {
		return sum, fmt.Errorf("%w: it does not match its SHA-256 trailer", ErrCorrupt)
	}
	return sum, nil
}

// Close closes the file.
func (s *Saved) Close() error { return s.file.Close() }

// Extract writes the files into dir, which must not exist, and makes them
// durable. What is read is checked once more.
func (s *Saved) Extract(ctx context.Context, fs vfs.FS, dir string) error {
	w := newTreeWriter(fs, dir)
	if err := w.mkdir(""); err != nil {
		return err
	}
	buf := make([]byte, copyBytes)
	for i, f := range s.files {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := w.write(f, s.section(i), buf); err != nil {
			return err
		}
	}
	if err := w.sync(); err != nil {
		return err
	}
	return syncDir(fs, fs.PathDir(dir))
}

func (s *Saved) section(i int) *io.SectionReader {
	return io.NewSectionReader(s.file, s.starts[i], s.files[i].sizeBytes)
}

// savedDir is the directory of the file system that FS returns.
const savedDir = "saved"

// FS returns the files as a directory of a file system of their own, which can
// only be read: a database can be opened in it without unpacking anything.
func (s *Saved) FS() (fs vfs.FS, dir string, err error) {
	mem := vfs.NewMem()
	if err := mem.MkdirAll(savedDir, 0o700); err != nil {
		return nil, "", err
	}
	// What is opened for reading creates a lock file, and nothing else.
	return &savedFS{FS: mem, saved: s}, savedDir, nil
}
