package oracle

import (
	"flag"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
)

// The full run: go test . -run TestHashKVEqual -hash-ops=20000
var (
	hashOpsFlag  = flag.Int("hash-ops", 1500, "operations before the hashes are compared")
	hashSeedFlag = flag.Uint64("hash-seed", 20_000, "seed of those operations")
)

// TestHashKVEqualBeforeAndAfterCompaction gives both the same random history
// and compares their hashes of the key space: of many revisions, then again
// after everything up to one of them was compacted, and after some more writes.
func TestHashKVEqualBeforeAndAfterCompaction(t *testing.T) {
	o, g := startPair(t), served(*hashSeedFlag)
	ask := func(op Operation) Answer {
		a, d := o.Ask(t.Context(), op)
		if d != nil {
			t.Fatalf("seed %d, %d operations:\n%s", *hashSeedFlag, *hashOpsFlag, d)
		}
		return a
	}
	run := func(count int) {
		asked, d := o.Run(t.Context(), g, count, NewTally())
		if d != nil {
			t.Fatal(report(*hashSeedFlag, len(asked), d))
		}
		for _, alarm := range g.armed { // it may refuse what follows
			ask(Operation{Alarm, &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, MemberID: alarm.MemberID, Alarm: alarm.Alarm}})
		}
		g.armed = nil
	}
	compared := map[uint32]bool{}
	compare := func(when string) {
		first := max(1, g.compacted)
		step := max(1, (g.revision-first)/20)
		for revision := first; revision <= g.revision; revision += step {
			if a := ask(Operation{HashKV, &pb.HashKVRequest{Revision: revision}}); a.Code == codes.OK {
				compared[a.Response.(*pb.HashKVResponse).Hash] = true
			}
		}
		newest := ask(Operation{HashKV, &pb.HashKVRequest{}}).Response.(*pb.HashKVResponse)
		t.Logf("%s: revision %d, compacted %d, hash %d on both; %d different hashes so far",
			when, g.revision, newest.CompactRevision, newest.Hash, len(compared))
	}
	run(*hashOpsFlag)
	compare("before the compaction")
	at := g.revision - (g.revision-g.compacted)/2
	for g.rewritten[at] {
		at++
	}
	g.last = Operation{Compact, &pb.CompactionRequest{Revision: at, Physical: true}}
	done := ask(g.last)
	if done.Code != codes.OK {
		t.Fatalf("compaction at %d of %d: %v", at, g.revision, done)
	}
	g.Observe(done)
	compare("after the compaction")
	run(max(50, *hashOpsFlag/20))
	compare("after more operations")
	if len(compared) < 20 {
		t.Errorf("only %d different hashes were compared", len(compared))
	}
}
