package wal_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"go.etcd.io/raft/v3/raftpb"

	"raftkv/wal"
	"raftkv/wal/crashlog"
)

// script runs the commands of testdata on a log on crashable segments. Positions
// are written index/term, like 5/2.
type script struct {
	disk *crashlog.Disk
	log  *wal.Log
	opts wal.Options
	fail crashlog.Step // the kind of step that fails
	left int           // how many steps of that kind go well before; negative: all
}

func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		s := &script{left: -1}
		datadriven.RunTest(t, path, s.run)
	})
}

func (s *script) run(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	var err error
	switch d.Cmd {
	case "create":
		err = s.create(t, d)
	case "open":
		err = s.open(t, d)
	case "append":
		err = s.log.Append(stateOf(t, d), entriesOf(t, d))
	case "reset":
		err = s.log.Reset(positionOf(t, d, "at").meta(), stateOf(t, d), entriesOf(t, d))
	case "release":
		var unneeded uint64
		d.ScanArgs(t, "unneeded", &unneeded)
		err = s.log.Release(positionOf(t, d, "durable").meta(), unneeded)
	case "entries":
		return s.entries(t, d)
	case "fail": // the next step of a kind, after some, fails: fail step=sync after=1
		s.plan(t, d)
		return ""
	case "crash": // the power goes; keep=all or keep=none of what was not synced
		s.disk.Crash(keep(d))
	case "kill":
		s.disk.Kill(keep(d))
	case "records":
		return s.disk.String()
	default:
		t.Fatalf("unknown command %q", d.Cmd)
	}
	if err != nil {
		return fmt.Sprintf("error: %v\n", err)
	}
	if d.Cmd == "crash" || d.Cmd == "kill" {
		return ""
	}
	return s.summary(t)
}

func (s *script) create(t *testing.T, d *datadriven.TestData) error {
	segmentBytes := 1 << 20
	if d.HasArg("segment-bytes") {
		d.ScanArgs(t, "segment-bytes", &segmentBytes)
	}
	s.opts = wal.Options{Metadata: wal.Metadata{ClusterID: 7, MemberID: 3}}
	if d.HasArg("memory-bytes") {
		d.ScanArgs(t, "memory-bytes", &s.opts.MemoryBytes)
	}
	s.disk = crashlog.New(s.opts.Metadata, segmentBytes)
	s.disk.OnStep = func(step crashlog.Step) error {
		if step != s.fail || s.left < 0 {
			return nil
		}
		s.left--
		if s.left < 0 {
			return errors.New("input/output error")
		}
		return nil
	}
	anchor := position{1, 1}
	if d.HasArg("anchor") {
		anchor = positionOf(t, d, "anchor")
	}
	if err := s.disk.Create(anchor.meta()); err != nil {
		return err
	}
	return s.openAt(anchor)
}

func (s *script) open(t *testing.T, d *datadriven.TestData) error {
	if d.HasArg("cluster") {
		d.ScanArgs(t, "cluster", &s.opts.Metadata.ClusterID)
	}
	return s.openAt(positionOf(t, d, "applied"))
}

func (s *script) openAt(applied position) error {
	segments, err := s.disk.Open()
	if err != nil {
		return err
	}
	s.log, err = wal.OpenOn(segments, s.opts, applied.meta())
	return err
}

// summary is what is printed after a command that went well.
func (s *script) summary(t *testing.T) string {
	stats, err := s.log.Stats()
	if err != nil {
		t.Fatal(err)
	}
	term, err := s.log.Term(stats.FirstIndex - 1)
	if err != nil {
		t.Fatal(err)
	}
	hs, _, err := s.log.InitialState()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("behind %d/%d, last %d, segments %d; opened with term %d vote %d commit %d\n",
		stats.FirstIndex-1, term, stats.LastIndex, s.disk.Segments(), hs.GetTerm(), hs.GetVote(), hs.GetCommit())
}

func (s *script) entries(t *testing.T, d *datadriven.TestData) string {
	var lo, hi uint64
	maxBytes := uint64(math.MaxUint64)
	d.ScanArgs(t, "lo", &lo)
	d.ScanArgs(t, "hi", &hi)
	if d.HasArg("max-bytes") {
		d.ScanArgs(t, "max-bytes", &maxBytes)
	}
	entries, err := s.log.Entries(lo, hi, maxBytes)
	if err != nil {
		return fmt.Sprintf("error: %v\n", err)
	}
	var b strings.Builder
	for _, e := range entries {
		fmt.Fprintf(&b, "%d/%d ", e.GetIndex(), e.GetTerm())
	}
	return strings.TrimSpace(b.String()) + "\n"
}

func (s *script) plan(t *testing.T, d *datadriven.TestData) {
	var step string
	d.ScanArgs(t, "step", &step)
	kinds := map[string]crashlog.Step{"write": crashlog.StepWrite, "sync": crashlog.StepSync, "cut": crashlog.StepCut, "remove": crashlog.StepRemove}
	s.fail, s.left = kinds[step], 0
	if d.HasArg("after") {
		d.ScanArgs(t, "after", &s.left)
	}
}

func keep(d *datadriven.TestData) func(int) int {
	if d.HasArg("all") {
		return func(n int) int { return n - 1 }
	}
	return func(int) int { return 0 }
}

func positionOf(t *testing.T, d *datadriven.TestData, arg string) position {
	t.Helper()
	var text string
	d.ScanArgs(t, arg, &text)
	return parsePosition(t, text)
}

func parsePosition(t *testing.T, text string) position {
	t.Helper()
	var p position
	if _, err := fmt.Sscanf(text, "%d/%d", &p.index, &p.term); err != nil {
		t.Fatalf("%q is not a position: %v", text, err)
	}
	return p
}

// stateOf returns the hard state in the arguments, nil if there is none.
func stateOf(t *testing.T, d *datadriven.TestData) *raftpb.HardState {
	if !d.HasArg("term") {
		return nil
	}
	hs := hardState(0, 0, 0)
	d.ScanArgs(t, "term", hs.Term)
	for name, field := range map[string]*uint64{"vote": hs.Vote, "commit": hs.Commit} {
		if d.HasArg(name) {
			d.ScanArgs(t, name, field)
		}
	}
	return hs
}

// entriesOf returns the entries in the input, each with 20 bytes of data.
func entriesOf(t *testing.T, d *datadriven.TestData) []*raftpb.Entry {
	t.Helper()
	var entries []*raftpb.Entry
	for _, text := range strings.Fields(d.Input) {
		p := parsePosition(t, text)
		entries = append(entries, &raftpb.Entry{Index: new(p.index), Term: new(p.term), Data: make([]byte, 20)})
	}
	return entries
}
