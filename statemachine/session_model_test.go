package statemachine_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"raftkv/statemachine"
	"raftkv/statemachine/keys"
)

// sessionModelMax is how many sessions there may be in the model test.
const sessionModelMax = 4

// modelSession is a session as plain as it can be: kept in a slice in the
// order of use.
type modelSession struct {
	id, sequence uint64
	used         uint64 // place of the last use
	result       *pb.PutResponse
	refused      bool
}

type sessionModel struct {
	live   []modelSession
	ever   []uint64
	values map[uint64]string // what the commands of a session have appended
}

func (m *sessionModel) find(id uint64) int {
	for i := range m.live {
		if m.live[i].id == id {
			return i
		}
	}
	return -1
}

func (m *sessionModel) open(id uint64) {
	if len(m.live) == sessionModelMax {
		m.live = m.live[1:]
	}
	m.live = append(m.live, modelSession{id: id, used: id})
	m.ever = append(m.ever, id)
}

// refusal is what a command of a session must be refused with; replay tells
// that it must be answered from the record.
func (m *sessionModel) refusal(id, sequence uint64) (want error, replay bool) {
	i := m.find(id)
	if i < 0 {
		return statemachine.ErrSessionUnknown, false
	}
	switch last := m.live[i].sequence; {
	case sequence == 0 || sequence < last:
		return statemachine.ErrSequencePast, false
	case sequence == last:
		return nil, true
	case sequence != last+1:
		return statemachine.ErrSequenceGap, false
	}
	return nil, false
}

// use records a command that took its turn.
func (m *sessionModel) use(id, place uint64, result any) {
	i := m.find(id)
	s := m.live[i]
	s.sequence, s.used = s.sequence+1, place
	s.result, s.refused = nil, true
	if resp, ok := result.(*pb.PutResponse); ok {
		s.result, s.refused = resp, false
		m.values[id] += fmt.Sprintf(" %d", s.sequence)
	}
	m.live = append(append(m.live[:i:i], m.live[i+1:]...), s)
}

// modelRun drives a machine and the model; what was applied is kept for a
// second machine.
type modelRun struct {
	t     *testing.T
	r     *rand.Rand
	fs    vfs.FS
	dir   string
	m     *statemachine.Machine
	l     *logWriter
	log   []*raftpb.Entry
	model sessionModel
	tally map[string]int
}

func (c *modelRun) reopen(dir string) {
	c.dir, c.m = dir, openAt(c.t, c.fs, dir)
	c.m.SetSessionsMax(sessionModelMax)
}

// step applies one entry of a few commands and compares each result.
func (c *modelRun) step() {
	type asked struct{ kind, id, sequence uint64 } // kind 0: open, 1: close, 2: note, 3: refused put
	var commands [][]byte
	var questions []asked
	for range 1 + c.r.IntN(4) {
		q := asked{kind: min(c.r.Uint64N(12), 3)}
		if len(c.model.ever) == 0 {
			q.kind = 0
		}
		switch q.kind {
		case 0:
			commands = append(commands, openSession())
		default:
			recent := c.model.ever[max(0, len(c.model.ever)-sessionModelMax-2):]
			q.id = recent[c.r.IntN(len(recent))]
			if q.kind == 1 {
				q.sequence = (c.l.index - c.r.Uint64N(10)) << 16 * c.r.Uint64N(2)
				commands = append(commands, closeSession(q.id, q.sequence))
				break
			}
			if i := c.model.find(q.id); i >= 0 {
				q.sequence = c.model.live[i].sequence + c.r.Uint64N(2) // mostly next, or a retry
			}
			if c.r.IntN(4) == 0 {
				q.sequence = c.r.Uint64N(6)
			}
			q.kind = 2 + c.r.Uint64N(5)/4
			if q.kind == 2 {
				commands = append(commands, note(c.t, q.id, q.sequence))
			} else {
				commands = append(commands, inSession(c.t, q.id, q.sequence, 1, &pb.PutRequest{}))
			}
		}
		questions = append(questions, q)
	}
	e := c.l.entry(commands...)
	c.log = append(c.log, e)
	results := apply(c.t, c.m, e)
	for i, q := range questions {
		place := c.l.index<<16 | uint64(i)
		err, _ := results[i].(error)
		switch q.kind {
		case 0:
			if opened, ok := results[i].(*statemachine.SessionOpened); !ok || opened.ID != place {
				c.t.Fatalf("place %x: opened %v", place, results[i])
			}
			c.model.open(place)
			c.tally["opened"]++
		case 1:
			c.checkClose(q.id, q.sequence, err)
		default:
			c.checkCommand(q.id, q.sequence, place, q.kind == 3, results[i])
		}
	}
}

func (c *modelRun) checkClose(id, used uint64, err error) {
	var want error
	i := c.model.find(id)
	switch {
	case i < 0:
		want = statemachine.ErrSessionUnknown
	case used != 0 && used < c.model.live[i].used:
		want = statemachine.ErrSessionUsed
	default:
		c.model.live = append(c.model.live[:i:i], c.model.live[i+1:]...)
	}
	if !errors.Is(err, want) {
		c.t.Fatalf("closing %x: %v, want %v", id, err, want)
	}
	c.tally[fmt.Sprint("close ", want)]++
}

func (c *modelRun) checkCommand(id, sequence, place uint64, refused bool, result any) {
	want, replay := c.model.refusal(id, sequence)
	err, _ := result.(error)
	switch {
	case want != nil:
		if !errors.Is(err, want) {
			c.t.Fatalf("%d of session %x: %v, want %v", sequence, id, result, want)
		}
		c.tally[want.Error()]++
	case replay:
		s := c.model.live[c.model.find(id)]
		if s.refused != errors.Is(err, statemachine.ErrEmptyKey) || !s.refused && !proto.Equal(s.result, result.(proto.Message)) {
			c.t.Fatalf("%d of session %x again: %v, recorded %v", sequence, id, result, s)
		}
		c.tally["replayed"]++
	default:
		if refused != errors.Is(err, statemachine.ErrEmptyKey) || !refused && err != nil {
			c.t.Fatalf("%d of session %x: %v", sequence, id, result)
		}
		c.model.use(id, place, result)
		c.tally["applied"]++
	}
}

// check compares the values of all sessions, and the table on disk.
func (c *modelRun) check() {
	for _, id := range c.model.ever {
		resp, err := c.m.Range(c.t.Context(), &pb.RangeRequest{Key: fmt.Append(nil, id)})
		if err != nil {
			c.t.Fatal(err)
		}
		got := ""
		if len(resp.Kvs) == 1 {
			got = string(resp.Kvs[0].Value)
		}
		if got != c.model.values[id] {
			c.t.Fatalf("session %x has written %q, want %q", id, got, c.model.values[id])
		}
	}
	records, err := c.m.Records(keys.Sessions)
	if err != nil || len(records) != len(c.model.live) {
		c.t.Fatalf("%d records, want %d, %v", len(records), len(c.model.live), err)
	}
	for _, record := range records {
		if id, err := keys.Number(record.Key); err != nil || c.model.find(id) < 0 {
			c.t.Fatalf("record of session %x, %v", id, err)
		}
	}
}

// TestSessionsMatchModel compares random use of sessions, with retries, with a
// plain model, through restarts and moves to another directory by a checkpoint.
// Then a second machine applies the same log in larger calls: equal to the
// last bit.
func TestSessionsMatchModel(t *testing.T) {
	seedValue := max(*seedFlag, 1)
	t.Logf("seed %d", seedValue)
	c := &modelRun{t: t, r: rand.New(rand.NewPCG(seedValue, 9)), fs: vfs.NewMem(), l: newLog(t),
		model: sessionModel{values: make(map[uint64]string)}, tally: make(map[string]int)}
	c.reopen("first")
	if err := c.m.Bootstrap(seed()); err != nil {
		t.Fatal(err)
	}
	c.m.SetSessionsMax(sessionModelMax)
	c.log = append(c.log, c.l.entry(setVersion(t, "0.1.0")))
	apply(t, c.m, c.log...)
	for i := range 4000 {
		c.step()
		switch c.r.IntN(150) {
		case 0:
			closeMachine(t, c.m)
			c.reopen(c.dir)
			c.tally["restarted"]++
		case 1:
			copied := fmt.Sprint("copy", i)
			if _, err := c.m.Checkpoint(copied); err != nil {
				t.Fatal(err)
			}
			closeMachine(t, c.m)
			c.reopen(fmt.Sprint("moved", i))
			if err := c.m.Replace(copied); err != nil {
				t.Fatal(err)
			}
			c.m.SetSessionsMax(sessionModelMax)
			c.tally["moved"]++
		}
	}
	c.check()
	t.Log(c.tally)
	for _, must := range []string{"opened", "applied", "replayed", "restarted", "moved", "close " + fmt.Sprint(error(nil)),
		"close " + statemachine.ErrSessionUsed.Error(), statemachine.ErrSessionUnknown.Error(),
		statemachine.ErrSequencePast.Error(), statemachine.ErrSequenceGap.Error()} {
		if c.tally[must] < 10 {
			t.Errorf("%q happened %d times: the test exercises too little", must, c.tally[must])
		}
	}
	want, err := c.m.StateHash()
	if err != nil {
		t.Fatal(err)
	}
	other := start(t)
	other.SetSessionsMax(sessionModelMax)
	for rest := c.log; len(rest) > 0; {
		n := callLen(c.r, rest)
		apply(t, other, rest[:n]...)
		rest = rest[n:]
	}
	compareStates(t, other, c.m, want)
	closeMachine(t, c.m)
}
