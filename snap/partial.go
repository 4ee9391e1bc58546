package snap

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// partialFile is a file that is being written. It may stay open over a broken
// connection, with the checksum of what was written, so that the next attempt
// goes on behind it.
type partialFile struct {
	file
	number   int // in the manifest
	out      vfs.File
	written  int64
	checksum uint32
	// failed: the disk refused a write, so what is in the file is unknown.
	failed bool
}

// create begins a file, in place of what may be there.
func (w *treeWriter) create(f file, number int) (*partialFile, error) {
	if err := w.mkdir(parent(f.name)); err != nil {
		return nil, err
	}
	created, err := w.fs.Create(w.fs.PathJoin(w.dir, f.name), vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, fmt.Errorf("create staging file: %w", err)
	}
	// Writing back as we go keeps the fsync at the end from stalling others.
	out := vfs.NewSyncingFile(created, vfs.SyncingFileOptions{BytesPerSync: 1 << 20})
	return &partialFile{file: f, number: number, out: out}, nil
}

// write copies one file of an archive, verifies and fsyncs it.
func (w *treeWriter) write(f file, archive io.Reader, buf []byte) error {
	p, err := w.create(f, 0)
	if err != nil {
		return err
	}
	if err := p.fill(archive, buf); err != nil {
		return errors.Join(err, p.out.Close())
	}
	return p.finish()
}

// fill writes what is missing.
func (p *partialFile) fill(archive io.Reader, buf []byte) error {
	for p.written < p.sizeBytes {
		n, err := archive.Read(buf[:min(int64(len(buf)), p.sizeBytes-p.written)])
		// The checksum comes first: Write may scribble over the buffer.
		p.checksum = crc32.Update(p.checksum, crc32.MakeTable(crc32.Castagnoli), buf[:n])
		if n > 0 {
			if _, err := p.out.Write(buf[:n]); err != nil {
				p.failed = true
				return fmt.Errorf("write staging file %s: %w", p.name, err)
			}
			p.written += int64(n)
		}
		if p.written == p.sizeBytes {
			return nil
		}
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return fmt.Errorf("read file %s of the archive: %w", p.name, err)
		}
	}
	return nil
}

// finish verifies and fsyncs the file and closes it.
func (p *partialFile) finish() error {
	err := p.out.Sync()
	if err = errors.Join(err, p.out.Close()); err != nil {
		p.failed = true
		return fmt.Errorf("fsync staging file %s: %w", p.name, err)
	}
	if p.checksum != p.file.checksum {
		return fmt.Errorf("%w: file %s does not match its checksum", ErrCorrupt, p.name)
	}
	return nil
}

// fetchFile receives the rest of a file, verifies and fsyncs it.
func (s *Store) fetchFile(st *staging, number int, archive io.Reader, buf []byte) error {
	if st.partial == nil || st.partial.number != number {
		if err := st.local(s.beginFile(st, number)); err != nil {
			return err
		}
	}
	p := st.partial
	begun := p.written
	err := p.fill(archive, buf)
	s.count(func(stats *Stats) { stats.ReceivedBytes += uint64(p.written - begun) })
	if err == nil {
		st.partial = nil
		err = p.finish()
	}
	st.broken = st.broken || p.failed
	st.done[number] = err == nil
	return err
}

// beginFile creates a file. Another one that was begun starts again later.
func (s *Store) beginFile(st *staging, number int) (err error) {
	if p := st.partial; p != nil {
		st.partial = nil
		if err := p.out.Close(); err != nil {
			return fmt.Errorf("close staging file: %w", err)
		}
	}
	st.partial, err = st.tree.create(st.m.files[number], number)
	return err
}
