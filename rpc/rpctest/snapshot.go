package rpctest

import (
	"bytes"
	"context"
	"io"
	"testing/iotest"

	"raftkv/rpc/etcdv3"
)

// SavedTrailerBytes is the length of the trailer of SavedFile.
const SavedTrailerBytes = 32

// SavedFile is what SaveSnapshot returns: data of some size, and a trailer.
func SavedFile() []byte {
	b := make([]byte, 200<<10+SavedTrailerBytes)
	for i := range b {
		b[i] = byte(i * 7)
	}
	return b
}

// SaveSnapshot returns SavedFile, or what the switches say.
func (m *Member) SaveSnapshot(context.Context) (etcdv3.SnapshotFile, error) {
	s := m.switches()
	if s.SaveErr != nil {
		return nil, s.SaveErr
	}
	content := SavedFile()
	f := &savedFile{member: m, size: int64(len(content)), Reader: bytes.NewReader(content)}
	if s.SavedReadErr != nil {
		f.Reader = io.MultiReader(bytes.NewReader(content[:100<<10]), iotest.ErrReader(s.SavedReadErr))
	}
	m.mu.Lock()
	m.mu.savesOpen++
	m.mu.Unlock()
	return f, nil
}

// SavesOpen is how many files of SaveSnapshot are not closed.
func (m *Member) SavesOpen() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mu.savesOpen
}

type savedFile struct {
	io.Reader
	member *Member
	size   int64
}

func (f *savedFile) SizeBytes() int64    { return f.size }
func (f *savedFile) TrailerBytes() int64 { return SavedTrailerBytes }

func (f *savedFile) Close() error {
	f.member.mu.Lock()
	defer f.member.mu.Unlock()
	f.member.mu.savesOpen--
	return nil
}
