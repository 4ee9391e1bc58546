package node

import (
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"testing/cryptotest"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/confchange"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
	"google.golang.org/protobuf/proto"
)

// memLog is a Log without a disk.
type memLog struct {
	*raft.MemoryStorage
	conf    *raftpb.ConfState
	appends int
}

func newMemLog(conf *raftpb.ConfState) *memLog {
	s := raft.NewMemoryStorage()
	anchor := &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{Index: new(uint64(1)), Term: new(uint64(1)), ConfState: conf}}
	if err := s.ApplySnapshot(anchor); err != nil {
		panic(err)
	}
	if err := s.SetHardState(&raftpb.HardState{Term: new(uint64(1)), Commit: new(uint64(1))}); err != nil {
		panic(err)
	}
	return &memLog{MemoryStorage: s, conf: conf}
}

func (l *memLog) InitialState() (*raftpb.HardState, *raftpb.ConfState, error) {
	hs, _, err := l.MemoryStorage.InitialState()
	return hs, l.conf, err
}

func (l *memLog) Append(hs *raftpb.HardState, entries []*raftpb.Entry) error {
	l.appends++
	if hs != nil {
		if err := l.SetHardState(hs); err != nil {
			return err
		}
	}
	return l.MemoryStorage.Append(entries)
}

func (l *memLog) Reset(meta *raftpb.SnapshotMetadata, hs *raftpb.HardState, entries []*raftpb.Entry) error {
	if err := l.ApplySnapshot(&raftpb.Snapshot{Metadata: meta}); err != nil {
		return err
	}
	return l.Append(hs, entries)
}

func (l *memLog) Release(*raftpb.SnapshotMetadata, uint64) error { return nil }
func (l *memLog) Close() error                                   { return nil }

// countState applies batches packed by packTest: it keeps the commands in
// order and drops batches seen before, as a real state machine must.
type countState struct {
	applied  uint64
	commands []string
	seen     map[[3]uint64]bool
	failAt   uint64
	conf     *raftpb.ConfState // as it is to the state machine
}

func (s *countState) Apply(entries []*raftpb.Entry, answer func(index, proposer, boot, batch uint64, results []any)) (*raftpb.ConfState, error) {
	for _, e := range entries {
		if e.GetIndex() == s.failAt {
			return nil, errors.New("disk on fire")
		}
		s.applied = e.GetIndex()
		if len(e.GetData()) == 0 {
			continue
		}
		if isConfChange(e) {
			return s.change(e, answer), nil
		}
		name, commands := unpackTest(e.GetData())
		if s.seen[name] {
			continue
		}
		s.seen[name] = true
		s.commands = append(s.commands, commands...)
		results := make([]any, len(commands))
		for i, c := range commands {
			results[i] = "did " + c
		}
		answer(e.GetIndex(), name[0], name[1], name[2], results)
	}
	return nil, nil
}

// change applies a configuration change, unless its command is "refuse".
func (s *countState) change(e *raftpb.Entry, answer func(index, proposer, boot, batch uint64, results []any)) *raftpb.ConfState {
	decoded, err := decodeConfChange(e)
	if err != nil {
		panic(err)
	}
	name, commands := unpackTest(decoded.(*raftpb.ConfChange).GetContext())
	if s.seen[name] {
		return nil
	}
	s.seen[name] = true
	if commands[0] == "refuse" {
		answer(e.GetIndex(), name[0], name[1], name[2], []any{errRefused})
		return nil
	}
	tr := tracker.MakeProgressTracker(1, 0)
	changer := confchange.Changer{Tracker: tr, LastIndex: e.GetIndex()}
	cfg, progress, err := confchange.Restore(changer, s.conf)
	if err != nil {
		panic(err)
	}
	tr.Config, tr.Progress = cfg, progress
	cfg, progress, err = confchange.Changer{Tracker: tr, LastIndex: e.GetIndex()}.Simple(decoded.AsV2().GetChanges()...)
	if err != nil {
		panic(err)
	}
	tr.Config, tr.Progress = cfg, progress
	s.conf = tr.ConfState()
	answer(e.GetIndex(), name[0], name[1], name[2], []any{"did " + commands[0]})
	return s.conf
}

var errRefused = errors.New("refused")

func (s *countState) Applied() (uint64, uint64) { return s.applied, 0 }
func (s *countState) Flush() error              { return nil }
func (s *countState) Durable() (*raftpb.SnapshotMetadata, error) {
	return &raftpb.SnapshotMetadata{Index: &s.applied}, nil
}

func packTest(id, boot uint64) func(batch uint64, commands [][]byte) []byte {
	return func(batch uint64, commands [][]byte) []byte {
		b := make([]byte, 0, 64)
		for _, v := range []uint64{id, boot, batch} {
			b = binary.BigEndian.AppendUint64(b, v)
		}
		for _, c := range commands {
			b = append(append(b, byte(len(c))), c...)
		}
		return b
	}
}

func unpackTest(b []byte) (name [3]uint64, commands []string) {
	for i := range name {
		name[i] = binary.BigEndian.Uint64(b[8*i:])
	}
	for b = b[24:]; len(b) > 0; b = b[1+int(b[0]):] {
		commands = append(commands, string(b[1:1+int(b[0])]))
	}
	return name, commands
}

type noSnapshots struct{}

func (noSnapshots) Latest(uint64) (*raftpb.Snapshot, error) {
	return nil, raft.ErrSnapshotTemporarilyUnavailable
}
func (noSnapshots) Install(*raftpb.Snapshot) error { return errors.New("no snapshots here") }
func (noSnapshots) Refused(*raftpb.Snapshot)       {}
func (noSnapshots) Needed() uint64                 { return 0 }

// member and cluster drive cores by hand: every output is carried out at once,
// in member order, unless the network says otherwise.
type member struct {
	core  *Core
	log   *memLog
	state *countState
	// campaign is the pause that the core asked for last; 0 after it was used.
	campaign time.Duration
	// flushedEnough is that of the flush asked for last.
	flushedEnough uint64
	stuck         []Write

	unapplied []Apply
}

type cluster struct {
	t       *testing.T
	members map[uint64]*member
	cut     map[uint64]bool // nothing goes in or out
	events  []string
	drop    func(f Forward) bool
	conf    *raftpb.ConfState // at the start
	// stuck members' disks finish no write.
	stuck map[uint64]bool
	// idle members apply nothing until they are not.
	idle  map[uint64]bool
	hasty bool           // everything happens before commits that are held become due
	sent  map[uint64]int // messages to each member
	// now is the time; clocks are ahead of it by skew. A tick is 100 ms.
	now  time.Duration
	skew map[uint64]time.Duration
	// leases, if set, says which messages about leases arrive.
	leases func(from uint64, m LeaseMessage) bool
}

func newCluster(t *testing.T, n int, tune func(*Config)) *cluster {
	cryptotest.SetGlobalRandom(t, 7)
	c := &cluster{t: t, members: map[uint64]*member{}, cut: map[uint64]bool{}, sent: map[uint64]int{}, now: time.Hour, skew: map[uint64]time.Duration{}, conf: &raftpb.ConfState{}}
	for id := uint64(1); id <= uint64(n); id++ {
		c.conf.Voters = append(c.conf.Voters, id)
	}
	for range n {
		c.add(tune)
	}
	return c
}

// add makes a member that starts where all others have started.
func (c *cluster) add(tune func(*Config)) uint64 {
	id := uint64(len(c.members) + 1)
	conf := proto.CloneOf(c.conf)
	m := &member{log: newMemLog(conf), state: &countState{applied: 1, seen: map[[3]uint64]bool{}, conf: conf}}
	now := func() time.Duration { return c.now + c.skew[id] }
	cfg := Config{ID: id, Boot: 1, Applied: 1, Pack: packTest(id, 1), Jitter: jitter, Now: now, OnEvent: func(e Event) {
		c.events = append(c.events, fmt.Sprintf("%d: %d term %d leader %d", id, e.Kind, e.Term, e.Leader))
	}}
	if tune != nil {
		tune(&cfg)
	}
	core, err := NewCore(cfg, m.log, noSnapshots{})
	if err != nil {
		c.t.Fatal(err)
	}
	m.core = core
	c.members[id] = m
	return id
}

// jitter is the longest pause.
func jitter(below time.Duration) time.Duration { return below - 1 }

// settle runs outputs until nothing is left to do.
func (c *cluster) settle() {
	for busy := true; busy; {
		busy = false
		for id := uint64(1); id <= uint64(len(c.members)); id++ {
			busy = c.round(id) || busy
		}
	}
}

func (c *cluster) round(id uint64) (busy bool) {
	return c.carry(id, c.members[id].core.Output())
}

// carry does what a member's core wants done.
func (c *cluster) carry(id uint64, out Output) (busy bool) {
	m := c.members[id]
	if c.stuck[id] {
		m.stuck, out.Writes = append(m.stuck, out.Writes...), nil
	}
	m.unapplied = append(m.unapplied, out.Applies...)
	if out.Applies = nil; !c.idle[id] {
		out.Applies, m.unapplied = m.unapplied, nil
	}
	if out.CampaignAfter > 0 {
		m.campaign = out.CampaignAfter
	}
	if out.Flush {
		m.flushedEnough = out.FlushedEnough // tests answer it
	}
	if out.CommitsAfter > 0 && !c.hasty {
		m.core.CommitsDue() // time passes
		busy = true
	}
	responses, bytes, err := Persist(m.log, out.Writes)
	if err != nil {
		c.t.Fatal(err)
	}
	own, others := splitResponses(id, responses)
	if len(out.Writes) > 0 {
		m.core.WriteDone(bytes, own)
	}
	for _, msg := range append(out.Messages, others...) {
		c.sent[msg.GetTo()]++
		if !c.cut[id] && !c.cut[msg.GetTo()] && c.members[msg.GetTo()] != nil {
			c.members[msg.GetTo()].core.Step(msg)
		}
	}
	for _, l := range out.Leases {
		if !c.cut[id] && !c.cut[l.To] && (c.leases == nil || c.leases(id, l)) {
			c.members[l.To].core.StepLease(id, l)
		}
	}
	for _, f := range out.Forwards {
		if !c.cut[id] && !c.cut[f.To] && (c.drop == nil || !c.drop(f)) {
			c.members[f.To].core.StepForwarded(id, f.Batch)
		}
	}
	err = Execute(m.state, noSnapshots{}, out.Applies, m.core.Answer, func(done []Applied) {
		for _, a := range done {
			m.core.ApplyDone(a.Task, a.Conf)
		}
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return busy || len(out.Messages)+len(out.Leases)+len(out.Writes)+len(out.Applies)+len(out.Forwards) > 0
}

func (c *cluster) tick(n int) {
	for range n {
		c.now += 100 * time.Millisecond
		for id := uint64(1); id <= uint64(len(c.members)); id++ {
			c.members[id].core.Tick()
		}
		c.settle()
	}
}

// elect ticks until the reachable members agree on a leader among them.
func (c *cluster) elect() uint64 {
	for range 100 {
		c.tick(1)
		for id := uint64(1); id <= uint64(len(c.members)); id++ {
			if !c.cut[id] && c.members[id].core.Status().Role == Leader {
				c.tick(1)
				return id
			}
		}
	}
	c.t.Fatal("no leader after 100 ticks")
	return 0
}

func (c *cluster) propose(id uint64, command string) *Pending {
	p, err := c.members[id].core.Propose([]byte(command))
	if err != nil {
		c.t.Fatal(err)
	}
	return p
}

func result(p *Pending) (Result, bool) {
	select {
	case r := <-p.Done():
		return r, true
	default:
		return Result{}, false
	}
}
