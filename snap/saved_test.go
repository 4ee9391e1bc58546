package snap

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/time/rate"
)

var savedHeader = SavedHeader{ClusterID: 0xc1, MemberID: 0xa1, Index: 42, Term: 3, Revision: 40, CompactedRevision: -1,
	RollingHash: 0xfeed, Version: "0.1.0"}

var flatFiles = files{"MANIFEST-1": "manifest", "000004.sst": strings.Repeat("table", 200_000), "empty": ""}

// saves returns the snapshot file of content.
func saves(t *testing.T, m *member, content files) []byte {
	t.Helper()
	r := m.save(t, content)
	b, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	if int64(len(b)) != r.SizeBytes() {
		t.Fatalf("the file has %d bytes, announced were %d", len(b), r.SizeBytes())
	}
	return b
}

func (m *member) save(t *testing.T, content files) *SavedReader {
	t.Helper()
	r, err := m.store.Save(context.Background(), func(dir string) (SavedHeader, error) {
		return savedHeader, writeFiles(m.fs, dir, content)
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func openBytes(t *testing.T, b []byte) (*Saved, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := OpenSaved(context.Background(), path, nil)
	if err == nil {
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return s, err
}

func TestSavedRoundTrip(t *testing.T) {
	m := newMember(t, 10, someFiles)
	b := saves(t, m, flatFiles)
	m.wantDirs(t, 0)
	// What etcdctl asks of a snapshot, and what sha256sum would say.
	if len(b)%512 != sha256.Size {
		t.Errorf("%d bytes: no trailer behind a multiple of 512", len(b))
	}
	if sum := sha256.Sum256(b[:len(b)-sha256.Size]); !bytes.Equal(sum[:], b[len(b)-sha256.Size:]) {
		t.Error("the trailer is not the SHA-256 of what is before it")
	}
	s, err := openBytes(t, b)
	if err != nil {
		t.Fatal(err)
	}
	got := s.SavedHeader
	got.files = nil
	if got.ClusterID != savedHeader.ClusterID || got.Index != 42 || got.Term != 3 || got.Revision != 40 || got.CompactedRevision != -1 ||
		got.RollingHash != 0xfeed || got.Version != "0.1.0" || got.MemberID != 0xa1 {
		t.Errorf("read %+v", got)
	}
	fs := vfs.NewMem()
	if err := s.Extract(context.Background(), fs, "out"); err != nil {
		t.Fatal(err)
	}
	if content, err := readFiles(fs, "out"); err != nil || !maps.Equal(content, flatFiles) {
		t.Errorf("extracted %d files, %v", len(content), err)
	}
	in, dir, err := s.FS()
	if err != nil {
		t.Fatal(err)
	}
	if content, err := readFiles(in, dir); err != nil || !maps.Equal(content, flatFiles) {
		t.Errorf("in place there are %d files, %v", len(content), err)
	}
}

// Every damaged byte and every length is noticed, and said to be damage.
func TestSavedDamage(t *testing.T) {
	m := newMember(t, 10, someFiles)
	b := saves(t, m, files{"a": strings.Repeat("a", 700), "b": "b"})
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	for i := range b {
		damaged := bytes.Clone(b)
		damaged[i] ^= 1 << rng.IntN(8)
		if _, err := openBytes(t, damaged); err == nil {
			t.Fatalf("byte %d: opened", i)
		} else if i >= len(savedMagic) && !errors.Is(err, ErrCorrupt) {
			t.Fatalf("byte %d: %v", i, err)
		}
	}
	for n := range len(b) {
		if _, err := openBytes(t, b[:n]); err == nil {
			t.Fatalf("cut to %d bytes: opened", n)
		}
	}
	if _, err := openBytes(t, append(bytes.Clone(b), 0)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("with a byte more: %v", err)
	}
	newer := bytes.Clone(b)
	newer[len(savedMagic)-1] = 9
	if _, err := openBytes(t, newer); err == nil || !strings.Contains(err.Error(), "format 9") {
		t.Errorf("of a newer format: %v", err)
	}
	if _, err := openBytes(t, []byte("something else entirely")); !errors.Is(err, ErrForeignFile) {
		t.Errorf("foreign: %v", err)
	}
}

// TestSavedGolden pins the format: a difference here needs a new version.
func TestSavedGolden(t *testing.T) {
	golden := filepath.Join("testdata", "saved-v1.bin")
	m := newMember(t, 10, someFiles)
	b := saves(t, m, files{"CURRENT": "x\n", "000001.sst": "table"})
	want, err := os.ReadFile(golden)
	if os.IsNotExist(err) && os.Getenv("WRITE_GOLDEN") != "" {
		if err := os.WriteFile(golden, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, want) {
		t.Error("what is written now differs from the golden file")
	}
	s, err := OpenSaved(context.Background(), golden, nil)
	if err != nil {
		t.Fatal(err)
	}
	fs := vfs.NewMem()
	if err := errors.Join(s.Extract(context.Background(), fs, "out"), s.Close()); err != nil {
		t.Fatal(err)
	}
	if content, err := readFiles(fs, "out"); err != nil || content["000001.sst"] != "table" || content["CURRENT"] != "x\n" {
		t.Errorf("extracted %v, %v", content, err)
	}
}

func TestSavesAreBounded(t *testing.T) {
	m := newMember(t, 10, someFiles)
	one, two := m.save(t, flatFiles), m.save(t, flatFiles)
	take := func(string) (SavedHeader, error) { panic("not to be called") }
	if _, err := m.store.Save(context.Background(), take, nil); !errors.Is(err, ErrTooManySaves) {
		t.Fatalf("a third: %v", err)
	}
	m.wantDirs(t, 2)
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := one.Read(make([]byte, 1)); !errors.Is(err, ErrClosed) {
		t.Errorf("read after close: %v", err)
	}
	broken := errors.New("no checkpoint")
	if _, err := m.store.Save(context.Background(), func(string) (SavedHeader, error) { return SavedHeader{}, broken }, nil); !errors.Is(err, broken) {
		t.Errorf("a failing one: %v", err)
	}
	if err := m.save(t, flatFiles).Close(); err != nil {
		t.Errorf("after a failure: %v", err)
	}
	if err := two.Close(); err != nil {
		t.Fatal(err)
	}
	m.wantDirs(t, 0)
}

// The pace holds, and the end of the context ends a pause.
func TestSavePace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMember(t, 10, someFiles)
		ctx, cancel := context.WithCancel(t.Context())
		content := files{"a": strings.Repeat("a", 4<<20)}
		take := func(dir string) (SavedHeader, error) { return savedHeader, writeFiles(m.fs, dir, content) }
		r, err := m.store.Save(ctx, take, rate.NewLimiter(1<<20, 256<<10))
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if _, err := io.CopyN(io.Discard, r, 3<<20); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took.Seconds() < 2.5 || took.Seconds() > 3.5 {
			t.Errorf("3 MiB at 1 MiB/s took %v", took)
		}
		cancel()
		if _, err := io.Copy(io.Discard, r); !errors.Is(err, context.Canceled) {
			t.Errorf("after the end of the context: %v", err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A file that shrinks under its reader is noticed by the member that saves.
func TestSaveOfAFileThatShrank(t *testing.T) {
	m := newMember(t, 10, someFiles)
	r := m.save(t, flatFiles)
	dirs, err := m.fs.List("data/snap")
	if err != nil || len(dirs) != 1 {
		t.Fatalf("%v, %v", dirs, err)
	}
	if err := writeFiles(m.fs, m.fs.PathJoin("data/snap", dirs[0]), files{"000004.sst": "short"}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, r); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("read: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// FuzzSavedHeader: the decoder neither panics nor allocates beyond its input,
// and what it takes encodes to the same header again.
func FuzzSavedHeader(f *testing.F) {
	h := savedHeader
	h.files = []file{{name: "a", sizeBytes: 1}, {name: "b", sizeBytes: 1 << 40}}
	f.Add(h.head())
	f.Add([]byte(savedMagic + "\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, l, err := readSavedHeader(bytes.NewReader(b))
		if err != nil {
			return
		}
		if l.contents < 0 || l.end < l.contents || l.end%512 != sha256.Size {
			t.Fatalf("layout %+v", l)
		}
		again, _, err := readSavedHeader(bytes.NewReader(h.head()))
		if err != nil || again.Index != h.Index || len(again.files) != len(h.files) {
			t.Fatalf("%+v became %+v, %v", h, again, err)
		}
	})
}
