package statemachine_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"

	"raftkv/statemachine"
	"raftkv/statemachine/envelope"
)

// sentFrame is a frame as its client sent it, and sends it again.
type sentFrame struct {
	session, sequence uint64
	command           []byte // nil: no frame but what comes before the first
}

// frameRun applies a log of frames of two sessions, some of them again. Every
// frame counts one up, so that what was applied twice or not at all shows.
type frameRun struct {
	t       *testing.T
	r       *rand.Rand
	fs      *vfs.MemFS
	m       *statemachine.Machine
	l       *logWriter
	log     []*raftpb.Entry        // log[i] has index i+2
	frames  [][]sentFrame          // of each entry of log
	counted []int                  // frames that took effect up to each entry of log
	sent    map[uint64][]sentFrame // by session
	rolling map[uint64]uint64
	// results are the first answers to frames.
	results map[[2]uint64][]byte
}

const (
	// framesKept is how many frames a client may send again.
	framesKept = 20
	// entryFramesMax is how many frames an entry has: the last entry is sent again
	// as a whole, the frames in it that were sent again included.
	entryFramesMax = 3
	// framesUnacknowledged is how many frames a client has no acknowledgement of.
	framesUnacknowledged = framesKept + entryFramesMax
)

func newFrameRun(t *testing.T, r *rand.Rand) *frameRun {
	c := &frameRun{t: t, r: r, fs: vfs.NewCrashableMem(), l: newLog(t), sent: make(map[uint64][]sentFrame),
		rolling: make(map[uint64]uint64), results: make(map[[2]uint64][]byte)}
	c.open()
	if err := c.m.Bootstrap(seed()); err != nil {
		t.Fatal(err)
	}
	_, c.rolling[1] = c.m.RollingHash()
	return c
}

func (c *frameRun) open() {
	var err error
	if c.m, err = statemachine.Open(crashOptions(c.t, c.fs)); err != nil {
		c.t.Fatal(err)
	}
}

// extend adds an entry to the log.
func (c *frameRun) extend() {
	var frames []sentFrame
	var commands [][]byte
	counted := 0
	if len(c.log) == 0 {
		frames, commands = make([]sentFrame, 3), [][]byte{setVersion(c.t, "0.1.0"), openSession(), openSession()}
	} else {
		counted = c.counted[len(c.counted)-1]
		for range 1 + c.r.IntN(entryFramesMax) {
			f, isNew := c.frame(2<<16 | uint64(1+c.r.IntN(2)))
			frames, commands = append(frames, f), append(commands, f.command)
			if isNew {
				counted++
			}
		}
	}
	c.log, c.frames, c.counted = append(c.log, c.l.entry(commands...)), append(c.frames, frames), append(c.counted, counted)
}

// frame is the next one of a session, or one that was sent before.
func (c *frameRun) frame(session uint64) (f sentFrame, isNew bool) {
	sent := c.sent[session]
	kept := sent[max(0, len(sent)-framesKept):]
	if len(kept) > 0 && c.r.IntN(3) == 0 {
		return kept[c.r.IntN(len(kept))], false
	}
	sequence := uint64(len(sent) + 1)
	acknowledged := max(sequence, framesUnacknowledged+1) - framesUnacknowledged - 1
	f = sentFrame{session: session, sequence: sequence, command: frameOf(session, sequence, acknowledged,
		envelope.Write{Op: envelope.WriteIncrement, Key: []byte("counter"), Delta: 1},
		envelope.Write{Op: envelope.WriteAppend, Key: fmt.Append(nil, "list", session, sequence/10), Value: fmt.Append(nil, " ", sequence)},
		envelope.Write{Op: envelope.WritePut, Key: fmt.Append(nil, "k", c.r.IntN(crashKeys)), Value: make([]byte, c.r.IntN(1000))},
	)}
	c.sent[session] = append(sent, f)
	return f, true
}

// advance applies what a crash took back of the log, and a few new entries, in
// any number of calls.
func (c *frameRun) advance() {
	for range 1 + c.r.IntN(4) {
		c.extend()
	}
	for applied, _ := c.m.Applied(); int(applied) <= len(c.log); applied, _ = c.m.Applied() {
		from := int(applied) - 1
		to := from + 1 + c.r.IntN(len(c.log)-from)
		c.answered(apply(c.t, c.m, c.log[from:to]...), c.frames[from:to]...)
		index, hash := c.m.RollingHash()
		c.rolling[index] = hash
	}
}

// answered compares results with the first answers to the same frames.
func (c *frameRun) answered(results []any, entries ...[]sentFrame) {
	c.t.Helper()
	for _, frames := range entries {
		for _, f := range frames {
			result := results[0]
			results = results[1:]
			if f.command == nil {
				continue
			}
			got, ok := result.(*statemachine.FrameResult)
			if !ok {
				c.t.Fatalf("frame %d of session %x: %v", f.sequence, f.session, result)
			}
			id := [2]uint64{f.session, f.sequence}
			if first, known := c.results[id]; known && !bytes.Equal(first, got.Writes) {
				c.t.Fatalf("frame %d of session %x is answered %x, was %x", f.sequence, f.session, got.Writes, first)
			}
			c.results[id] = bytes.Clone(got.Writes)
		}
	}
}

// check opens what a crash left, compares it with the log, and sends the frames
// again that were applied last.
func (c *frameRun) check(fs *vfs.MemFS, applied uint64) (survived uint64) {
	c.t.Helper()
	m, err := statemachine.Open(crashOptions(c.t, fs))
	if err != nil {
		c.t.Fatal(err)
	}
	defer closeMachine(c.t, m)
	survived, _ = m.Applied()
	if survived > applied {
		c.t.Fatalf("survived up to %d, applied were %d", survived, applied)
	}
	if survived < 3 { // no frame yet
		return survived
	}
	if _, hash := m.RollingHash(); c.rolling[survived] != hash {
		c.t.Fatalf("state at %d is not one that Apply left: rolling hash %x, want %x", survived, hash, c.rolling[survived])
	}
	c.count(m, survived)
	again := c.frames[survived-2]
	l := *c.l
	l.index, l.batch = survived, l.batch+1
	commands := make([][]byte, 0, len(again))
	for _, f := range again {
		commands = append(commands, f.command)
	}
	revision := m.Revision()
	c.answered(apply(c.t, m, l.entry(commands...)), again)
	c.count(m, survived)
	if m.Revision() != revision {
		c.t.Fatalf("frames that were applied before index %d have taken the revision from %d to %d", survived, revision, m.Revision())
	}
	return survived
}

// count verifies how many frames have taken effect.
func (c *frameRun) count(m *statemachine.Machine, index uint64) {
	c.t.Helper()
	resp, err := m.Range(c.t.Context(), &pb.RangeRequest{Key: []byte("counter")})
	if err != nil {
		c.t.Fatal(err)
	}
	got := 0
	if len(resp.Kvs) == 1 {
		if got, err = strconv.Atoi(string(resp.Kvs[0].Value)); err != nil {
			c.t.Fatal(err)
		}
	}
	if want := c.counted[index-2]; got != want || m.Revision() != 1+3*int64(want) {
		c.t.Fatalf("%d frames took effect up to index %d and led to revision %d, want %d", got, index, m.Revision(), want)
	}
}

// TestFrameCrashPoints: whatever moment the power is cut, every frame takes effect
// once when the log is applied again, and whoever sends it again gets the first
// answer: effects and records of sessions survive together.
func TestFrameCrashPoints(t *testing.T) {
	seedValue := max(*seedFlag, 1)
	t.Logf("seed %d", seedValue)
	r := rand.New(rand.NewPCG(seedValue, 1))
	const pointsPerRun = 100
	crashes := *crashesFlag / 4
	lost, kept, restarts := 0, 0, 0
	for left := crashes; left > 0; left -= pointsPerRun {
		c := newFrameRun(t, r)
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
			applied, _ := c.m.Applied()
			left := c.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: r.IntN(101), RNG: r})
			flush.Wait()
			survived := c.check(left.CrashClone(vfs.CrashCloneCfg{}), applied)
			if survived < applied {
				lost++
			}
			if survived > 2 {
				kept++
			}
			if r.IntN(20) == 0 { // the run goes on with what the crash left
				restarts++
				closeMachine(t, c.m)
				c.fs = left
				c.open()
			}
		}
		closeMachine(t, c.m)
	}
	t.Logf("%d crashes took something back, %d left something, %d restarts", lost, kept, restarts)
	if lost < crashes/4 || kept < crashes/2 || restarts == 0 {
		t.Error("the crashes exercise too little")
	}
}
