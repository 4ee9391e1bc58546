package operator

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/membershippb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"raftkv/server/identity"
	"raftkv/statemachine/envelope"
	"raftkv/wal"
)

// foundedDir is the directory of a stopped member of a new cluster, whose log has
// entries, all but the last of which are committed, and whose state has applied
// some.
func foundedDir(t *testing.T, entries []*raftpb.Entry, applied int) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "data")
	id := identity.Identity{ClusterID: oldCluster, MemberID: oldMember, Name: "1"}
	d, err := identity.Open(root, id)
	if err != nil {
		t.Fatal(err)
	}
	m := openMachine(t, d.State())
	if err := m.Bootstrap(seed()); err != nil {
		t.Fatal(err)
	}
	anchor, err := m.Durable()
	if err != nil {
		t.Fatal(err)
	}
	opts := wal.Options{Dir: d.WAL(), Metadata: wal.Metadata{ClusterID: oldCluster, MemberID: oldMember}}
	if err := wal.Create(opts, anchor); err != nil {
		t.Fatal(err)
	}
	log, err := wal.Open(opts, anchor)
	if err != nil {
		t.Fatal(err)
	}
	for i := range entries[:applied] {
		apply(t, m, entries[i:i+1])
	}
	hs := &raftpb.HardState{Term: new(uint64(2)), Vote: new(uint64(0)), Commit: new(entries[len(entries)-2].GetIndex())}
	if err := errors.Join(log.Append(hs, entries), d.MarkComplete(), log.Close(), m.Close(), d.Close()); err != nil {
		t.Fatal(err)
	}
	return root
}

func frame(writes ...envelope.Write) envelope.Command {
	var all []byte
	for i := range writes {
		all = envelope.AppendWrite(all, &writes[i])
	}
	e, err := envelope.Decode(envelope.Pack(envelope.Envelope{}, [][]byte{envelope.EncodeFrame(envelope.Command{}, envelope.Frame{Writes: all})}))
	if err != nil {
		panic(err) // it was encoded here
	}
	return e.Commands[0]
}

// growingEntries grow keys in all ways, and repeat a batch.
func growingEntries(t *testing.T) []*raftpb.Entry {
	t.Helper()
	add := func(index uint64, key, value string, lease int64) *raftpb.Entry {
		return command(t, index, 2, envelope.KindAppend, &pb.PutRequest{Key: []byte(key), Value: []byte(value), Lease: lease})
	}
	version := envelope.EncodeCommand(envelope.Command{Kind: envelope.KindClusterVersion, Body: []byte("\n\x050.1.0")})
	framed := envelope.EncodeCommand(frame(
		envelope.Write{Op: envelope.WritePut, Key: []byte("p"), Value: []byte("1")},
		envelope.Write{Op: envelope.WritePut, Key: []byte("q"), Value: []byte("2")},
		envelope.Write{Op: envelope.WriteIncrement, Key: []byte("q"), Delta: 40},
		envelope.Write{Op: envelope.WriteIncrement, Key: []byte("a"), Delta: 1}, // no number
		envelope.Write{Op: envelope.WriteAppend, Key: []byte("p"), Value: []byte("0")},
		envelope.Write{Op: envelope.WriteDelete, Key: []byte("p")},
		envelope.Write{Op: envelope.WriteAppend, Key: []byte("p"), Value: []byte("new")},
	))
	entry := func(index uint64, commands ...[]byte) *raftpb.Entry {
		return &raftpb.Entry{Index: new(index), Term: new(uint64(2)), Data: envelope.Pack(envelope.Envelope{Proposer: oldMember, Boot: 1, Batch: index}, commands)}
	}
	again := add(6, "a", " b", 0)
	repeated := proto.CloneOf(again)
	repeated.Index = new(uint64(7))
	return []*raftpb.Entry{
		entry(2, version),
		command(t, 3, 2, envelope.KindLeaseGrant, &pb.LeaseGrantRequest{ID: 9, TTL: 100}),
		put(t, 4, "a", "a"),
		add(5, "a", " of lease", 9),
		again,
		repeated,
		entry(8, framed),
		add(9, "a", "?", 77), // there is no such lease
		command(t, 10, 2, envelope.KindDowngrade, &membershippb.DowngradeInfoSetRequest{Enabled: true, Ver: "3.6.0"}),
		entry(11, envelope.EncodeCommand(envelope.Command{Kind: envelope.KindLeaseRemaining,
			Body: envelope.LeaseRemaining{Term: 2, Leases: []envelope.RemainingTTL{{ID: 9, Seconds: 50}}}.Encode()})),
		add(12, "a", "late", 0), // not committed
	}
}

// dumpRaw returns the lines of the raw dump, requests as text, and the warnings.
func dumpRaw(t *testing.T, root string) (lines, warnings []string) {
	t.Helper()
	var raw bytes.Buffer
	err := DumpRaw(t.Context(), &raw, root, func(format string, args ...any) { warnings = append(warnings, fmt.Sprintf(format, args...)) })
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(raw.String()) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), " ")
		if fields[0] == "commit" {
			continue
		}
		text := ""
		if fields[3] != "" {
			data, err := base64.StdEncoding.DecodeString(fields[3])
			req := &pb.InternalRaftRequest{}
			if err := errors.Join(err, proto.Unmarshal(data, req)); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			if text = "other"; req.Put != nil {
				text = fmt.Sprintf("%s=%s", req.Put.Key, req.Put.Value)
				if req.Put.Lease != 0 {
					text += fmt.Sprintf(" lease %d", req.Put.Lease)
				}
			}
			if req.DowngradeInfoSet != nil {
				text = "downgrade to " + req.DowngradeInfoSet.Ver
			}
			if req.LeaseCheckpoint != nil {
				text = fmt.Sprint("checkpoint ", req.LeaseCheckpoint.Checkpoints[0].Remaining_TTL)
			}
		}
		lines = append(lines, fields[0]+" "+text)
	}
	return lines, warnings
}

// TestGrowingWritesAreWhole: what appends and increments led to is shown of a log
// that goes back to the beginning, wherever the state stands.
func TestGrowingWritesAreWhole(t *testing.T) {
	want := []string{
		"2 other", "3 other", "4 a=a", "5 a=a of lease lease 9", "6 a=a of lease b lease 9", "7 ",
		"8 p=1", "8 q=2", "8 q=42", "8 ", "8 p=10", "8 other", "8 p=new", "9 ", "10 downgrade to 3.6.0", "11 checkpoint 50", "12 ",
	}
	entries := growingEntries(t)
	for _, applied := range []int{0, 4, len(entries) - 1} {
		lines, warnings := dumpRaw(t, foundedDir(t, entries, applied))
		if strings.Join(lines, "\n") != strings.Join(want, "\n") {
			t.Errorf("%d entries applied:\n%s", applied, strings.Join(lines, "\n"))
		}
		all := strings.Join(warnings, "\n")
		if len(warnings) != 4 || !strings.Contains(all, "entry 7, command 1") || !strings.Contains(all, "not known to be committed") {
			t.Errorf("warnings are\n%s", all)
		}
	}
}

// TestGrowingWritesThatCannotBeTold are left empty, with the reason.
func TestGrowingWritesThatCannotBeTold(t *testing.T) {
	entries := growingEntries(t)
	running := foundedDir(t, entries, 5)
	m := openMachine(t, filepath.Join(running, "member", "state"))
	defer func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}()
	for name, tc := range map[string]struct{ root, reason string }{
		"the member runs":  {running, "does the member run?"},
		"other beginning":  {foreignBeginning(t, entries), "restored or imported"},
		"an old beginning": {restoredDir(t), "does not go back to the beginning"},
	} {
		lines, warnings := dumpRaw(t, tc.root)
		if len(warnings) == 0 || !strings.Contains(warnings[0], tc.reason) {
			t.Errorf("%s: %q", name, warnings)
		}
		for _, line := range lines {
			if strings.Contains(line, "of lease") {
				t.Errorf("%s: %s", name, line)
			}
		}
	}
}

// foreignBeginning is a directory whose state began with a key that its log does
// not have.
func foreignBeginning(t *testing.T, entries []*raftpb.Entry) string {
	t.Helper()
	other := append([]*raftpb.Entry{put(t, 2, "more", "than the log has")}, entries[1:]...)
	root, from := foundedDir(t, entries, 0), foundedDir(t, other, 5)
	copyDir(t, filepath.Join(from, "member", "state"), filepath.Join(root, "member", "state"))
	return root
}

// restoredDir has a log that goes on behind a snapshot file, with an append.
func restoredDir(t *testing.T) string {
	t.Helper()
	path, s := sampleFile(t)
	r := restoredMember(t, path)
	late := command(t, r.meta.GetIndex()+1, 2, envelope.KindAppend, &pb.PutRequest{Key: []byte("key-01"), Value: []byte("more")})
	r.stop(t, 1, []*raftpb.Entry{late})
	if s.Index < 2 {
		t.Fatalf("the sample is at index %d", s.Index)
	}
	return r.path
}
