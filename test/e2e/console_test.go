package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"raftkv/test/e2e/harness"
)

// TestConsoleStory starts three nodes by hand and reads their consoles (row 1).
func TestConsoleStory(t *testing.T) {
	c := harness.StartCluster(t, bin, 3)
	leader, term := c.Leader()
	if term < 2 {
		t.Errorf("the first election was of term %d; the seeded log is of term 1, so it is at least 2", term)
	}
	head := func(n *harness.Node) []string {
		return []string{
			fmt.Sprintf("Node %d starting...", n.Number),
			"Cluster: [" + strings.Join(c.Endpoints(), ", ") + "]",
			"[FOLLOWER] Waiting for leader...",
		}
	}
	for _, n := range c.Nodes {
		lines := n.Stdout.Lines()
		if len(lines) < 3 || !slices.Equal(lines[:3], head(n)) {
			t.Fatalf("node %d begins with %q, want %q", n.Number, lines, head(n))
		}
		// A vote may split and be repeated; whoever stood says so, with the term.
		rest := dropElections(t, lines[3:])
		want := []string{fmt.Sprintf("[FOLLOWER] Leader is node %d", leader.Number), "ready to serve client requests"}
		if n == leader {
			want[0] = fmt.Sprintf("[LEADER] Elected! Term: %d", term)
			if stood := fmt.Sprintf("[CANDIDATE] Starting election for term %d", term); !slices.Contains(lines, stood) {
				t.Errorf("node %d leads and never said %q", n.Number, stood)
			}
		}
		if !slices.Equal(rest, want) {
			t.Errorf("node %d goes on with %q, want %q", n.Number, rest, want)
		}
		if text := n.Stderr.String(); text != "" {
			t.Errorf("node %d complains: %s", n.Number, text)
		}
	}
}

// dropElections returns the lines without those of candidates, whose terms must
// rise from 2.
func dropElections(t *testing.T, lines []string) (rest []string) {
	t.Helper()
	last := 1
	for _, line := range lines {
		var term int
		if _, err := fmt.Sscanf(line, "[CANDIDATE] Starting election for term %d", &term); err != nil {
			rest = append(rest, line)
			continue
		}
		if term <= last {
			t.Errorf("an election of term %d follows term %d", term, last)
		}
		last = term
	}
	return rest
}

// TestJSONLogs says the same to machines, on stderr.
func TestJSONLogs(t *testing.T) {
	c := harness.NewCluster(t, bin, 1, "--log-format=json")
	c.Start()
	n := c.Nodes[0]
	harness.Until(t, harness.Patience, "the log to say that the node serves", func(context.Context) error {
		if !strings.Contains(n.Stderr.String(), `"msg":"ready to serve client requests"`) {
			return fmt.Errorf("the log says %q", n.Stderr)
		}
		return nil
	})
	if text := n.Stdout.String(); text != "" {
		t.Errorf("stdout has %q", text)
	}
	stamp := regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d{4})$`)
	for _, line := range n.Stderr.Lines() {
		var entry struct{ Level, TS, Caller, Msg string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("%q is no JSON: %v", line, err)
		}
		if entry.Level == "" || entry.Caller == "" || entry.Msg == "" || !stamp.MatchString(entry.TS) {
			t.Errorf("%q lacks one of level, ts, caller and msg", line)
		}
	}
}

// TestDemo runs whole clusters in one process.
func TestDemo(t *testing.T) {
	for _, tc := range []struct {
		nodes   int
		storage string
	}{{1, "disk"}, {3, "disk"}, {5, "memory"}} {
		t.Run(fmt.Sprintf("%d nodes on %s", tc.nodes, tc.storage), func(t *testing.T) { demo(t, tc.nodes, tc.storage) })
	}
}

func demo(t *testing.T, nodes int, storage string) {
	first := harness.FreePorts(t, nodes)
	p := harness.Start(t, harness.Command{
		Name: "demo", Path: bin.RaftKV,
		Args: []string{"demo", "--nodes", fmt.Sprint(nodes), "--port", fmt.Sprint(first), "--storage", storage},
	})
	p.ExactLine(harness.Patience, "Ctrl-C stops it.")
	var dir string
	if _, err := fmt.Sscanf(p.Stdout.Lines()[0], fmt.Sprintf("Starting %d nodes; data in %%s", nodes), &dir); err != nil {
		t.Errorf("the first line is %q: %v", p.Stdout.Lines()[0], err)
	}
	for n := 1; n <= nodes; n++ {
		p.ExactLine(harness.Patience, fmt.Sprintf("node %d | Node %d starting...", n, n))
	}
	setting := p.Line(harness.Patience, "with the endpoints", func(line string) bool { return strings.HasPrefix(line, "  export RAFTKV_ENDPOINTS=") })
	env := []string{strings.TrimPrefix(setting, "  export ")}
	cli := func(args ...string) harness.Result {
		return harness.Run(t, harness.Patience, harness.Command{Name: "raft-cli", Path: bin.RaftCLI, Args: args, Env: env})
	}
	if r := cli("set", "name", "Alice"); r.Code != 0 || !strings.HasPrefix(r.Stdout, "OK (committed to ") || !strings.HasSuffix(r.Stdout, fmt.Sprintf("/%d nodes)\n", nodes)) {
		t.Errorf("set: %v", r)
	}
	if r := cli("get", "name"); r.Code != 0 || r.Stdout != "Alice\n" {
		t.Errorf("get: %v", r)
	}
	if text := p.Stderr.String(); text != "" {
		t.Errorf("the demo complains: %s", text)
	}
	p.Signal(syscall.SIGINT)
	if code := p.Exit(stopTime); code != 0 {
		t.Errorf("exit code %d after Ctrl-C", code)
	}
	for port := first; port < first+nodes; port++ {
		if err := harness.Free(port); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(dir); err == nil {
		t.Errorf("the demo left its data in %s", dir)
	}
}

// stopTime is how long a graceful stop may take.
const stopTime = 3 * time.Second
