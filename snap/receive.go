package snap

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"

	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
)

// fetchFilesMax bounds the files, and so the ranges, of one request.
const fetchFilesMax = 1024

// receive fetches into st what is missing there and makes it durable.
func (s *Store) receive(ctx context.Context, st *staging, d descriptor, meta *raftpb.SnapshotMetadata, fetch Fetch) error {
	if resumed := st.haveBytes(); resumed > 0 {
		s.count(func(stats *Stats) { stats.ResumedBytes += uint64(resumed) })
	}
	if !st.known {
		m, encoded, err := fetchManifest(fetch, d)
		if err != nil {
			return err
		}
		st.m, st.encoded, st.known, st.done = m, encoded, true, make([]bool, len(m.files))
	}
	switch m := &st.m; {
	case m.index != meta.GetIndex() || m.term != meta.GetTerm():
		return fmt.Errorf("%w: made at index %d term %d, announced as %d term %d", ErrCorrupt, m.index, m.term, meta.GetIndex(), meta.GetTerm())
	case archiveBytes(st.encoded, m.files) != d.sizeBytes:
		return fmt.Errorf("%w: the files do not add up to the size announced", ErrCorrupt)
	}
	if err := st.local(st.tree.mkdir("")); err != nil {
		return err
	}
	if err := s.reuse(ctx, st); err != nil {
		return err
	}
	if err := s.checkRoom(st.missingBytes()); err != nil {
		return err
	}
	for missing := st.missing(fetchFilesMax); len(missing) > 0; missing = st.missing(fetchFilesMax) {
		if err := s.fetchFiles(ctx, st, missing, fetch); err != nil {
			return err
		}
	}
	if err := st.local(st.tree.sync()); err != nil {
		return err
	}
	return st.local(syncDir(s.opts.FS, s.opts.Dir))
}

// local notes that err, if it is one, comes from this member's disk.
func (st *staging) local(err error) error {
	st.broken = st.broken || err != nil
	return err
}

func (s *Store) count(f func(*Stats)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.mu.stats)
}

func fetchManifest(fetch Fetch, d descriptor) (manifest, int, error) {
	prefix, err := fetchExactly(fetch, 0, int64(archivePrefixBytes))
	if err != nil {
		return manifest{}, 0, fmt.Errorf("read archive: %w", err)
	}
	magic, length := string(prefix[:len(archiveMagic)]), binary.BigEndian.Uint32(prefix[len(archiveMagic):])
	if magic != archiveMagic {
		return manifest{}, 0, fmt.Errorf("%w: not an archive of a format this binary knows (%q)", ErrCorrupt, magic)
	}
	if length > manifestBytesMax || int64(length) > d.sizeBytes {
		return manifest{}, 0, fmt.Errorf("%w: a manifest of %d bytes", ErrCorrupt, length)
	}
	encoded, err := fetchExactly(fetch, int64(archivePrefixBytes), int64(length))
	if err != nil {
		return manifest{}, 0, fmt.Errorf("read manifest: %w", err)
	}
	if digestOf(encoded) != d.manifest {
		return manifest{}, 0, fmt.Errorf("%w: the manifest is not the one announced", ErrCorrupt)
	}
	m, err := decodeManifest(encoded)
	return m, len(encoded), err
}

func fetchExactly(fetch Fetch, offset, length int64) ([]byte, error) {
	r, err := fetch([][2]int64{{offset, length}}, 0)
	if err != nil {
		return nil, err
	}
	b := make([]byte, length)
	_, err = io.ReadFull(r, b)
	return b, err
}

// missing returns the first of the files that are not whole, at most count.
func (st *staging) missing(count int) (numbers []int) {
	for i := range st.m.files {
		if !st.done[i] && len(numbers) < count {
			numbers = append(numbers, i)
		}
	}
	return numbers
}

func (st *staging) haveBytes() (n int64) {
	for i, done := range st.done {
		if done {
			n += st.m.files[i].sizeBytes
		}
	}
	if st.partial != nil {
		n += st.partial.written
	}
	return n
}

func (st *staging) missingBytes() (n int64) {
	for _, f := range st.m.files {
		n += f.sizeBytes
	}
	return n - st.haveBytes()
}

// fetchFiles gets the missing parts of some files and verifies them.
func (s *Store) fetchFiles(ctx context.Context, st *staging, numbers []int, fetch Fetch) error {
	starts := archiveStarts(st.encoded, st.m.files)
	var ranges [][2]int64
	for _, i := range numbers {
		from, left := starts[i], st.m.files[i].sizeBytes
		if p := st.partial; p != nil && p.number == i {
			from, left = from+p.written, left-p.written
		}
		if last := len(ranges) - 1; last >= 0 && ranges[last][0]+ranges[last][1] == from {
			ranges[last][1] += left
		} else if left > 0 {
			ranges = append(ranges, [2]int64{from, left})
		}
	}
	var archive io.Reader
	if len(ranges) > 0 {
		var err error
		if archive, err = fetch(ranges, st.missingBytes()); err != nil {
			return fmt.Errorf("ask for the files of the snapshot: %w", err)
		}
	}
	buf := make([]byte, copyBytes)
	for _, i := range numbers {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := s.fetchFile(st, i, archive, buf); err != nil {
			return err
		}
	}
	return nil
}

// reuse links the files that this member has already. One that cannot be linked
// is fetched instead.
func (s *Store) reuse(ctx context.Context, st *staging) error {
	if err := s.awaitInstall(ctx); err != nil {
		return err
	}
	have := s.verifiedFiles(st)
	live, _ := s.opts.State.(linker)
	reused := int64(0)
	for i, f := range st.m.files {
		if st.done[i] || st.partial != nil && st.partial.number == i || !s.opts.Immutable(f.name) {
			continue
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := st.local(st.tree.mkdir(parent(f.name))); err != nil {
			return err
		}
		path := s.opts.FS.PathJoin(st.dir, f.name)
		if from, ok := have[f]; ok && s.opts.FS.Link(from, path) == nil {
			st.done[i] = true
		} else if live != nil && live.LinkLive(f.name, path) == nil {
			ok, err := s.verifyLinked(f, path)
			if err != nil {
				return st.local(err)
			}
			st.done[i] = ok
		}
		if st.done[i] {
			reused += f.sizeBytes
		}
	}
	if reused > 0 {
		s.opts.Logger.Info("parts of a snapshot are here already", zap.Uint64("index", st.index), zap.Int64("bytes", reused))
		s.count(func(stats *Stats) { stats.ReusedBytes += uint64(reused) })
	}
	return nil
}

// verifiedFiles returns where the whole files of other stagings are.
func (s *Store) verifiedFiles(but *staging) map[file]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	paths := make(map[file]string)
	for _, st := range s.mu.staged {
		if st == but || st.active || st.installing {
			continue
		}
		for i, f := range st.m.files {
			if st.done[i] && s.opts.Immutable(f.name) {
				paths[f] = s.opts.FS.PathJoin(st.dir, f.name)
			}
		}
	}
	return paths
}

// verifyLinked keeps a link only if it leads to the file meant: another database
// has other files of the same names.
func (s *Store) verifyLinked(f file, path string) (bool, error) {
	info, err := s.opts.FS.Stat(path)
	if err == nil && info.Size() == f.sizeBytes {
		var checksum uint32
		if _, checksum, err = checksumFile(s.opts.FS, path, make([]byte, copyBytes)); err == nil && checksum == f.checksum {
			return true, nil
		}
	}
	// Also one that cannot be read: the sender's copy is as good.
	if err := s.opts.FS.Remove(path); err != nil {
		return false, fmt.Errorf("remove a link to another file: %w", err)
	}
	return false, nil
}
