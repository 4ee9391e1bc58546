package wal_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	etcdwal "go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/raft/v3/raftpb"

	"raftkv/wal"
)

const sectorBytes = 512

// powerDisk has the log in files, of which it knows what they held when they
// were last synced. Segments are removed durably, and a new one has its size
// before it is in place; recovery's own sync of a tail that it cuts off is not
// seen, as if it had no effect.
type powerDisk struct {
	t      *testing.T
	onStep func() error
	counts map[string]int
	parent string
	boots  int
	dir    string // of this boot
	log    *wal.Log
	// dead: the process that synced is gone.
	dead bool
	// durable is what a loss of power leaves of each segment, by name.
	durable map[string][]byte
}

func (d *powerDisk) options() wal.Options {
	opts := crashOptions
	opts.Dir = d.dir
	return opts.WithFdatasync(d.fdatasync)
}

// fdatasync takes the place of the system call. The crash may fall here.
func (d *powerDisk) fdatasync(f *os.File) error {
	if d.dead {
		return errCrash
	}
	if err := d.onStep(); err != nil {
		return err
	}
	// Of two segments of one name, the first was removed by recovery.
	now := d.segments()
	maps.DeleteFunc(d.durable, func(name string, _ []byte) bool { _, ok := now[name]; return !ok })
	name := filepath.Base(f.Name())
	d.durable[name] = now[name]
	return nil
}

// segments returns what the operating system has.
func (d *powerDisk) segments() map[string][]byte {
	d.t.Helper()
	paths, err := filepath.Glob(filepath.Join(d.dir, "*.wal"))
	if err != nil {
		d.t.Fatal(err)
	}
	all := map[string][]byte{}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			d.t.Fatal(err)
		}
		all[filepath.Base(path)] = content
	}
	return all
}

func (d *powerDisk) create(anchor *raftpb.SnapshotMetadata) error {
	d.dir = filepath.Join(d.parent, "wal")
	if err := wal.Create(d.options(), anchor); err != nil {
		return err
	}
	d.durable = d.segments() // etcd's WAL has synced it
	return nil
}

func (d *powerDisk) open(state *raftpb.SnapshotMetadata) (l *wal.Log, err error) {
	d.log, err = wal.Open(d.options(), state)
	return d.log, err
}

// die moves what is left to another directory, so that nothing that the old
// process still does can change it.
func (d *powerDisk) die(rng *rand.Rand, power bool) {
	d.t.Helper()
	left := d.segments()
	if power {
		d.counts["power losses"]++
		left = d.lose(rng, left)
		d.durable = left
	}
	d.dead = true
	if d.log != nil {
		if err := d.log.Close(); err != nil && !errors.Is(err, errCrash) {
			d.t.Fatal(err)
		}
	}
	d.dead, d.log = false, nil
	if err := os.RemoveAll(d.dir); err != nil {
		d.t.Fatal(err)
	}
	d.boots++
	d.dir = filepath.Join(d.parent, fmt.Sprint(d.boots))
	if err := os.Mkdir(d.dir, 0o700); err != nil {
		d.t.Fatal(err)
	}
	for name, content := range left {
		if err := os.WriteFile(filepath.Join(d.dir, name), content, 0o600); err != nil {
			d.t.Fatal(err)
		}
	}
}

// lose returns what a loss of power leaves of the segments.
func (d *powerDisk) lose(rng *rand.Rand, segments map[string][]byte) map[string][]byte {
	names := slices.Sorted(maps.Keys(segments))
	last := names[len(names)-1]
	left := map[string][]byte{}
	for _, name := range names {
		synced, ok := d.durable[name]
		if !ok && name == last && rng.IntN(4) == 0 {
			d.counts["names lost"]++
			continue
		}
		if !ok { // it is as large as it was allocated
			synced = make([]byte, len(segments[name]))
		}
		left[name] = loseSectors(rng, synced, segments[name])
	}
	return left
}

// loseSectors returns a file that held `synced` when it was synced and `written`
// when power was lost: any size between, and of each sector either.
func loseSectors(rng *rand.Rand, synced, written []byte) []byte {
	size := len(written)
	if len(synced) != size {
		low := min(len(synced), size)
		size = []int{len(synced), size, low + rng.IntN(max(len(synced), size)-low+1)}[rng.IntN(3)]
	}
	left := make([]byte, size)
	all, none := rng.IntN(4) == 0, rng.IntN(4) == 0
	for off := 0; off < size; off += sectorBytes {
		from := synced
		if all || !none && rng.IntN(2) == 0 {
			from = written
		}
		if off < len(from) {
			copy(left[off:min(off+sectorBytes, size)], from[off:])
		}
	}
	return left
}

// unsynced compares what is read with what was synced. Zeros at the end are no
// records.
func (d *powerDisk) unsynced() string {
	var names []string
	for name, content := range d.segments() {
		if !bytes.Equal(bytes.TrimRight(content, "\x00"), bytes.TrimRight(d.durable[name], "\x00")) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// TestPowerLoss checks G1 to G4 on real files that are synced aside, over crashes
// in any sync, recovery's included: kill -9, which keeps what was written, and
// losses of power, which keep any of the sectors that were not synced.
func TestPowerLoss(t *testing.T) {
	defer func(size int64) { etcdwal.SegmentSizeBytes = size }(etcdwal.SegmentSizeBytes)
	etcdwal.SegmentSizeBytes = 1 << 10
	const worlds, steps = 200, 50
	total := map[string]int{}
	for seed := range uint64(worlds) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			d := &powerDisk{t: t, counts: map[string]int{}, parent: t.TempDir()}
			m := &member{
				t: t, rng: rand.New(rand.NewPCG(seed, 27)), disk: d,
				stepsMost: 4, dataBytes: 200, largeBytes: 3 << 10,
			}
			d.onStep = m.onStep
			m.start()
			for range steps {
				m.step()
			}
			d.die(m.rng, true)
			for _, counts := range []map[string]int{m.counts, d.counts} {
				for k, v := range counts {
					total[k] += v
				}
			}
		})
	}
	atLeast(t, total, map[string]int{
		"power losses": 1000, "names lost": 30, "recovery": 400, "append": 500, "commit": 50, "release": 20, "reset": 80, "raised": 50,
	})
}
