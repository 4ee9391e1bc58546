package verb

import (
	"testing"

	"raftkv/client"
	"raftkv/rpc/kvstream/kvpb"
)

// A snapshot on its way adds an indented line, a column and a list; without one
// there is nothing of them.
func TestTransfersInStatus(t *testing.T) {
	leader := &kvpb.StatusResponse{Name: "1", MemberId: 1, LeaderId: 1, Role: kvpb.StatusResponse_LEADER, LastIndex: 7}
	st := &client.ClusterStatus{Members: []client.MemberStatus{
		{Member: &kvpb.Member{Id: 1, Name: "1"}, Status: leader},
	}}
	quiet := statusOutput(st)
	leader.Snapshots = []*kvpb.SnapshotTransfer{
		{MemberId: 3, MemberName: "3", Sending: true, Index: 5, DoneBytes: 64 << 20, TotalBytes: 256 << 20, BytesPerSecond: 32 << 20, LeftMs: 6100},
		{MemberId: 2, MemberName: "2", Index: 4, DoneBytes: 0, TotalBytes: 1 << 20},
	}
	busy := statusOutput(st)
	if n, m := len(quiet.head), len(busy.head); m != n+1 || busy.head[n] != "SNAPSHOT" || len(busy.rows[0]) != m || len(quiet.rows[0]) != n {
		t.Errorf("tables of %d and %d columns", n, m)
	}
	j := busy.json.(statusJSON).Members[0].Snapshots
	if len(j) != 2 || j[0].ToGoBytes != 192<<20 || j[0].MemberID != "3" || !j[0].Sending || quiet.json.(statusJSON).Members[0].Snapshots != nil {
		t.Errorf("JSON: %+v", j)
	}
	for i, want := range []string{
		"Sending a snapshot to node 3: 64.0 MiB of 256.0 MiB, 192.0 MiB to go, 32.0 MiB/s, 6s left",
		"Receiving a snapshot from node 2: 0.0 MiB of 1.0 MiB, 1.0 MiB to go",
	} {
		if got := j[i].line(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}
