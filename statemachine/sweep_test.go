package statemachine_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/pkg/v3/traceutil"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.etcd.io/etcd/server/v3/storage/schema"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"raftkv/statemachine"
	"raftkv/statemachine/keys"
)

// sweep sweeps until nothing is left to do, and returns the reports.
func sweep(t testing.TB, m *statemachine.Machine, limit int) (reports []statemachine.SweepReport) {
	t.Helper()
	for more := true; more; {
		var report *statemachine.SweepReport
		var err error
		if more, report, err = m.SweepStep(limit); err != nil {
			t.Fatal(err)
		}
		if report != nil {
			reports = append(reports, *report)
		}
	}
	if m.Swept() != m.CompactedRevision() {
		t.Fatalf("swept up to %d, compacted up to %d", m.Swept(), m.CompactedRevision())
	}
	return reports
}

// keySpace returns the versions of all keys, then the changes that made them.
func keySpace(t testing.TB, m *statemachine.Machine) []statemachine.Record {
	t.Helper()
	versions, err := m.Records(keys.Keys)
	if err != nil {
		t.Fatal(err)
	}
	changes, _, err := m.Changes()
	if err != nil {
		t.Fatal(err)
	}
	return slices.Concat(versions, changes)
}

// checkLiveBytes compares LiveBytes with what the tables hold.
func checkLiveBytes(t testing.TB, m *statemachine.Machine) {
	t.Helper()
	total := int64(0)
	for _, r := range keySpace(t, m) {
		total += int64(len(r.Key) + len(r.Value))
	}
	leases, err := m.Records(keys.Leases)
	if err != nil {
		t.Fatal(err)
	}
	total += 64 * int64(len(leases))
	if live := m.LiveBytes(); live != total {
		t.Fatalf("%d live bytes, the tables hold %d", live, total)
	}
}

// historian makes writes that etcd's handlers would let pass: a transaction
// changes a key once, or deletes an open range and puts keys again.
type historian struct{ generator }

// write makes one; a compaction at the revision of one that rewrites is no
// measure, since etcd itself loses the keys put again.
func (h *historian) write() (req proto.Message, rewrites bool) {
	switch {
	case h.chance(10):
		return h.rewrite(), true
	case h.chance(60):
		return h.change(), false
	}
	return h.txn(), false
}

// rewrite deletes up to the end of the key space and puts some keys there,
// often the only ones that are left.
func (h *historian) rewrite() proto.Message {
	first := []byte{0}
	if h.chance(50) {
		first = h.key()
	}
	del := &pb.DeleteRangeRequest{Key: first, RangeEnd: []byte{0}}
	req := &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: del}}}}
	for range 1 + h.r.IntN(2) {
		put := &pb.PutRequest{Key: h.key(), Value: h.value()}
		req.Success = append(req.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: put}})
	}
	if h.chance(10) {
		req.Success = append(req.Success, req.Success[0])
	}
	return req
}

func (h *historian) txn() proto.Message {
	req, used := &pb.TxnRequest{}, map[string]bool{}
	for range 1 + h.r.IntN(5) {
		switch c := h.change().(type) {
		case *pb.PutRequest:
			if !used[string(c.Key)] {
				used[string(c.Key)] = true
				req.Success = append(req.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: c}})
			}
		case *pb.DeleteRangeRequest:
			if len(c.RangeEnd) == 0 && !used[string(c.Key)] {
				used[string(c.Key)] = true
				req.Success = append(req.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: c}})
			}
		}
	}
	return req
}

func (h *historian) change() proto.Message {
	if h.chance(65) {
		return &pb.PutRequest{Key: h.key(), Value: h.value()}
	}
	if h.chance(3) {
		return &pb.DeleteRangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}
	}
	return h.delete()
}

// TestHashKVSameAsEtcd compares HashKV and what is left on disk with etcd's
// own storage over random histories, before and after each compaction and its
// sweep.
func TestHashKVSameAsEtcd(t *testing.T) {
	seeds := []uint64{11, 12, 13, 14}
	if *seedFlag != 0 {
		seeds = []uint64{*seedFlag}
	}
	for _, s := range seeds {
		t.Run(fmt.Sprintf("seed=%d", s), func(t *testing.T) {
			hashHistory(t, &historian{generator{r: rand.New(rand.NewPCG(s, 0))}})
		})
	}
}

func hashHistory(t *testing.T, h *historian) {
	m, l, oracle := start(t), newLog(t), newEtcd(t)
	hashes, refused, shared, compacted := 0, 0, 0, []int64{1}
	rewritten := map[int64]bool{}
	var pending []*raftpb.Entry // applied in one batch, so that neighbouring changes share records
	flush := func() {
		t.Helper()
		apply(t, m, pending...)
		pending = nil
	}
	compare := func() {
		t.Helper()
		flush()
		newest := oracle.kv.Rev()
		asked := []int64{0, -1, newest, newest + 1, compacted[h.r.IntN(len(compacted))], 1 + h.r.Int64N(newest)}
		last := compacted[len(compacted)-1]
		for _, revision := range append(asked, last-1, last, last+1) {
			hashes++
			if !compareHash(t, m, oracle, revision) {
				refused++
			}
		}
	}
	for range 60 {
		for range h.r.IntN(25) {
			req, rewrites := h.write()
			oracle.apply(req)
			pending = append(pending, l.entry(request(t, req)))
			if rewrites {
				rewritten[oracle.kv.Rev()] = true
				compare() // as long as it is the newest
			} else if h.chance(20) {
				flush()
			}
		}
		compare()
		if revision := max(1, oracle.kv.Rev()-h.r.Int64N(12)*h.r.Int64N(2)); h.chance(50) && !rewritten[revision] {
			done, wantErr := oracle.kv.Compact(traceutil.Get(t.Context()), revision)
			got := apply(t, m, l.entry(request(t, &pb.CompactionRequest{Revision: revision})))[0]
			if gotErr, _ := got.(error); (gotErr != nil) != (wantErr != nil) {
				t.Fatalf("compaction at %d: %v, etcd: %v", revision, got, wantErr)
			}
			<-done
			if wantErr == nil {
				compacted = append(compacted, revision)
			}
			compare() // the sweep has not begun
			if h.chance(70) {
				if _, _, err := m.SweepStep(3); err != nil { // hashes or removes a little
					t.Fatal(err)
				}
				compare()
			}
			sweep(t, m, 1+h.r.IntN(40))
			checkLiveBytes(t, m)
			changes, records, err := m.Changes()
			if err != nil {
				t.Fatal(err)
			}
			shared += len(changes) - records
			compare()
			compareRecords(t, m, oracle)
		}
	}
	if shared == 0 {
		t.Fatal("no changes shared a record")
	}
	if refused == 0 || refused > hashes/2 || len(compacted) < 10 {
		t.Fatalf("%d hashes, %d refused, %d compactions: the test exercises too little", hashes, refused, len(compacted))
	}
}

// compareHash reports whether there was a hash to compare.
func compareHash(t *testing.T, m *statemachine.Machine, oracle *etcd, revision int64) bool {
	t.Helper()
	want, newest, wantErr := oracle.kv.HashStorage().HashByRev(revision)
	got, err := m.HashKV(t.Context(), revision)
	switch {
	case errors.Is(wantErr, mvcc.ErrCompacted):
		if !errors.Is(err, statemachine.ErrCompacted) {
			t.Fatalf("revision %d: %v, %v; etcd answers %v", revision, got, err, wantErr)
		}
	case errors.Is(wantErr, mvcc.ErrFutureRev):
		if !errors.Is(err, statemachine.ErrFutureRevision) {
			t.Fatalf("revision %d: %v, %v; etcd answers %v", revision, got, err, wantErr)
		}
	case wantErr != nil || err != nil:
		t.Fatalf("revision %d: %v; etcd answers %v", revision, err, wantErr)
	default:
		as := statemachine.KVHash{Hash: want.Hash, CompactRevision: want.CompactRevision, HashRevision: want.Revision, Revision: newest}
		if got != as {
			t.Fatalf("revision %d of %d: got %+v, etcd answers %+v", revision, newest, got, as)
		}
		return true
	}
	return false
}

// compareRecords compares which revisions are on disk.
func compareRecords(t *testing.T, m *statemachine.Machine, oracle *etcd) {
	t.Helper()
	var want, got []keys.Revision
	tx := oracle.backend.ReadTx()
	tx.RLock()
	err := tx.UnsafeForEach(schema.Key, func(k, _ []byte) error {
		rev := mvcc.BytesToRev(k)
		want = append(want, keys.Revision{Main: rev.Main, Sub: uint32(rev.Sub)})
		return nil
	})
	tx.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
	changes, _, err := m.Changes()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range changes {
		rev, _, err := keys.DecodeRevision(c.Key)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, rev)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("revisions on disk:\n     %v\netcd %v", got, want)
	}
	versions, err := m.Records(keys.Keys)
	if err != nil || len(versions) != len(want) {
		t.Fatalf("%d versions on disk, want %d, %v", len(versions), len(want), err)
	}
}

// TestSweepAndReports: a sweep reports once, and what it keeps is what a read
// at the compacted revision sees.
func TestSweepAndReports(t *testing.T) {
	m, l := start(t), newLog(t)
	for i := range 30 {
		apply(t, m, l.entry(request(t, &pb.PutRequest{Key: fmt.Append(nil, i%3), Value: make([]byte, 100)})))
	}
	if more, report, err := m.SweepStep(10); more || report != nil || err != nil {
		t.Fatalf("sweep of an uncompacted state: %v, %v, %v", more, report, err)
	}
	apply(t, m, l.entry(request(t, &pb.CompactionRequest{Revision: 11}), request(t, &pb.CompactionRequest{Revision: 31})))
	before := m.LiveBytes()
	reports := sweep(t, m, 4)
	if len(reports) != 2 || reports[0].Revision != 11 || reports[1].Revision != 31 ||
		reports[0].Versions != 7 || reports[1].Versions != 20 || !reports[0].HashKnown || !reports[1].HashKnown {
		t.Errorf("reports %+v", reports)
	}
	if got := before - m.LiveBytes(); got != reports[0].Bytes+reports[1].Bytes {
		t.Errorf("%d bytes less, reported %+v", got, reports)
	}
	checkLiveBytes(t, m)
	resp, err := m.Range(t.Context(), &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Revision: 31})
	if err != nil || resp.Count != 3 || resp.Kvs[0].Version != 10 {
		t.Errorf("read %v, %v", resp, err)
	}
}

// TestSweepSurvivesCrashes cuts the power while sweeps run beside writes. What
// is found has the logical content of a machine that never swept, its account
// of live bytes is right, and sweeping goes on to the same records.
func TestSweepSurvivesCrashes(t *testing.T) {
	seedValue := max(*seedFlag, 5)
	t.Logf("seed %d", seedValue)
	r := rand.New(rand.NewPCG(seedValue, 0))
	resumed := 0
	for round := range 40 {
		fs := vfs.NewCrashableMem()
		m, reference := openCrashable(t, fs), start(t)
		if err := m.Bootstrap(seed()); err != nil {
			t.Fatal(err)
		}
		l, h := newLog(t), &historian{generator{r: r}}
		for range 20 + r.IntN(40) {
			one, _ := h.write()
			other, _ := h.write()
			commands := [][]byte{request(t, one), request(t, other)}
			if r.IntN(6) == 0 {
				commands = append(commands, request(t, &pb.CompactionRequest{Revision: 1 + r.Int64N(m.Revision())}))
			}
			entry := l.entry(commands...)
			apply(t, m, entry)
			apply(t, reference, entry)
			if _, _, err := m.SweepStep(1 + r.IntN(5)); err != nil {
				t.Fatal(err)
			}
			if r.IntN(5) == 0 {
				if err := m.Flush(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if round%2 == 0 { // the crash comes when everything was applied durably
			if err := m.Flush(); err != nil {
				t.Fatal(err)
			}
			if _, _, err := m.SweepStep(2); err != nil {
				t.Fatal(err)
			}
		}
		left := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: r.IntN(101), RNG: r})
		closeMachine(t, m)
		found := openCrashable(t, left)
		checkLiveBytes(t, found)
		if found.Swept() < found.CompactedRevision() {
			resumed++
		}
		sweep(t, found, 3)
		checkLiveBytes(t, found)
		if index, _ := found.Applied(); index == l.index {
			sweep(t, reference, 1000)
			compareTables(t, found, reference)
		}
		closeMachine(t, found)
	}
	if resumed < 5 {
		t.Errorf("only %d sweeps were resumed", resumed)
	}
}

func openCrashable(t *testing.T, fs vfs.FS) *statemachine.Machine {
	m, err := statemachine.Open(crashOptions(t, fs))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func compareTables(t *testing.T, m, reference *statemachine.Machine) {
	t.Helper()
	got, want := keySpace(t, m), keySpace(t, reference)
	if len(got) != len(want) {
		t.Fatalf("%d versions and changes, want %d", len(got), len(want))
	}
	for i := range got {
		if string(got[i].Key) != string(want[i].Key) || string(got[i].Value) != string(want[i].Value) {
			t.Fatalf("record %d is %q, want %q", i, got[i], want[i])
		}
	}
}

// TestSweepBesideEverything sweeps while entries are applied, others read, and
// the state is replaced.
func TestSweepBesideEverything(t *testing.T) {
	fs := vfs.NewMem()
	leader, m := openAt(t, fs, "leader"), openAt(t, fs, "m")
	defer closeMachine(t, leader)
	defer closeMachine(t, m)
	for _, machine := range []*statemachine.Machine{leader, m} {
		if err := machine.Bootstrap(seed()); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	loop := func(f func()) {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					f()
				}
			}
		})
	}
	loop(func() { readPair(t, m) })
	loop(func() {
		if _, _, err := m.SweepStep(7); err != nil {
			t.Error(err)
		}
	})
	loop(func() {
		if _, err := m.HashKV(t.Context(), 0); err != nil {
			t.Error(err)
		}
	})
	l := newLog(t)
	for round := range 30 {
		for range 20 {
			e := pairEntry(t, l)
			apply(t, leader, e)
			if round%5 != 4 {
				apply(t, m, e)
			}
		}
		e := l.entry(request(t, &pb.CompactionRequest{Revision: leader.Revision() - 3}))
		apply(t, leader, e)
		if round%5 != 4 {
			apply(t, m, e)
			continue
		}
		if round%10 == 4 {
			sweep(t, leader, 100)
		}
		replaceFrom(t, leader, m, fmt.Sprintf("snap%d", round))
	}
	close(done)
	wg.Wait()
	want, err := leader.StateHash()
	if err != nil {
		t.Fatal(err)
	}
	compareStates(t, m, leader, want)
	sweep(t, m, 100)
	compareStates(t, m, leader, want)
	checkLiveBytes(t, m)
}

// TestHashOfACompactionIsTheSameAtAnyTime: before, during and after its sweep.
func TestHashOfACompactionIsTheSameAtAnyTime(t *testing.T) {
	m, l := start(t), newLog(t)
	for i := range 60 {
		apply(t, m, l.entry(request(t, &pb.PutRequest{Key: fmt.Append(nil, "key", i%7), Value: fmt.Append(nil, i)})))
	}
	for _, back := range []int64{20, 5} {
		revision := m.Revision() - back
		apply(t, m, l.entry(request(t, &pb.CompactionRequest{Revision: revision})))
		first, err := m.HashKV(t.Context(), revision)
		if err != nil {
			t.Fatal(err)
		}
		steps := 0
		for more := true; more; steps++ {
			if more, _, err = m.SweepStep(3); err != nil {
				t.Fatal(err)
			}
			if now, err := m.HashKV(t.Context(), revision); err != nil || now != first {
				t.Fatalf("after %d steps: %+v, %v; before: %+v", steps+1, now, err, first)
			}
		}
		if steps < 10 {
			t.Fatalf("only %d steps", steps)
		}
	}
}
