package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"raftkv/test/e2e/harness"
)

// wantResult compares what a program did, character for character.
func wantResult(t *testing.T, what string, got, want harness.Result) {
	t.Helper()
	if got != want {
		t.Errorf("%s\n got %v\nwant %v", what, got, want)
	}
}

// TestCLI goes through the verbs on a healthy cluster (rows 2 and 4).
func TestCLI(t *testing.T) {
	c := harness.StartCluster(t, bin, 3)
	run := func(stdin string, args ...string) harness.Result { return c.CLI(nil, stdin, args...) }
	step := func(args []string, stdin string, want harness.Result) {
		t.Helper()
		wantResult(t, strings.Join(args, " "), run(stdin, args...), want)
	}
	// The first write may meet members that are not at hand within 100 ms.
	setEverywhere(t, c, "name", "Alice")
	step([]string{"get", "name"}, "", harness.Result{Stdout: "Alice\n"})
	for _, tc := range []struct {
		args  string
		stdin string
		want  harness.Result
	}{
		{args: "get nobody", want: harness.Result{Stderr: "key \"nobody\" not found\n", Code: 1}},
		{args: "cas name Alice Bob", want: harness.Result{Stdout: "OK\n"}},
		{args: "cas name Alice Carol", want: harness.Result{Stderr: "not applied: key \"name\" holds \"Bob\", not \"Alice\"\n", Code: 1}},
		{args: "cas name Carol --version 9", want: harness.Result{Stderr: "not applied: key \"name\" has version 2, not 9\n", Code: 1}},
		{args: "cas name Carol --absent", want: harness.Result{Stderr: "not applied: key \"name\" exists already, with version 2\n", Code: 1}},
		{
			args:  "txn",
			stdin: "value(\"name\") = \"Bob\"\n\nput fruit/apple 1\nput fruit/banana 2\nget name\n\nget name\n",
			want:  harness.Result{Stdout: "SUCCESS\n\nOK\n\nOK\n\nname\nBob\n"},
		},
		{
			args:  "txn",
			stdin: "version(\"fruit/apple\") = \"0\"\n\nput fruit/apple 9\n\nget fruit/apple\n",
			want:  harness.Result{Stdout: "FAILURE\n\nfruit/apple\n1\n"},
		},
		{args: "set fruit/cherry -", stdin: "sweet\n", want: harness.Result{Stdout: "OK (committed to 3/3 nodes)\n"}},
		{args: "get --prefix fruit/", want: harness.Result{Stdout: "fruit/apple\n1\nfruit/banana\n2\nfruit/cherry\nsweet\n\n"}},
		{args: "get fruit/apple --range-end fruit/cherry --keys-only", want: harness.Result{Stdout: "fruit/apple\nfruit/banana\n"}},
		{args: "get --prefix fruit/ --count-only", want: harness.Result{Stdout: "3\n"}},
		{args: "get --prefix fruit/ --limit 1", want: harness.Result{Stdout: "fruit/apple\n1\n", Stderr: "(1 of 3 keys)\n"}},
		{args: "append fruit/apple 23", want: harness.Result{Stdout: "OK (3 bytes, committed to 3/3 nodes)\n"}},
		{args: "get fruit/apple", want: harness.Result{Stdout: "123\n"}},
		{args: "del fruit/apple", want: harness.Result{Stdout: "OK (1 key deleted, committed to 3/3 nodes)\n"}},
		{args: "del --prefix fruit/", want: harness.Result{Stdout: "OK (2 keys deleted, committed to 3/3 nodes)\n"}},
		{args: "get --prefix fruit/", want: harness.Result{}},
		// Mistakes.
		{args: "set name", want: harness.Result{Stderr: "accepts 2 arg(s), received 1\nusage: raft-cli set KEY VALUE [flags]\nSee 'raft-cli set --help'.\n", Code: 2}},
		{args: "set name x --endpoints nowhere", want: harness.Result{Stderr: "client configuration: endpoint \"nowhere\": want host:port or http://host:port\n", Code: 2}},
		{args: "frobnicate", want: harness.Result{Stderr: "unknown command \"frobnicate\" for \"raft-cli\"\n", Code: 2}},
	} {
		got := run(tc.stdin, strings.Fields(tc.args)...)
		got.Stdout, tc.want.Stdout = patientCount(got.Stdout, tc.want.Stdout)
		if tc.want.Code == 2 { // what was wrong matters, not the hints behind it
			got.Stderr, tc.want.Stderr = firstLine(got.Stderr), firstLine(tc.want.Stderr)
		}
		wantResult(t, "raft-cli "+tc.args, got, tc.want)
	}
}

// setEverywhere sets a key until every node has confirmed it within the 100 ms
// that the server waits for the slower ones, which on a busy machine may take
// more than one try.
func setEverywhere(t *testing.T, c *harness.Cluster, key, value string) {
	t.Helper()
	const tries = 10
	var got harness.Result
	for range tries {
		got = c.CLI(nil, "", "set", key, value)
		if got == (harness.Result{Stdout: "OK (committed to 3/3 nodes)\n"}) {
			return
		}
		if got != (harness.Result{Stdout: "OK (committed to 2/3 nodes)\n"}) {
			break
		}
	}
	t.Fatalf("set on a healthy cluster: %v", got)
}

// patientCount forgives a node that was too slow for the count of a healthy
// cluster.
func patientCount(got, want string) (string, string) {
	return strings.ReplaceAll(got, "2/3", "3/3"), want
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// TestCLIFormats reads what programs read: JSON, tables and the status.
func TestCLIFormats(t *testing.T) {
	c := harness.StartCluster(t, bin, 3)
	setEverywhere(t, c, "name", "Alice")
	leader, term := c.Leader()

	var pair struct {
		Header struct {
			RaftTerm uint64 `json:"raft_term"`
			Revision int64
		}
		KVs []struct {
			Key, Value     []byte
			ModRevision    int64 `json:"mod_revision"`
			CreateRevision int64 `json:"create_revision"`
			Version        int64
		}
		Count int64
	}
	decode(t, c.CLI(nil, "", "get", "name", "-w", "json"), &pair)
	if len(pair.KVs) != 1 || string(pair.KVs[0].Key) != "name" || string(pair.KVs[0].Value) != "Alice" ||
		pair.KVs[0].ModRevision != pair.Header.Revision || pair.KVs[0].CreateRevision != 2 || pair.Header.RaftTerm != term {
		t.Errorf("get -w json: %+v", pair)
	}
	table := regexp.MustCompile(`^\+-+\+-+\+-+\+-+\+-+\+
\| KEY  \| VALUE \| VERSION \| CREATED \| MODIFIED \|
\+-+\+-+\+-+\+-+\+-+\+
\| name \| Alice \| \d+ +\| 2 +\| \d+ +\|
\+-+\+-+\+-+\+-+\+-+\+
$`)
	if r := c.CLI(nil, "", "get", "name", "-w", "table"); r.Code != 0 || !table.MatchString(r.Stdout) {
		t.Errorf("get -w table: %v", r)
	}

	want := []string{"Cluster Status:"}
	s := quietStatus(t, c)
	for _, n := range c.Nodes {
		role, star := "FOLLOWER ", ""
		if n == leader {
			role, star = "LEADER   ", " *"
		}
		want = append(want, fmt.Sprintf("  Node %d: %s (log: %d entries)%s", n.Number, role, s.CommitIndex, star))
	}
	want = append(want, fmt.Sprintf("  Commit index: %d", s.CommitIndex), fmt.Sprintf("  Last applied: %d", s.LastApplied), "")
	wantResult(t, "status", c.CLI(nil, "", "status"), harness.Result{Stdout: strings.Join(want, "\n")})

	if r := c.CLI(nil, "", "status", "-w", "table"); r.Code != 0 || len(strings.Split(r.Stdout, "\n")) != 8 ||
		!strings.Contains(r.Stdout, "| NODE | ID ") || strings.Count(r.Stdout, "| FOLLOWER |") != 2 || strings.Count(r.Stdout, "| LEADER   |") != 1 {
		t.Errorf("status -w table: %v", r)
	}

	down := c.Others(leader)[0]
	down.Kill()
	want[down.Number] = fmt.Sprintf("  Node %d: DOWN", down.Number)
	wantResult(t, "status with a node down", c.CLI(nil, "", "status"), harness.Result{Stdout: strings.Join(want, "\n")})
	wantResult(t, "set with a node down", c.CLI([]*harness.Node{leader}, "", "set", "name", "Bob"), harness.Result{Stdout: "OK (committed to 2/3 nodes)\n"})

	// Nobody is left.
	for _, n := range c.Nodes {
		n.Kill()
	}
	var reasons []string
	for _, n := range c.Nodes {
		reasons = append(reasons, n.Address+": connection refused")
	}
	refused := "no endpoint served the request: " + strings.Join(reasons, "; ")
	wantResult(t, "get from nobody", c.CLI(nil, "", "get", "name"), harness.Result{Stderr: refused + "\n", Code: 1})
	wantResult(t, "set with nobody", c.CLI(nil, "", "set", "name", "x"), harness.Result{Stderr: refused + " (not applied)\n", Code: 1})
}

// clusterStatus is what status -w json says, as far as tests use it.
type clusterStatus struct {
	CommitIndex uint64 `json:"commit_index"`
	LastApplied uint64 `json:"last_applied"`
	Members     []struct {
		Name, Role string
		Leader     bool
		Term       uint64
		LogEntries uint64 `json:"log_entries"`
	}
}

// quietStatus is the status once all logs have the same length and are applied.
func quietStatus(t *testing.T, c *harness.Cluster) clusterStatus {
	t.Helper()
	var s clusterStatus
	harness.Until(t, harness.Patience, "equal logs everywhere", func(context.Context) error {
		s = clusterStatus{}
		r := c.CLI(nil, "", "status", "-w", "json")
		if err := json.Unmarshal([]byte(r.Stdout), &s); err != nil {
			return fmt.Errorf("%w: %v", err, r)
		}
		if len(s.Members) != len(c.Nodes) || s.CommitIndex != s.LastApplied {
			return fmt.Errorf("status is %+v", s)
		}
		for _, m := range s.Members {
			if m.LogEntries != s.CommitIndex {
				return fmt.Errorf("status is %+v", s)
			}
		}
		return nil
	})
	return s
}

func decode(t *testing.T, r harness.Result, v any) {
	t.Helper()
	if r.Code != 0 {
		t.Fatal(r)
	}
	if err := json.Unmarshal([]byte(r.Stdout), v); err != nil {
		t.Fatalf("%v: %v", err, r)
	}
}

// TestCLIFailsOver kills the leader, which is also the first endpoint: the same
// command answers from another node and says so beside the value (row 2).
func TestCLIFailsOver(t *testing.T) {
	c := harness.StartCluster(t, bin, 3)
	leader, _ := c.Leader()
	others := c.Others(leader)
	endpoints := append([]*harness.Node{leader}, others...)
	setEverywhere(t, c, "name", "Alice")
	wantResult(t, "get from the leader", c.CLI(endpoints, "", "get", "name"), harness.Result{Stdout: "Alice\n"})

	leader.Kill()
	got := c.CLI(endpoints, "", "get", "name")
	var possible []harness.Result
	for _, n := range others {
		possible = append(possible, harness.Result{Stdout: "Alice\n", Stderr: fmt.Sprintf("(from node %d)\n", n.Number)})
	}
	if !slices.Contains(possible, got) {
		t.Errorf("get after kill -9: %v, want one of %v", got, possible)
	}
	wantResult(t, "set after kill -9", c.CLI(endpoints, "", "set", "name", "Bob"), harness.Result{Stdout: "OK (committed to 2/3 nodes)\n"})
}

// TestCLIUnknownOutcome writes to a leader whose followers stand still: raft-cli
// must not claim that the write failed.
func TestCLIUnknownOutcome(t *testing.T) {
	c := harness.StartCluster(t, bin, 3)
	leader, _ := c.Leader()
	for _, n := range c.Others(leader) {
		n.Pause()
	}
	got := c.CLI([]*harness.Node{leader}, "", "set", "name", "Alice", "--timeout", "700ms")
	// The deadline passes on both sides; either may be the first to say so.
	var possible []harness.Result
	for _, why := range []string{"timed out (context deadline exceeded)", "etcdserver: request timed out"} {
		possible = append(possible, harness.Result{Code: 1, Stderr: fmt.Sprintf(
			"outcome unknown: the write was sent to %s and may or may not have been applied: %s\n"+
				"to find out: `raft-cli get -w json name` shows the key with its version and the revision that last changed it\n", leader.Address, why)})
	}
	if !slices.Contains(possible, got) {
		t.Errorf("set without a majority: %v, want one of %v", got, possible)
	}
	for _, n := range c.Others(leader) {
		n.Resume()
	}
	// What was unknown becomes known: the entry stays in the leader's log, and
	// whoever leads next, all agree on the same answer.
	c.Leader()
	setEverywhere(t, c, "other", "x")
	first := c.CLI(c.Nodes[:1], "", "get", "name")
	for _, n := range c.Nodes[1:] {
		wantResult(t, fmt.Sprintf("get from node %d", n.Number), c.CLI([]*harness.Node{n}, "", "get", "name"), first)
	}
}
