package snap

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/time/rate"
)

// Checkpointer makes a copy of the state in dir, which does not exist yet, and
// describes exactly that copy. It may run beside Apply.
type Checkpointer func(dir string) (SavedHeader, error)

// savesMax bounds the snapshot files that are being written at a time: each
// keeps a checkpoint, and with it disk space that compactions cannot give back.
const savesMax = 2

// ErrTooManySaves means that as many snapshot files are being written as the
// store allows.
var ErrTooManySaves = errors.New("too many snapshots are being saved")

// Save takes a checkpoint now and returns it as a snapshot file, which is made
// while it is read, at the given pace, which others may share (nil: as fast as it
// goes). The checkpoint goes when the file is closed. ctx bounds pauses.
func (s *Store) Save(ctx context.Context, take Checkpointer, pace *rate.Limiter) (*SavedReader, error) {
	dir, err := s.beginSave()
	if err != nil {
		return nil, err
	}
	release := func() error {
		defer s.making.Done()
		err := s.removeDirs(dir)
		s.mu.Lock()
		s.mu.saves--
		s.mu.Unlock()
		return err
	}
	h, err := take(dir)
	if err == nil {
		h.files, err = listFiles(s.opts.FS, dir)
	}
	if err == nil {
		files := manifest{files: h.files}
		err = files.check()
	}
	if err != nil {
		return nil, fmt.Errorf("take a snapshot to save: %w", errors.Join(err, release()))
	}
	return newSavedReader(ctx, s.opts.FS, dir, h, pace, release), nil
}

func (s *Store) beginSave() (dir string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.mu.closed:
		return "", ErrClosed
	case s.mu.saves == savesMax:
		return "", fmt.Errorf("%w: %d", ErrTooManySaves, savesMax)
	}
	s.mu.saves++
	s.making.Add(1)
	return s.dirLocked("save"), nil
}

// listFiles lists the files in dir, a flat one, with their sizes.
func listFiles(fs vfs.FS, dir string) ([]file, error) {
	names, err := fs.List(dir)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", dir, err)
	}
	var files []file
	for _, name := range names {
		info, err := fs.Stat(fs.PathJoin(dir, name))
		switch {
		case err != nil:
			return nil, fmt.Errorf("describe snapshot file: %w", err)
		case info.IsDir():
			return nil, fmt.Errorf("describe snapshot file: %s is a directory", name)
		}
		files = append(files, file{name: name, sizeBytes: info.Size()})
	}
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.name, b.name) })
	return files, nil
}

// SavedReader reads a checkpoint as a snapshot file. It holds one piece of it in
// memory at most. It belongs to one goroutine.
type SavedReader struct {
	ctx     context.Context
	fs      vfs.FS
	dir     string
	header  SavedHeader
	layout  layout
	limit   *rate.Limiter // nil: none
	release func() error

	digest    hash.Hash
	pending   []byte // what is to be read before the next file
	next      int    // of the files
	open      vfs.File
	left      int64 // of the open file
	checksum  uint32
	checksums []byte
	ended     bool // pending is the last
	err       error
}

func newSavedReader(ctx context.Context, fs vfs.FS, dir string, h SavedHeader, pace *rate.Limiter, release func() error) *SavedReader {
	head := h.head()
	r := &SavedReader{ctx: ctx, fs: fs, dir: dir, header: h, limit: pace, release: release, digest: sha256.New(), pending: head}
	r.layout = h.layout(len(head) - savedPrefixBytes)
	return r
}

// Header is what the file says of itself.
func (r *SavedReader) Header() SavedHeader { return r.header }

// SizeBytes is the length of the whole file.
func (r *SavedReader) SizeBytes() int64 { return r.layout.end }

// TrailerBytes is the length of the checksum at its end.
func (r *SavedReader) TrailerBytes() int64 { return sha256.Size }

// Read implements io.Reader.
func (r *SavedReader) Read(p []byte) (n int, err error) {
	if len(p) == 0 || r.err != nil {
		return 0, r.err
	}
	if r.limit != nil {
		p = p[:min(len(p), r.limit.Burst())] // what may be read between two pauses
	}
	for n == 0 && r.err == nil {
		n, r.err = r.step(p)
	}
	if n > 0 && r.err == nil && r.limit != nil {
		r.err = r.limit.WaitN(r.ctx, n)
	}
	if r.err != nil && r.err != io.EOF {
		return 0, r.err
	}
	return n, r.err
}

// step reads something into p, or gets closer to it.
func (r *SavedReader) step(p []byte) (n int, err error) {
	switch {
	case len(r.pending) > 0:
		n = copy(p, r.pending)
		r.pending = r.pending[n:]
		r.digest.Write(p[:n])
		return n, nil
	case r.ended:
		return 0, io.EOF
	case r.open == nil && r.next < len(r.header.files):
		return 0, r.openFile()
	case r.open == nil && r.checksums != nil:
		padded := r.layout.trailer - r.layout.checksums
		r.pending, r.checksums = append(r.checksums, make([]byte, padded-int64(len(r.checksums)))...), nil
		return 0, nil
	case r.open == nil:
		r.pending, r.ended = r.digest.Sum(nil), true
		return 0, nil
	case r.left == 0:
		return 0, r.finishFile()
	}
	n, err = r.open.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	r.checksum = crc32.Update(r.checksum, crc32.MakeTable(crc32.Castagnoli), p[:n])
	r.digest.Write(p[:n])
	if err == io.EOF {
		err = nil
		if r.left > 0 {
			err = io.ErrUnexpectedEOF
		}
	}
	if err != nil {
		err = fmt.Errorf("read snapshot file %s: %w", r.header.files[r.next].name, err)
	}
	return n, err
}

func (r *SavedReader) openFile() error {
	f := r.header.files[r.next]
	open, err := r.fs.Open(r.fs.PathJoin(r.dir, f.name), vfs.SequentialReadsOption)
	if err != nil {
		return fmt.Errorf("open snapshot file: %w", err)
	}
	r.open, r.left, r.checksum = open, f.sizeBytes, 0
	return nil
}

func (r *SavedReader) finishFile() error {
	err := r.open.Close()
	r.open = nil
	r.next++
	r.checksums = binary.BigEndian.AppendUint32(r.checksums, r.checksum)
	if err != nil {
		return fmt.Errorf("close snapshot file %s: %w", r.header.files[r.next-1].name, err)
	}
	return nil
}

// Close implements io.Closer. It must be called once.
func (r *SavedReader) Close() error {
	var err error
	if r.open != nil {
		err = r.open.Close()
		r.open = nil
	}
	r.err = ErrClosed
	return errors.Join(err, r.release())
}
