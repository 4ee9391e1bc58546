package oracle

import (
	"flag"
	"fmt"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

var selfSeedsFlag = flag.Int("self-seeds", 2, "seeds on which etcd is compared with itself")

// TestEtcdCrashIsADifference: an etcd that ends its process over a request does
// not end ours, and the report says over which one and why. The two crashes are
// those that exclusions.go keeps out of runs.
func TestEtcdCrashIsADifference(t *testing.T) {
	everything := deleteOp(&pb.DeleteRangeRequest{Key: []byte{0}, RangeEnd: []byte{0}})
	a := []byte("a")
	put := Operation{Put, &pb.PutRequest{Key: a, Value: []byte("v")}}
	for name, c := range map[string]struct {
		program []Operation
		says    string
	}{
		"a put version lost by a compaction": {[]Operation{
			put, put,
			{Txn, &pb.TxnRequest{Success: []*pb.RequestOp{everything, putOp(&pb.PutRequest{Key: a})}}},
			{Compact, &pb.CompactionRequest{Revision: 4, Physical: true}},
			{Range, &pb.RangeRequest{Key: a}},
		}, "range failed to find revision pair"},
		"the value of a deleted key": {[]Operation{
			put,
			{Txn, &pb.TxnRequest{Success: []*pb.RequestOp{everything, putOp(&pb.PutRequest{Key: a, IgnoreValue: true})}}},
		}, "panic"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			index, d := startPair(t).Replay(t.Context(), c.program)
			if d == nil || index != len(c.program)-1 || !d.etcdCrashed() || !strings.Contains(d.Etcd.Text, c.says) {
				t.Fatalf("operation %d: %v", index, d)
			}
			t.Log(d)
		})
	}
}

// TestExclusionsAreMade: a run has the transactions that exclude compactions,
// and none of those compactions.
func TestExclusionsAreMade(t *testing.T) {
	g := NewGenerator(5)
	compactions := 0
	for range 20_000 {
		switch r := g.Next().Request.(type) {
		case *pb.TxnRequest:
			g.Observe(Answer{Response: &pb.TxnResponse{Header: &pb.ResponseHeader{Revision: g.revision + 1}}})
		case *pb.CompactionRequest:
			compactions++
			if g.rewritten[r.Revision] {
				t.Fatalf("a compaction at revision %d, which deleted and put keys", r.Revision)
			}
		}
	}
	if len(g.rewritten) < 50 || compactions < 100 {
		t.Errorf("%d such transactions and %d compactions", len(g.rewritten), compactions)
	}
}

// TestEtcdAgreesWithItself: two etcds give the same answers, which shows that
// nothing that is compared depends on timing.
func TestEtcdAgreesWithItself(t *testing.T) {
	tally := NewTally()
	t.Run("seeds", func(t *testing.T) {
		for i := range *selfSeedsFlag {
			seed := *startFlag + uint64(i)
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				o, err := startBeside(t.Context(), func(dir string) (Member, error) { return StartEtcd(t.Context(), dir) })
				if err != nil {
					t.Fatal(err)
				}
				defer o.Close()
				if asked, d := o.Run(t.Context(), NewGenerator(seed), *opsFlag, tally); d != nil {
					t.Errorf("seed %d, operation %d:\n%s", seed, len(asked), d)
				}
			})
		}
	})
	t.Logf("asked:\n%s", tally)
}
