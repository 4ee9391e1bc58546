package node

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
)

// scriptLog records the calls it gets.
type scriptLog struct {
	Log
	calls []string
}

func (l *scriptLog) Append(hs *raftpb.HardState, entries []*raftpb.Entry) error {
	l.calls = append(l.calls, fmt.Sprintf("append term=%d %s", hs.GetTerm(), indexes(entries)))
	return nil
}

func (l *scriptLog) Reset(meta *raftpb.SnapshotMetadata, hs *raftpb.HardState, entries []*raftpb.Entry) error {
	l.calls = append(l.calls, fmt.Sprintf("reset %d term=%d %s", meta.GetIndex(), hs.GetTerm(), indexes(entries)))
	return nil
}

func (l *scriptLog) Release(durable *raftpb.SnapshotMetadata, _ uint64) error {
	l.calls = append(l.calls, fmt.Sprintf("release %d", durable.GetIndex()))
	return nil
}

func indexes(entries []*raftpb.Entry) string {
	var s []string
	for _, e := range entries {
		s = append(s, fmt.Sprint(e.GetIndex()))
	}
	return strings.Join(s, ",")
}

func entries(from, to uint64) []*raftpb.Entry {
	var es []*raftpb.Entry
	for i := from; i <= to; i++ {
		es = append(es, &raftpb.Entry{Index: new(i), Term: new(uint64(1)), Data: []byte("xyz")})
	}
	return es
}

func hardState(term uint64) *raftpb.HardState { return &raftpb.HardState{Term: &term} }

func meta(index uint64) *raftpb.SnapshotMetadata { return &raftpb.SnapshotMetadata{Index: &index} }

func TestPersistMergesConsecutiveAppends(t *testing.T) {
	for name, c := range map[string]struct {
		group []Write
		want  []string
	}{
		"one fsync for a run": {
			[]Write{{Entries: entries(2, 3)}, {HardState: hardState(2)}, {Entries: entries(4, 4)}},
			[]string{"append term=2 2,3,4"},
		},
		"the last hard state wins": {
			[]Write{{HardState: hardState(2)}, {HardState: hardState(3)}},
			[]string{"append term=3 "},
		},
		"going back starts a new call": {
			[]Write{{Entries: entries(5, 7)}, {Entries: entries(6, 6), HardState: hardState(4)}, {Entries: entries(7, 7)}},
			[]string{"append term=0 5,6,7", "append term=4 6,7"},
		},
		"reset and release keep their place": {
			[]Write{{Entries: entries(2, 2)}, {Reset: meta(10), HardState: hardState(5)}, {Entries: entries(11, 11)}, {Release: meta(10)}, {Entries: entries(12, 12)}},
			[]string{"append term=0 2", "reset 10 term=5 ", "append term=0 11", "release 10", "append term=0 12"},
		},
		"responses alone write nothing": {
			[]Write{{Responses: []*raftpb.Message{{}}}},
			nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			log := &scriptLog{}
			if _, _, err := Persist(log, c.group); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(log.calls, c.want) {
				t.Fatalf("calls %q, want %q", log.calls, c.want)
			}
		})
	}
}

func TestPersistReturnsResponsesInOrderAndBytes(t *testing.T) {
	group := []Write{
		{Entries: entries(2, 3), Responses: []*raftpb.Message{{Index: new(uint64(3))}}},
		{Entries: entries(4, 4), Responses: []*raftpb.Message{{Index: new(uint64(4))}}},
	}
	responses, bytes, err := Persist(&scriptLog{}, group)
	if err != nil || bytes != 9 || len(responses) != 2 || responses[0].GetIndex() != 3 || responses[1].GetIndex() != 4 {
		t.Fatalf("responses %v, %d bytes, %v", responses, bytes, err)
	}
}

// recordState notes the entries of each Apply.
type recordState struct {
	StateMachine
	calls []string
}

func (s *recordState) Apply(entries []*raftpb.Entry, _ func(index, proposer, boot, batch uint64, results []any)) (*raftpb.ConfState, error) {
	s.calls = append(s.calls, indexes(entries))
	if isConfChange(entries[len(entries)-1]) {
		return &raftpb.ConfState{Voters: []uint64{1}}, nil
	}
	return nil, nil
}

func TestExecuteMergesUpToAConfigurationChange(t *testing.T) {
	change := entries(4, 4)
	change[0].Type = raftpb.EntryConfChangeV2.Enum()
	tasks := []Apply{{Entries: entries(2, 3)}, {Entries: change}, {Entries: entries(5, 5)}, {Entries: entries(6, 7)}}
	state := &recordState{}
	var reported []string
	err := Execute(state, noSnapshots{}, tasks, nil, func(done []Applied) {
		for _, a := range done {
			reported = append(reported, fmt.Sprintf("%s conf=%v", indexes(a.Task.Entries), a.Conf != nil))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"2,3,4", "5,6,7"}; !slices.Equal(state.calls, want) {
		t.Fatalf("applied in calls %q, want %q", state.calls, want)
	}
	if want := []string{"2,3 conf=false", "4 conf=true", "5 conf=false", "6,7 conf=false"}; !slices.Equal(reported, want) {
		t.Fatalf("reported %q, want %q", reported, want)
	}
}
