package statemachine_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/membershippb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"raftkv/statemachine"
	"raftkv/statemachine/envelope"
)

// randomLog makes a log of everything there is, some of it refused.
func randomLog(t testing.TB, r *rand.Rand, entries int) []*raftpb.Entry {
	l, g, s := newLog(t), &generator{r: r}, &sessionGenerator{r: r}
	var log []*raftpb.Entry
	for i := range entries {
		switch r.IntN(20) {
		case 0:
			log = append(log, l.raw(nil))
		case 1:
			log = append(log, l.entry(publish(t, envelope.PublishMember{
				ID: 1 + r.Uint64N(4), Name: fmt.Sprint(i), ClientURLs: []string{"http://x:1"}, Incarnation: r.Uint64N(3)})))
		case 2:
			log = append(log, l.change(raftpb.ConfChangeType(r.IntN(4)),
				&pb.Member{ID: 1 + r.Uint64N(8), PeerURLs: []string{"http://m:1", fmt.Sprint("http://m:", i)}[r.IntN(2):]}))
		case 3:
			log = append(log, l.entry(command(t, envelope.KindClusterVersion,
				&membershippb.ClusterVersionSetRequest{Ver: []string{"0.0.0", "0.0.1", "0.0.2", "0.1.0"}[r.IntN(4)]})))
		case 5:
			// Seldom active, so that most writes are not refused.
			action := pb.AlarmRequest_AlarmAction(r.IntN(9))
			if action > pb.AlarmRequest_DEACTIVATE {
				action = pb.AlarmRequest_DEACTIVATE
			}
			log = append(log, l.entry(command(t, []envelope.Kind{envelope.KindAlarm, envelope.KindOwnAlarm}[r.IntN(2)],
				&pb.AlarmRequest{Action: action, MemberID: 1 + r.Uint64N(3), Alarm: pb.AlarmType(r.IntN(3))})))
		case 6, 7:
			log = append(log, s.entry(l))
		case 4:
			l.batch -= min(l.batch, r.Uint64N(3)) // batches that come twice
		default:
			var commands [][]byte
			for range 1 + r.IntN(4) {
				commands = append(commands, request(t, g.write(int64(i))))
			}
			log = append(log, l.entry(commands...))
		}
	}
	return log
}

// TestDeterministic applies one log to machines that divide it differently,
// flush at other times, restart, or sweep what was compacted: results and
// states are equal.
func TestDeterministic(t *testing.T) {
	const seedValue = 3
	t.Logf("seed %d", seedValue)
	r := rand.New(rand.NewPCG(seedValue, 0))
	log := randomLog(t, r, 1500)
	reference := start(t)
	var want []any
	for _, e := range log {
		want = append(want, apply(t, reference, e)...)
	}
	wantHash, err := reference.StateHash()
	if err != nil {
		t.Fatal(err)
	}
	for variant := range 3 {
		fs := vfs.NewMem()
		m := open(t, fs)
		if err := m.Bootstrap(seed()); err != nil {
			t.Fatal(err)
		}
		var got []any
		for rest := log; len(rest) > 0; {
			n := callLen(r, rest)
			got = append(got, apply(t, m, rest[:n]...)...)
			rest = rest[n:]
			if variant == 2 {
				if _, _, err := m.SweepStep(1 + r.IntN(30)); err != nil {
					t.Fatal(err)
				}
			}
			if variant > 0 && r.IntN(50) == 0 {
				closeMachine(t, m)
				m = open(t, fs)
			}
		}
		compareAnswers(t, got, want)
		compareStates(t, m, reference, wantHash)
		if variant == 2 {
			if m.LiveBytes() >= reference.LiveBytes() {
				t.Error("nothing was swept")
			}
			sweep(t, m, 100)
			compareStates(t, m, reference, wantHash)
			checkLiveBytes(t, m)
		}
		closeMachine(t, m)
	}
}

// callLen is the length of a random call of Apply: a configuration change is
// the last entry of its call.
func callLen(r *rand.Rand, log []*raftpb.Entry) int {
	n := 1 + r.IntN(min(40, len(log)))
	for i, e := range log[:n] {
		if e.GetType() != raftpb.EntryNormal {
			return i + 1
		}
	}
	return n
}

func compareAnswers(t *testing.T, got, want []any) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d answers, want %d", len(got), len(want))
	}
	for i := range want {
		wantMessage, isMessage := want[i].(proto.Message)
		gotMessage, _ := got[i].(proto.Message)
		if isMessage && !proto.Equal(gotMessage, wantMessage) || !isMessage && fmt.Sprint(got[i]) != fmt.Sprint(want[i]) {
			t.Fatalf("answer %d is %v, want %v", i, got[i], want[i])
		}
	}
}

func compareStates(t *testing.T, m, reference *statemachine.Machine, wantHash uint64) {
	t.Helper()
	hash, err := m.StateHash()
	if err != nil {
		t.Fatal(err)
	}
	if hash != wantHash {
		t.Errorf("state hash %x, want %x", hash, wantHash)
	}
	index, rolling := m.RollingHash()
	wantIndex, wantRolling := reference.RollingHash()
	if index != wantIndex || rolling != wantRolling {
		t.Errorf("rolling hash %x at %d, want %x at %d", rolling, index, wantRolling, wantIndex)
	}
	if !reflect.DeepEqual(m.Members(), reference.Members()) ||
		!reflect.DeepEqual(m.RemovedMembers(), reference.RemovedMembers()) ||
		!proto.Equal(m.ConfState(), reference.ConfState()) ||
		!reflect.DeepEqual(m.Alarms(pb.AlarmType_NONE), reference.Alarms(pb.AlarmType_NONE)) ||
		m.ClusterVersion() != reference.ClusterVersion() || m.Revision() != reference.Revision() ||
		m.CompactedRevision() != reference.CompactedRevision() {
		t.Error("what is kept in memory differs")
	}
}

// TestRollingHash pins the logical encoding of effects, every kind of them:
// members of different binaries compare these hashes.
func TestRollingHash(t *testing.T) {
	m, l := start(t), newLog(t)
	key := []byte("key")
	apply(t, m,
		l.entry(request(t, &pb.PutRequest{Key: key, Value: []byte("value")}), request(t, &pb.PutRequest{Key: []byte("b")})),
		l.entry(request(t, &pb.DeleteRangeRequest{Key: key}), request(t, &pb.CompactionRequest{Revision: 2})),
		l.raw(nil),
		l.entry(publish(t, envelope.PublishMember{ID: 1, Name: "one", ClientURLs: []string{"http://a:2"}, Incarnation: 0x1ca})),
		l.entry(command(t, envelope.KindClusterVersion, &membershippb.ClusterVersionSetRequest{Ver: "0.1.0"})),
		l.change(raftpb.ConfChangeAddLearnerNode, &pb.Member{ID: 4, PeerURLs: []string{"http://d:1"}}))
	apply(t, m, l.change(raftpb.ConfChangeRemoveNode, &pb.Member{ID: 2}))
	apply(t, m, sessionEntry(l), l.entry(openSession(), closeSession(l.index<<16, 0)),
		l.entry(command(t, envelope.KindOwnAlarm, activate(1, pb.AlarmType_NOSPACE))))
	const want = 0xc97ca61b6cd028fe
	if _, got := m.RollingHash(); got != want {
		t.Fatalf("rolling hash %#x, want %#x", got, uint64(want))
	}
}

func TestRollingHashSeesEveryEffect(t *testing.T) {
	seen := make(map[uint64]string)
	for name, req := range map[string]proto.Message{
		"put":         &pb.PutRequest{Key: []byte("a"), Value: []byte("bc")},
		"other value": &pb.PutRequest{Key: []byte("a"), Value: []byte("bd")},
		"other split": &pb.PutRequest{Key: []byte("ab"), Value: []byte("c")},
		"delete":      &pb.DeleteRangeRequest{Key: []byte("k")},
		"nothing":     &pb.DeleteRangeRequest{Key: []byte("x")},
		"compaction":  &pb.CompactionRequest{Revision: 1},
	} {
		m, l := start(t), newLog(t)
		apply(t, m, l.entry(request(t, &pb.PutRequest{Key: []byte("k")})), l.entry(request(t, req)))
		_, hash := m.RollingHash()
		if other, ok := seen[hash]; ok {
			t.Errorf("%s and %s have the same hash", name, other)
		}
		seen[hash] = name
	}
}

// TestFatalEntries: what must not be skipped stops the machine, and nothing of
// the call is applied.
func TestFatalEntries(t *testing.T) {
	put := func(t *testing.T) []byte { return request(t, &pb.PutRequest{Key: []byte("a")}) }
	for name, c := range map[string]struct {
		bad  func(t *testing.T, l *logWriter) *raftpb.Entry
		want error
	}{
		"no envelope": {func(_ *testing.T, l *logWriter) *raftpb.Entry { return l.raw([]byte("?")) }, statemachine.ErrMalformedEntry},
		"no proposer": {func(t *testing.T, l *logWriter) *raftpb.Entry {
			return l.raw(envelope.Pack(envelope.Envelope{Batch: 1}, nil))
		}, statemachine.ErrMalformedEntry},
		"malformed put": {func(_ *testing.T, l *logWriter) *raftpb.Entry {
			return l.entry(envelope.EncodeCommand(envelope.Command{Kind: envelope.KindPut, Body: []byte{0x0a}}))
		}, statemachine.ErrMalformedEntry},
		"malformed txn": {func(_ *testing.T, l *logWriter) *raftpb.Entry {
			return l.entry(envelope.EncodeCommand(envelope.Command{Kind: envelope.KindTxn, Body: []byte{0x0a}}))
		}, statemachine.ErrMalformedEntry},
		"unknown kind": {func(_ *testing.T, l *logWriter) *raftpb.Entry {
			return l.entry(envelope.EncodeCommand(envelope.Command{Kind: 99}))
		}, statemachine.ErrUnknownCommand},
		"member change in a normal entry": {func(t *testing.T, l *logWriter) *raftpb.Entry {
			return l.entry(command(t, envelope.KindMemberChange, &pb.Member{ID: 1}))
		}, statemachine.ErrUnknownCommand},
		"gap": {func(t *testing.T, l *logWriter) *raftpb.Entry {
			l.index++
			return l.entry(put(t))
		}, statemachine.ErrOutOfOrder},
		"lower term": {func(t *testing.T, l *logWriter) *raftpb.Entry {
			e := l.entry(put(t))
			e.Term = new(uint64(1))
			return e
		}, statemachine.ErrOutOfOrder},
	} {
		t.Run(name, func(t *testing.T) {
			m, l := start(t), newLog(t)
			apply(t, m, l.entry(put(t)))
			entries := []*raftpb.Entry{l.entry(put(t)), c.bad(t, l)}
			_, err := m.Apply(entries, func(_, _, _, _ uint64, _ []any) { t.Error("answered") })
			if !errors.Is(err, c.want) {
				t.Fatalf("error %v, want %v", err, c.want)
			}
			if index, _ := m.Applied(); index != 2 || m.Revision() != 2 {
				t.Errorf("applied %d, revision %d: part of the call took effect", index, m.Revision())
			}
			if _, again := m.Apply(entries[:1], nil); again == nil {
				t.Error("the machine went on")
			}
		})
	}
}

// TestAnswersAfterVisible: when an answer arrives, a read sees the effect.
func TestAnswersAfterVisible(t *testing.T) {
	m, l := start(t), newLog(t)
	answered := 0
	_, err := m.Apply([]*raftpb.Entry{l.entry(request(t, &pb.PutRequest{Key: []byte("a"), Value: []byte("1")})), l.raw(nil)},
		func(index, proposerID, boot, batch uint64, results []any) {
			answered++
			if index != 2 || proposerID != proposer || boot != 1 || batch != 1 || len(results) != 1 {
				t.Errorf("answer of index %d, batch %d/%d/%d, %d results", index, proposerID, boot, batch, len(results))
			}
			resp, err := m.Range(t.Context(), &pb.RangeRequest{Key: []byte("a")})
			if err != nil || resp.Count != 1 {
				t.Errorf("read %v, %v", resp, err)
			}
			if applied, _ := m.Applied(); applied != 3 {
				t.Errorf("applied %d", applied)
			}
		})
	if err != nil || answered != 1 {
		t.Fatalf("answered %d times, error %v", answered, err)
	}
}

func TestBootstrap(t *testing.T) {
	m := open(t, vfs.NewMem())
	defer closeMachine(t, m)
	if m.Initialized() {
		t.Error("initialized before Bootstrap")
	}
	if _, err := m.Durable(); !errors.Is(err, statemachine.ErrNotInitialized) {
		t.Errorf("Durable: %v", err)
	}
	if _, err := m.Range(t.Context(), &pb.RangeRequest{Key: []byte("a")}); !errors.Is(err, statemachine.ErrNotInitialized) {
		t.Errorf("Range: %v", err)
	}
	bad := seed()
	bad.Term = 0
	bad.Members = bad.Members[1:]
	if err := m.Bootstrap(bad); err == nil || m.Initialized() {
		t.Fatalf("bad seed taken: %v", err)
	}
	if err := m.Bootstrap(seed()); err != nil {
		t.Fatal(err)
	}
	durable, err := m.Durable()
	if err != nil || durable.GetIndex() != 1 || durable.GetTerm() != 1 || len(durable.GetConfState().GetVoters()) != 3 {
		t.Errorf("Durable: %v, %v", durable, err)
	}
	if size, err := m.Size(); err != nil || size == 0 {
		t.Errorf("size %d, %v", size, err)
	}
	if m.ClusterID() != clusterID || !m.Initialized() || m.Revision() != 1 || m.CompactedRevision() != -1 {
		t.Error("the seed did not take")
	}
	if err := m.Bootstrap(seed()); !errors.Is(err, statemachine.ErrAlreadyInitialized) {
		t.Errorf("second Bootstrap: %v", err)
	}
}
