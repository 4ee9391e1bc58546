package statemachine_test

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"

	"raftkv/statemachine"
)

var crashesFlag = flag.Int("crashes", 2000, "crash points of TestCrashPoints")

const crashKeys = 20

// crashRun applies a log whose entry at index i writes i to the key "last" and
// to one of crashKeys others, so that any state tells which prefix it is.
type crashRun struct {
	t       *testing.T
	r       *rand.Rand
	fs      *vfs.MemFS
	m       *statemachine.Machine
	l       *logWriter
	log     []*raftpb.Entry // log[i] has index i+2
	rolling map[uint64]uint64
}

func crashOptions(t testing.TB, fs vfs.FS) statemachine.Options {
	o := options(t, fs)
	// Memtables so small that flushes and compactions are always under way.
	o.ManualCompaction, o.MemTableBytes = false, 32<<10
	return o
}

func newCrashRun(t *testing.T, r *rand.Rand) *crashRun {
	c := &crashRun{t: t, r: r, fs: vfs.NewCrashableMem(), l: newLog(t), rolling: make(map[uint64]uint64)}
	c.open()
	if err := c.m.Bootstrap(seed()); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *crashRun) open() {
	var err error
	if c.m, err = statemachine.Open(crashOptions(c.t, c.fs)); err != nil {
		c.t.Fatal(err)
	}
}

// advance applies a few entries in one call: those of the log that a crash
// took back, then new ones.
func (c *crashRun) advance() {
	for range 1 + c.r.IntN(4) {
		value := append(fmt.Appendf(nil, "%d ", c.l.index+1), make([]byte, c.r.IntN(1500))...)
		put := func(key string) []byte {
			return request(c.t, &pb.PutRequest{Key: []byte(key), Value: value})
		}
		c.log = append(c.log, c.l.entry(put("last"), put(fmt.Sprintf("k%02d", (c.l.index+1)%crashKeys))))
	}
	applied, _ := c.m.Applied()
	apply(c.t, c.m, c.log[applied-1:]...)
	index, hash := c.m.RollingHash()
	c.rolling[index] = hash
}

// crash clones the file system as a power cut might leave it.
func (c *crashRun) crash() *vfs.MemFS {
	return c.fs.CrashClone(vfs.CrashCloneCfg{
		UnsyncedDataPercent: c.r.IntN(101), RNG: c.r})
}

// check opens what a crash left and compares it with the log. claimed is what
// Durable said before the crash.
func (c *crashRun) check(fs *vfs.MemFS, claimed, applied uint64) (survived uint64) {
	c.t.Helper()
	m, err := statemachine.Open(crashOptions(c.t, fs))
	if err != nil {
		c.t.Fatal(err)
	}
	defer closeMachine(c.t, m)
	survived, _ = m.Applied()
	if survived < claimed || survived > applied {
		c.t.Fatalf("survived up to %d; durable was %d, applied %d", survived, claimed, applied)
	}
	if _, hash := m.RollingHash(); survived > 1 && c.rolling[survived] != hash {
		c.t.Fatalf("state at %d is not one that Apply left: rolling hash %x, want %x", survived, hash, c.rolling[survived])
	}
	if want := 1 + 2*int64(survived-1); m.Revision() != want {
		c.t.Fatalf("revision %d at index %d, want %d", m.Revision(), survived, want)
	}
	resp, err := m.Range(c.t.Context(), &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}})
	if err != nil {
		c.t.Fatal(err)
	}
	want := map[string]uint64{"last": survived}
	for i := uint64(2); i <= survived; i++ {
		want[fmt.Sprintf("k%02d", i%crashKeys)] = i
	}
	if survived == 1 {
		want = nil
	}
	if len(resp.Kvs) != len(want) {
		c.t.Fatalf("%d keys at index %d, want %d", len(resp.Kvs), survived, len(want))
	}
	for _, kv := range resp.Kvs {
		if !bytes.HasPrefix(kv.Value, fmt.Appendf(nil, "%d ", want[string(kv.Key)])) {
			c.t.Fatalf("%s is %.10q at index %d, want %d", kv.Key, kv.Value, survived, want[string(kv.Key)])
		}
	}
	return survived
}

// TestCrashPoints: whatever moment the power is cut, with flushes and
// compactions under way, what is found is the state after some call of Apply,
// and never less than Durable claimed.
func TestCrashPoints(t *testing.T) {
	seedValue := max(*seedFlag, 1)
	t.Logf("seed %d", seedValue)
	r := rand.New(rand.NewPCG(seedValue, 0))
	const pointsPerRun = 200
	lost, kept, restarts := 0, 0, 0
	for left := *crashesFlag; left > 0; left -= pointsPerRun {
		c := newCrashRun(t, r)
		for range min(left, pointsPerRun) {
			c.advance()
			var flush sync.WaitGroup
			if r.IntN(4) == 0 {
				flush.Go(func() {
					if err := c.m.Flush(); err != nil {
						t.Error(err)
					}
				})
			}
			durable, err := c.m.Durable()
			if err != nil {
				t.Fatal(err)
			}
			applied, _ := c.m.Applied()
			left := c.crash()
			flush.Wait()
			survived := c.check(left.CrashClone(vfs.CrashCloneCfg{}), durable.GetIndex(), applied)
			if survived < applied {
				lost++
			}
			if survived > 1 {
				kept++
			}
			if r.IntN(40) == 0 { // the run goes on with what the crash left
				restarts++
				closeMachine(t, c.m)
				c.fs = left
				c.open()
			}
		}
		closeMachine(t, c.m)
	}
	t.Logf("%d crashes took something back, %d left something, %d restarts", lost, kept, restarts)
	if lost < *crashesFlag/4 || kept < *crashesFlag/2 || restarts == 0 {
		t.Error("the crashes exercise too little")
	}
}

// TestCrashWhileReplacing cuts the power before every operation on the file
// system while a state is opened for the first time, seeded, and replaced:
// what is left always opens, as the state before or the state after.
func TestCrashWhileReplacing(t *testing.T) {
	const seedValue = 8
	t.Logf("seed %d", seedValue)
	rng := rand.New(rand.NewPCG(seedValue, 0))
	mem := vfs.NewCrashableMem()
	leader := openAt(t, mem, "leader")
	if err := leader.Bootstrap(seed()); err != nil {
		t.Fatal(err)
	}
	l := newLog(t)
	apply(t, leader, l.entry(request(t, &pb.PutRequest{Key: []byte("a")})))
	metadata, err := leader.Checkpoint("staged")
	if err != nil {
		t.Fatal(err)
	}
	closeMachine(t, leader)
	syncRoot(t, mem)

	var mu sync.Mutex
	var clones []*vfs.MemFS
	hooked := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		// Pebble removes files on a goroutine of its own; a clone made there
		// could deadlock with MemFS.Lock, which takes its lock twice.
		if op.Kind == errorfs.OpRemove {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		// All or nothing of what was not synced: Pebble creates a manifest and
		// the marker that names it with one sync of the directory after both, so
		// it counts on directory entries not to overtake each other.
		for _, percent := range []int{0, 100} {
			clones = append(clones, mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng}))
		}
		return nil
	}))
	step := func(name string, allowed []uint64, f func()) {
		take := func() []*vfs.MemFS {
			mu.Lock()
			defer mu.Unlock()
			taken := clones
			clones = nil
			return taken
		}
		take()
		f()
		points := take()
		if len(points) < 10 {
			t.Errorf("%s: only %d crash points", name, len(points))
		}
		seen := make(map[uint64]int)
		for i, clone := range append(points, mem.CrashClone(vfs.CrashCloneCfg{})) {
			m := openAt(t, clone, "m")
			index, _ := m.Applied()
			seen[index]++
			closeMachine(t, m)
			if isLast := i == len(points); isLast && index != allowed[len(allowed)-1] {
				t.Errorf("%s: not durable on return", name)
			}
		}
		for _, index := range allowed {
			delete(seen, index)
		}
		if len(seen) > 0 {
			t.Errorf("%s: unexpected states %v", name, seen)
		}
	}
	var m *statemachine.Machine
	step("open", []uint64{0}, func() { m = openAt(t, hooked, "m") })
	step("bootstrap", []uint64{0, 1}, func() {
		if err := m.Bootstrap(seed()); err != nil {
			t.Fatal(err)
		}
	})
	step("replace", []uint64{1, metadata.GetIndex()}, func() {
		if err := m.Replace("staged"); err != nil {
			t.Fatal(err)
		}
	})
	closeMachine(t, m)
}

func syncRoot(t *testing.T, fs vfs.FS) {
	t.Helper()
	dir, err := fs.OpenDir("/")
	if err != nil {
		t.Fatal(err)
	}
	if err := dir.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := dir.Close(); err != nil {
		t.Fatal(err)
	}
}
