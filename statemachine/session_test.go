package statemachine_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/membershippb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"raftkv/statemachine"
	"raftkv/statemachine/envelope"
	"raftkv/statemachine/keys"
)

func openSession() []byte {
	return envelope.EncodeCommand(envelope.Command{Kind: envelope.KindSessionOpen})
}

func closeSession(id, used uint64) []byte {
	return envelope.EncodeCommand(envelope.Command{Kind: envelope.KindSessionClose,
		Body: envelope.SessionClose{Session: id, Used: used}.Encode()})
}

// inSession makes req a command of a session.
func inSession(t testing.TB, id, sequence uint64, kind envelope.Kind, req proto.Message) []byte {
	t.Helper()
	body, err := proto.Marshal(req)
	if err != nil {
		t.Fatal(err)
	}
	return envelope.EncodeCommand(envelope.Command{Kind: kind, Session: id, Sequence: sequence, Body: body})
}

// note appends to a key, so that applying it twice would show.
func note(t testing.TB, id, sequence uint64) []byte {
	return inSession(t, id, sequence, envelope.KindAppend,
		&pb.PutRequest{Key: fmt.Append(nil, id), Value: fmt.Appendf(nil, " %d", sequence)})
}

// sessionEntry opens a session and uses it once, in one entry.
func sessionEntry(l *logWriter) *raftpb.Entry {
	return l.entry(openSession(), note(l.t, (l.index+1)<<16, 1))
}

// sessionGenerator makes entries about a few sessions: next commands, retries
// and all that is refused.
type sessionGenerator struct {
	r   *rand.Rand
	ids []uint64
}

func (g *sessionGenerator) entry(l *logWriter) *raftpb.Entry {
	if len(g.ids) == 0 || g.r.IntN(8) == 0 {
		g.ids = append(g.ids, (l.index+1)<<16|1)
		return l.entry(openSession(), openSession())
	}
	recent := g.ids[max(0, len(g.ids)-3):]
	var commands [][]byte
	for range 1 + g.r.IntN(5) {
		id := recent[g.r.IntN(len(recent))]
		switch g.r.IntN(20) {
		case 0:
			commands = append(commands, closeSession(id, g.r.Uint64N(2)*(l.index<<16)))
		case 1, 2, 3, 4, 5, 6, 7, 8:
			commands = append(commands, frameOf(id, 1+g.r.Uint64N(6), g.r.Uint64N(5), randomWrites(g.r, 1+g.r.IntN(5))...))
		default:
			commands = append(commands, note(l.t, id, 1+g.r.Uint64N(4)))
		}
	}
	return l.entry(commands...)
}

// startSessions is a machine whose cluster version allows sessions, with one
// session open.
func startSessions(t testing.TB, fs vfs.FS) (*statemachine.Machine, *logWriter, uint64) {
	t.Helper()
	m, l := openAt(t, fs, "m"), newLog(t)
	if err := m.Bootstrap(seed()); err != nil {
		t.Fatal(err)
	}
	opened := apply(t, m, l.entry(setVersion(t, "0.1.0"), openSession()))[1]
	return m, l, opened.(*statemachine.SessionOpened).ID
}

func TestSessionSequence(t *testing.T) {
	m, l, id := startSessions(t, vfs.NewMem())
	defer closeMachine(t, m)
	var results []any // by sequence
	for i, step := range []struct {
		session, sequence uint64
		want              error
		applied           bool
	}{
		{id, 0, statemachine.ErrSequencePast, false},
		{id, 2, statemachine.ErrSequenceGap, false},
		{id, 1, nil, true},
		{id, 1, nil, false},
		{id, 0, statemachine.ErrSequencePast, false},
		{id, 3, statemachine.ErrSequenceGap, false},
		{id, math.MaxUint64, statemachine.ErrSequenceGap, false},
		{id, 2, nil, true},
		{id, 1, statemachine.ErrSequencePast, false},
		{id, 2, nil, false},
		{id + 1, 1, statemachine.ErrSessionUnknown, false},
		{1, 1, statemachine.ErrSessionUnknown, false},
	} {
		before := m.Revision()
		result := apply(t, m, l.entry(note(t, step.session, step.sequence)))[0]
		if err, _ := result.(error); !errors.Is(err, step.want) {
			t.Fatalf("step %d: %v, want %v", i, result, step.want)
		}
		if applied := m.Revision() == before+1; applied != step.applied {
			t.Fatalf("step %d: applied %t", i, applied)
		}
		switch {
		case step.applied:
			results = append(results, result)
		case step.want == nil && !proto.Equal(result.(proto.Message), results[step.sequence-1].(proto.Message)):
			t.Fatalf("step %d: answered %v, first %v", i, result, results[step.sequence-1])
		}
	}
	// Retries that come in one entry, and another command under a known number.
	got := apply(t, m, l.entry(note(t, id, 3), note(t, id, 3), note(t, id, 4),
		inSession(t, id, 4, envelope.KindDeleteRange, &pb.DeleteRangeRequest{Key: []byte("k")})))
	if !proto.Equal(got[0].(proto.Message), got[1].(proto.Message)) || !proto.Equal(got[2].(proto.Message), got[3].(proto.Message)) {
		t.Fatalf("answered %v", got)
	}
	resp, err := m.Range(t.Context(), &pb.RangeRequest{Key: fmt.Append(nil, id)})
	if err != nil || len(resp.Kvs) != 1 || string(resp.Kvs[0].Value) != " 1 2 3 4" {
		t.Fatalf("read %v, %v", resp, err)
	}
}

func TestSessionClose(t *testing.T) {
	m, l, id := startSessions(t, vfs.NewMem())
	defer closeMachine(t, m)
	apply(t, m, l.entry(note(t, id, 1)))
	used := l.index << 16
	for i, step := range []struct {
		command []byte
		want    error
	}{
		{closeSession(id, id), statemachine.ErrSessionUsed}, // since it was opened
		{closeSession(id, used-1), statemachine.ErrSessionUsed},
		{note(t, id, 1), nil}, // a retry is no use
		{note(t, id, 3), statemachine.ErrSequenceGap},
		{closeSession(id, used), nil},
		{closeSession(id, 0), statemachine.ErrSessionUnknown},
		{note(t, id, 1), statemachine.ErrSessionUnknown},
		{note(t, id, 2), statemachine.ErrSessionUnknown},
	} {
		result := apply(t, m, l.entry(step.command))[0]
		if err, _ := result.(error); !errors.Is(err, step.want) {
			t.Fatalf("step %d: %v, want %v", i, result, step.want)
		}
	}
	if records, err := m.Records(keys.Sessions); err != nil || len(records) != 0 {
		t.Fatalf("left %v, %v", records, err)
	}
	// Opened, used and closed, with a command of its own kind ignoring sessions.
	place := (l.index + 1) << 16
	results := apply(t, m, l.entry(openSession(), note(t, place, 1), closeSession(place, 0), note(t, place, 2),
		envelope.EncodeCommand(envelope.Command{Kind: envelope.KindSessionOpen, Session: place, Sequence: 9})))
	if opened, ok := results[4].(*statemachine.SessionOpened); !ok || opened.ID != place|4 {
		t.Fatalf("opened %v", results[4])
	}
	if err, _ := results[3].(error); !errors.Is(err, statemachine.ErrSessionUnknown) {
		t.Fatal(err)
	}
	if records, err := m.Records(keys.Sessions); err != nil || len(records) != 1 {
		t.Fatalf("left %v, %v", records, err)
	}
}

// TestSessionResults: every form of result survives a restart; a refusal stays
// the refusal, also when the reason is gone; what is too large is not applied
// again.
func TestSessionResults(t *testing.T) {
	put := func(value string) *pb.PutRequest {
		return &pb.PutRequest{Key: []byte("k"), Value: []byte(value), PrevKv: true}
	}
	read := &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte("k")}}}
	large := string(make([]byte, 40_000))
	for _, c := range []struct {
		name string
		kind envelope.Kind
		req  proto.Message
		want error // of the retry
	}{
		{"put", envelope.KindPut, put("new"), nil},
		{"append", envelope.KindAppend, put("more"), nil},
		{"delete", envelope.KindDeleteRange, &pb.DeleteRangeRequest{Key: []byte("k"), PrevKv: true}, nil},
		{"txn", envelope.KindTxn, &pb.TxnRequest{Success: []*pb.RequestOp{read}}, nil},
		{"compaction", envelope.KindCompaction, &pb.CompactionRequest{Revision: 2}, nil},
		{"alarm", envelope.KindAlarm, activate(1, pb.AlarmType_NOSPACE), nil},
		{"refused put", envelope.KindPut, &pb.PutRequest{}, statemachine.ErrEmptyKey},
		{"refused compaction", envelope.KindCompaction, &pb.CompactionRequest{Revision: 99}, statemachine.ErrFutureRevision},
		{"refused version", envelope.KindClusterVersion, &membershippb.ClusterVersionSetRequest{}, statemachine.ErrClusterVersion},
		{"no form", envelope.KindClusterVersion, &membershippb.ClusterVersionSetRequest{Ver: "0.1.0"}, statemachine.ErrResultNotKept},
		{"large", envelope.KindPut, put(large), nil},
		{"large previous", envelope.KindPut, put("small"), statemachine.ErrResultNotKept},
	} {
		t.Run(c.name, func(t *testing.T) {
			fs := vfs.NewMem()
			m, l, id := startSessions(t, fs)
			value := "old"
			if c.name == "large previous" {
				value = large
			}
			apply(t, m, l.entry(request(t, put(value))))
			cmd := inSession(t, id, 1, c.kind, c.req)
			first := apply(t, m, l.entry(cmd))[0]
			before, again := m.Revision(), apply(t, m, l.entry(cmd))[0]
			closeMachine(t, m)
			m = openAt(t, fs, "m")
			defer closeMachine(t, m)
			for _, result := range []any{again, apply(t, m, l.entry(cmd))[0]} {
				err, refused := result.(error)
				switch {
				case c.want != nil && !errors.Is(err, c.want), c.want == nil && refused:
					t.Errorf("retry answered %v, want %v", result, c.want)
				case c.want == nil && !proto.Equal(result.(proto.Message), first.(proto.Message)):
					t.Errorf("retry answered %v, first %v", result, first)
				}
			}
			if m.Revision() != before {
				t.Error("the retry took effect")
			}
			if err, ok := apply(t, m, l.entry(note(t, id, 2)))[0].(error); ok && c.name != "alarm" {
				t.Errorf("the next command: %v", err)
			}
		})
	}
}

// TestSessionRecordsRefusals: whatever a command can be refused with is
// recorded as such.
func TestSessionRecordsRefusals(t *testing.T) {
	for _, err := range []error{
		statemachine.ErrCompacted, statemachine.ErrFutureRevision, statemachine.ErrEmptyKey, statemachine.ErrKeyNotFound,
		statemachine.ErrLeaseNotFound, statemachine.ErrValueTooLarge, statemachine.ErrNotReadOnly,
		statemachine.ErrNoSpace, statemachine.ErrCorruptAlarm, statemachine.ErrMemberNotFound, statemachine.ErrOtherIncarnation,
		statemachine.ErrClusterVersion, statemachine.ErrClusterVersionLowers, statemachine.ErrNotYet,
		statemachine.ErrNotNumber, statemachine.ErrOverflow, statemachine.ErrDenied,
	} {
		if !statemachine.Refused(fmt.Errorf("wrapped: %w", err)) {
			t.Errorf("%v is not recorded", err)
		}
	}
}

// TestSessionsMax: the table holds as many as it may; the one that goes is the
// one whose last command is oldest in the log.
func TestSessionsMax(t *testing.T) {
	const most = 8192
	m, l, first := startSessions(t, vfs.NewMem())
	defer closeMachine(t, m)
	commands := make([][]byte, most-1)
	for i := range commands {
		commands[i] = openSession()
	}
	second := apply(t, m, l.entry(commands...))[0].(*statemachine.SessionOpened).ID
	apply(t, m, l.entry(note(t, first, 1)))
	results := apply(t, m, l.entry(openSession(), note(t, first, 2), note(t, second, 1), note(t, second+1, 1)))
	for i, want := range []error{nil, nil, statemachine.ErrSessionUnknown, nil} {
		if err, _ := results[i].(error); !errors.Is(err, want) {
			t.Errorf("command %d: %v, want %v", i, results[i], want)
		}
	}
	if records, err := m.Records(keys.Sessions); err != nil || len(records) != most {
		t.Fatalf("%d sessions, %v", len(records), err)
	}
}
