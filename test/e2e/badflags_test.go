package e2e

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"raftkv/test/e2e/harness"
)

// refusalTime is how long a node that must not start may take to say so.
const refusalTime = 5 * time.Second

// refuses runs a node that must not start, and expects one clear line that
// matches want.
func refuses(t *testing.T, c harness.Command, code int, want string) {
	t.Helper()
	r := harness.Run(t, refusalTime, c)
	lines := strings.Split(strings.TrimSuffix(r.Stderr, "\n"), "\n")
	if code == 2 { // followed by where to read about flags
		if lines[len(lines)-1] != "raft-kv --help lists the flags." {
			t.Errorf("%v: no hint at --help in %v", c.Args, r)
		}
		lines = lines[:len(lines)-1]
		if r.Stdout != "" {
			t.Errorf("%v: a node that was called wrongly tells a story: %q", c.Args, r.Stdout)
		}
	}
	if r.Code != code || len(lines) != 1 || !regexp.MustCompile(want).MatchString(lines[0]) {
		t.Errorf("%v: want exit code %d and one line that matches\n%s\ngot %v", c.Args, code, want, r)
	}
}

// TestBadFlags calls raft-kv wrongly. Nothing may be created.
func TestBadFlags(t *testing.T) {
	dir := t.TempDir()
	for _, tc := range []struct{ args, want string }{
		{"--bogus", `^raft-kv: unknown flag: --bogus$`},
		{"surplus", `^raft-kv: unknown command "surplus" for "raft-kv"|unexpected argument "surplus"$`},
		{"--id one --cluster localhost:8001", `^raft-kv: invalid argument "one" for "--id"`},
		{"--id 1", `^raft-kv: --id needs --cluster `},
		{"--id 4 --cluster localhost:8001,localhost:8002,localhost:8003", `^raft-kv: --id 4 is not in the cluster list of 3 nodes; use 1 to 3$`},
		{"--id 0 --cluster localhost:8001", `^raft-kv: --id 0 is not in the cluster list`},
		{"--cluster localhost:8001,localhost:8002", `--id`},
		{"--id 1 --cluster localhost", `^raft-kv: --cluster: "localhost" is not host:port$`},
		{"--id 1 --cluster localhost:", `^raft-kv: --cluster: "localhost:" is not host:port$`},
		{"--id 1 --cluster localhost:port", `^raft-kv: .*localhost:port`},
		{"--id 1 --cluster localhost:99999", `^raft-kv: .*localhost:99999`},
		{"--id 1 --cluster localhost:0", `^raft-kv: .*localhost:0`},
		{"--id 1 --cluster localhost:8001,localhost:8001", `^raft-kv: .*localhost:8001.* both`},
		{"--id 1 --cluster localhost:8001 --name x", `^raft-kv: --id and --cluster already say what --name would; use one form$`},
		{"--id 1 --cluster localhost:8001 --listen-peer-urls http://localhost:1", `^raft-kv: --id and --cluster already say`},
		{"--name a --initial-cluster b=http://localhost:2380", `^raft-kv: the cluster list \[b\] does not contain this node, "a"`},
		{"--name a --initial-cluster a", `^raft-kv: --initial-cluster: "a" is not name=url$`},
		{"--name a --initial-cluster a=http://localhost:1 --initial-advertise-peer-urls http://localhost:2", `^raft-kv: --initial-cluster gives .* make them equal$`},
		{"--listen-client-urls https://localhost:2379", `^raft-kv: .*https.* not supported`},
		{"--heartbeat-interval 500 --election-timeout 1000", `^raft-kv: --election-timeout \(1s\) must be at least five times --heartbeat-interval \(500ms\)$`},
		{"--heartbeat-interval -1", `^raft-kv: --heartbeat-interval and --election-timeout must be positive$`},
		{"--initial-cluster-state elsewhere", `^raft-kv: --initial-cluster-state must be "new" or "existing", not "elsewhere"$`},
		{"--storage tape", `^raft-kv: --storage must be "disk" or "memory", not "tape"$`},
		{"--log-format xml", `^raft-kv: --log-format must be "console" or "json", not "xml"$`},
		{"--log-level loud", `^raft-kv: --log-level must be .*"loud"$`},
		{"--max-txn-ops 0", `^raft-kv: --max-txn-ops \(0\) must be positive$`},
		{"demo --nodes 0", `^raft-kv: --nodes must be between 1 and 99, not 0$`},
		{"demo --port 65535", `^raft-kv: --port 65535 leaves no room for 3 nodes$`},
	} {
		t.Run(tc.args, func(t *testing.T) {
			refuses(t, harness.Command{Name: "raft-kv", Path: bin.RaftKV, Args: strings.Fields(tc.args), Dir: dir}, 2, tc.want)
		})
	}
	if left := list(t, dir); left != nil {
		t.Errorf("wrong calls left %q behind", left)
	}
}

// TestBusyPort starts a node whose port is taken. Its directory stays untouched.
func TestBusyPort(t *testing.T) {
	c := harness.NewCluster(t, bin, 1)
	n := c.Nodes[0]
	l, err := net.Listen("tcp", n.Address)
	if err != nil {
		t.Fatal(err)
	}
	refuses(t, n.Command(), 1, `^raft-kv: port `+n.Address+` is busy: another process listens there; stop it or choose another port$`)
	if left := list(t, c.Dir); left != nil {
		t.Errorf("the node left %q behind", left)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	n.Start()
	n.Ready()
	refuses(t, n.Command(), 1, `^raft-kv: port `+n.Address+` is busy`) // by itself, as it were
	if _, err := n.Client().Put(t.Context(), "k", "v"); err != nil {
		t.Errorf("the node that had the port suffered: %v", err)
	}
}

// TestUnwritableDirectory cannot rely on permissions: the tests may run as root.
func TestUnwritableDirectory(t *testing.T) {
	c := harness.NewCluster(t, bin, 1)
	n := c.Nodes[0]
	file := filepath.Join(c.Dir, "file")
	if err := os.WriteFile(file, []byte("in the way"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "below"), "/proc/raft-kv"} {
		refuses(t, n.Command("--data-dir", dir), 1, `^raft-kv: (create|read) the data directory: .*`+dir+`.*; check its path and permissions$`)
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "in the way" {
		t.Errorf("the file now holds %q (%v)", got, err)
	}
}

// list names what is in a directory.
func list(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
