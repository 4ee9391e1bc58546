package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"raftkv/test/e2e/harness"
)

// answer is what an HTTP request got.
type answer struct {
	status int
	body   string
	header http.Header
}

func call(t *testing.T, n *harness.Node, method, path, body string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+n.Address+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, string(text), resp.Header}
}

// TestHTTP asks for everything that is served beside gRPC on the one port.
func TestHTTP(t *testing.T) {
	c := harness.StartCluster(t, bin, 3)
	one, two := c.Nodes[0], c.Nodes[1]
	for _, tc := range []struct {
		node         *harness.Node
		method, path string
		body         string
		status       int
		want         string // pattern
	}{
		{one, "GET", "/health", "", 200, `^\{"health":"true","reason":""\}\s*$`},
		{one, "GET", "/livez", "", 200, `^ok\n$`},
		{one, "GET", "/readyz", "", 200, `^ok\n$`},
		{one, "GET", "/readyz?verbose", "", 200, `\[\+\]linearizable_read ok\n`},
		{one, "GET", "/version", "", 200, `^\{"etcdserver":"3\.7\.\d+","etcdcluster":"3\.7\.0"`},
		{one, "PUT", "/kv/name", "Alice", 200, `^\{"revision":\d+\}\n$`},
		{two, "GET", "/kv/name", "", 200, `^Alice$`},
		{two, "PUT", "/kv/a%2Fb/c%00d", "binary key", 200, `^\{"revision":\d+\}\n$`},
		{one, "GET", "/kv/a/b/c%00d", "", 200, `^binary key$`},
		{one, "GET", "/kv/a/?prefix", "", 200, `"key":"a/b/c\\u0000d"`},
		{one, "POST", "/v3/kv/range", `{"key":"` + base64.StdEncoding.EncodeToString([]byte("name")) + `"}`, 200,
			`"value":\s*"` + base64.StdEncoding.EncodeToString([]byte("Alice")) + `"`},
		{one, "POST", "/v3/kv/put", `{"key":"bmFtZQ==","value":"Qm9i"}`, 200, `"revision":\s*"\d+"`},
		{two, "GET", "/kv/name", "", 200, `^Bob$`},
		{two, "DELETE", "/kv/name", "", 200, `^\{"deleted":1,"revision":\d+\}\n$`},
		{one, "GET", "/kv/name", "", 404, `"message":"key not found: \\"name\\""`},
		{one, "PUT", "/kv/", "x", 400, `etcdserver: key is not provided`},
		{one, "PUT", "/kv/large", strings.Repeat("x", 2<<20), 413, `etcdserver: request is too large`},
		{one, "POST", "/kv/name", "x", 405, `not allowed`},
		{one, "GET", "/nowhere", "", 404, `no such path: /nowhere`},
	} {
		got := call(t, tc.node, tc.method, tc.path, tc.body)
		if got.status != tc.status || !regexp.MustCompile(tc.want).MatchString(got.body) {
			t.Errorf("%s %s: status %d, body %q; want %d and %s", tc.method, tc.path, got.status, got.body, tc.status, tc.want)
		}
	}

	call(t, one, "PUT", "/kv/versioned", "1")
	call(t, one, "PUT", "/kv/versioned", "2")
	header := call(t, two, "GET", "/kv/versioned", "").header
	if header.Get("Raftkv-Version") != "2" || header.Get("Raftkv-Mod-Revision") != header.Get("Raftkv-Revision") || header.Get("Raftkv-Create-Revision") == "" {
		t.Errorf("a key written twice has the headers %v", header)
	}
	testMetrics(t, c)
}

// testMetrics looks for what dashboards of etcd read.
func testMetrics(t *testing.T, c *harness.Cluster) {
	t.Helper()
	leader, _ := c.Leader()
	for _, n := range c.Nodes {
		body := call(t, n, "GET", "/metrics", "").body
		leads := 0
		if n == leader {
			leads = 1
		}
		for _, want := range []string{
			"etcd_server_has_leader 1", fmt.Sprintf("etcd_server_is_leader %d", leads), "etcd_server_leader_changes_seen_total ",
			"etcd_server_proposals_committed_total ", "etcd_server_proposals_applied_total ", "etcd_server_proposals_pending ",
			"etcd_disk_wal_fsync_duration_seconds_count ", "grpc_server_handled_total", "etcd_server_client_requests_total{", "process_resident_memory_bytes ",
		} {
			if !strings.Contains(body, "\n"+want) {
				t.Errorf("node %d: /metrics lacks %q", n.Number, want)
			}
		}
	}
}

// TestHealthWithoutMajority asks a node that is left alone: it lives, and is
// not ready.
func TestHealthWithoutMajority(t *testing.T) {
	c := harness.StartCluster(t, bin, 3)
	alone := c.Nodes[0]
	for _, n := range c.Others(alone) {
		n.Kill()
	}
	// At first it may believe in its leader.
	harness.Until(t, harness.Patience, "/health to fail", func(context.Context) error {
		if got := call(t, alone, "GET", "/health", ""); got.status != 503 {
			return fmt.Errorf("status %d: %s", got.status, got.body)
		}
		return nil
	})
	var health struct{ Health, Reason string }
	if got := call(t, alone, "GET", "/health", ""); json.Unmarshal([]byte(got.body), &health) != nil || health.Health != "false" || health.Reason != "RAFT NO LEADER" {
		t.Errorf("/health: %+v", got)
	}
	if got := call(t, alone, "GET", "/livez", ""); got.status != 200 {
		t.Errorf("/livez: %+v", got)
	}
	if got := call(t, alone, "GET", "/health?serializable=true", ""); got.status != 200 {
		t.Errorf("/health?serializable=true: %+v", got)
	}
	if got := call(t, alone, "GET", "/readyz", ""); got.status != 503 || !strings.Contains(got.body, "[-]linearizable_read failed: ") {
		t.Errorf("/readyz: %+v", got)
	}
}
