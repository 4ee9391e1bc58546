package node

import (
	"errors"
	"strings"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
)

// TestHalfOfTheLogGoesWithoutAFlush: a state machine that flushes of its own
// accord is left alone, and the half of the log that is kept still counts.
func TestHalfOfTheLogGoesWithoutAFlush(t *testing.T) {
	c := newCluster(t, 1, func(cfg *Config) { cfg.FlushBytes = 400 })
	c.settle()
	m := c.members[1]
	core := m.core
	for range 5 {
		if core.flushes.underWay {
			break
		}
		c.propose(1, strings.Repeat("x", 90))
		c.settle()
	}
	enough, applied := m.flushedEnough, core.applied
	if !core.flushes.underWay || enough == 0 || enough >= applied {
		t.Fatalf("at %d: flush %v, enough is %d", applied, core.flushes.underWay, enough)
	}
	before := core.flushes.asked.bytes
	core.FlushDone(&raftpb.SnapshotMetadata{Index: new(enough), Term: new(uint64(1))})
	if kept := core.flushes.log.bytes; kept == 0 || kept >= before {
		t.Errorf("%d of %d bytes count as kept", kept, before)
	}
	writes := core.Output().Writes
	if last := writes[len(writes)-1]; last.Release.GetIndex() != enough {
		t.Errorf("asked to release %v, want up to %d", last.Release, enough)
	}
}

// flushing is a state machine that is durable up to an index.
type flushing struct {
	StateMachine
	durable, applied uint64
	flushed          bool
	err              error
}

func (f *flushing) Flush() error { f.flushed, f.durable = true, f.applied; return f.err }
func (f *flushing) Durable() (*raftpb.SnapshotMetadata, error) {
	return &raftpb.SnapshotMetadata{Index: new(f.durable)}, nil
}

func TestFlushOnlyWhereItIsNeeded(t *testing.T) {
	for _, tc := range []struct {
		durable, enough uint64
		flushed         bool
	}{{5, 5, false}, {6, 5, false}, {4, 5, true}, {9, 0, true}} {
		s := &flushing{durable: tc.durable, applied: 9}
		got, err := Flush(s, tc.enough)
		if err != nil || s.flushed != tc.flushed || got.GetIndex() != s.durable {
			t.Errorf("%+v: flushed %v, durable up to %d, %v", tc, s.flushed, got.GetIndex(), err)
		}
	}
	if _, err := Flush(&flushing{err: errors.New("disk")}, 0); err == nil {
		t.Error("a failed flush is not reported")
	}
}
