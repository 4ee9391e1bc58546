package e2e

import (
	"fmt"
	"strings"
	"testing"

	"raftkv/test/e2e/harness"
)

// TestEtcdctl points etcd's own client at a cluster.
func TestEtcdctl(t *testing.T) {
	c := harness.StartCluster(t, bin, 3)
	for _, tc := range []struct {
		args  string
		stdin string
		want  harness.Result
	}{
		{args: "put name Alice", want: harness.Result{Stdout: "OK\n"}},
		{args: "get name", want: harness.Result{Stdout: "name\nAlice\n"}},
		{args: "put name", stdin: "from stdin", want: harness.Result{Stdout: "OK\n"}},
		{args: "get name --print-value-only", want: harness.Result{Stdout: "from stdin\n"}},
		{args: "get name --consistency=s --print-value-only", want: harness.Result{Stdout: "from stdin\n"}},
		{args: "get nobody", want: harness.Result{}},
		{args: "txn", stdin: "version(\"a\") = \"0\"\n\nput a 1\nput b 2\n\nget a\n\n", want: harness.Result{Stdout: "SUCCESS\n\nOK\n\nOK\n"}},
		{args: "txn", stdin: "version(\"a\") = \"0\"\n\nput a 1\n\nget a\n\n", want: harness.Result{Stdout: "FAILURE\n\na\n1\n"}},
		{args: "get a --prefix --keys-only", want: harness.Result{Stdout: "a\n\n"}},
		{args: "get a --from-key --count-only --write-out=fields", want: harness.Result{}},
		{args: "del a c --range", want: harness.Result{Stdout: "2\n"}},
	} {
		got := c.Etcdctl(nil, tc.stdin, strings.Fields(tc.args)...)
		if strings.Contains(tc.args, "fields") {
			if got.Code != 0 || !strings.Contains(got.Stdout, `"Count" : 3`) {
				t.Errorf("etcdctl %s: %v", tc.args, got)
			}
			continue
		}
		wantResult(t, "etcdctl "+tc.args, got, tc.want)
	}
	for _, n := range c.Nodes {
		want := harness.Result{Stdout: "name\nfrom stdin\n"}
		wantResult(t, fmt.Sprintf("etcdctl get from node %d", n.Number), c.Etcdctl([]*harness.Node{n}, "", "get", "name"), want)
	}
	refused := c.Etcdctl(nil, "", "put", "", "x")
	if refused.Code == 0 || !strings.Contains(refused.Stderr, "etcdserver: key is not provided") {
		t.Errorf("etcdctl put of an empty key: %v", refused)
	}
	testMemberList(t, c)
	testEndpoints(t, c)
}

func testMemberList(t *testing.T, c *harness.Cluster) {
	t.Helper()
	var list struct {
		Members []struct {
			ID                   uint64
			Name                 string
			PeerURLs, ClientURLs []string
			IsLearner            bool
		}
	}
	decode(t, c.Etcdctl(nil, "", "member", "list", "-w", "json"), &list)
	names := map[string]string{}
	for _, m := range list.Members {
		if len(m.PeerURLs) != 1 || len(m.ClientURLs) != 1 || m.PeerURLs[0] != m.ClientURLs[0] || m.IsLearner {
			t.Errorf("etcdctl member list: %+v", m)
			continue
		}
		names[m.Name] = m.ClientURLs[0]
	}
	for _, n := range c.Nodes {
		if got := names[fmt.Sprint(n.Number)]; got != "http://"+n.Address {
			t.Errorf("member list has %q for node %d, which is at %s", got, n.Number, n.Address)
		}
	}
}

func testEndpoints(t *testing.T, c *harness.Cluster) {
	t.Helper()
	leader, term := c.Leader()
	quietStatus(t, c)
	var endpoints []struct {
		Endpoint string
		Status   struct {
			Header struct {
				MemberID uint64 `json:"member_id"`
				Revision int64
			}
			Version          string
			Leader           uint64
			RaftTerm         uint64
			RaftIndex        uint64
			RaftAppliedIndex uint64
			DBSize           int64
		}
	}
	decode(t, c.Etcdctl(nil, "", "endpoint", "status", "-w", "json"), &endpoints)
	if len(endpoints) != len(c.Nodes) {
		t.Fatalf("etcdctl endpoint status has %d endpoints", len(endpoints))
	}
	for i, e := range endpoints {
		s := e.Status
		if e.Endpoint != c.Nodes[i].Address || s.RaftTerm != term || s.RaftIndex == 0 || s.RaftAppliedIndex != s.RaftIndex ||
			!strings.HasPrefix(s.Version, "3.7.") || s.DBSize == 0 || s.Header.Revision != endpoints[0].Status.Header.Revision {
			t.Errorf("etcdctl endpoint status: %+v", e)
		}
		if leads := s.Leader == s.Header.MemberID; leads != (c.Nodes[i] == leader) {
			t.Errorf("etcdctl endpoint status: %s leads: %v, the leader is node %d", e.Endpoint, leads, leader.Number)
		}
	}
	var healths []struct {
		Endpoint string
		Health   bool
	}
	decode(t, c.Etcdctl(nil, "", "endpoint", "health", "-w", "json"), &healths)
	if len(healths) != len(c.Nodes) {
		t.Errorf("etcdctl endpoint health: %+v", healths)
	}
	for _, h := range healths {
		if !h.Health {
			t.Errorf("etcdctl endpoint health: %+v", h)
		}
	}
}
