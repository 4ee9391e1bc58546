package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"raftkv/test/e2e/harness"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// watched is an output that tells when something was written.
type watched struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{}
}

func newWatched() *watched { return &watched{changed: make(chan struct{}, 1)} }

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case w.changed <- struct{}{}:
	default:
	}
	return w.text.Write(p)
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

func (w *watched) await(t *testing.T, want string) {
	t.Helper()
	late := time.After(30 * time.Second)
	for !strings.Contains(w.String(), want) {
		select {
		case <-w.changed:
		case <-late:
			t.Fatalf("%q was not written; this was:\n%s", want, w)
		}
	}
}

func freeURL(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("http://127.0.0.1:%d", harness.FreePorts(t, 1))
}

// expectLog checks that there is nothing but log lines as etcd writes them.
func expectLog(t *testing.T, text string) {
	t.Helper()
	stamp := regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d{4})$`)
	for line := range strings.Lines(text) {
		var entry struct{ Level, TS, Caller, Msg string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Errorf("%q is no JSON: %v", line, err)
		} else if entry.Level == "" || entry.Caller == "" || entry.Msg == "" || !stamp.MatchString(entry.TS) {
			t.Errorf("%q lacks one of level, ts, caller and msg", line)
		}
	}
}

// TestStartedLikeEtcd runs a member with etcd's flags: it logs JSON, to where
// it is told, and stops as told.
func TestStartedLikeEtcd(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kv.log")
	stdout, stderr := newWatched(), newWatched()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	client, peers := freeURL(t), freeURL(t)
	code := make(chan int)
	go func() {
		code <- run(ctx, []string{
			"--name", "a", "--storage=memory", "--listen-client-urls=" + client, "--advertise-client-urls=" + client, "--listen-peer-urls", peers,
			"--initial-cluster=a=" + peers, "--initial-advertise-peer-urls=" + peers, "--log-outputs=stderr," + file, "--max-wals=3",
		}, stdout, stderr)
	}()
	stderr.await(t, `"msg":"ready to serve client requests"`)
	stop()
	if got := <-code; got != exitOK {
		t.Errorf("exit code %d", got)
	}
	expectLog(t, stderr.String())
	for _, want := range []string{`"msg":"flags that do nothing here are ignored","flags":["--max-wals"]`, `"msg":"stopped"`} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("missing %s in\n%s", want, stderr)
		}
	}
	if stdout.String() != "" {
		t.Errorf("on stdout: %s", stdout)
	}
	if logged, err := os.ReadFile(file); err != nil || string(logged) != stderr.String() {
		t.Errorf("the file holds %q (%v), not what stderr got", logged, err)
	}
}

// TestFailureIsLogged: also the reason to end is a line of the log.
func TestFailureIsLogged(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	stdout, stderr := newWatched(), newWatched()
	code := run(t.Context(), []string{"--name=a", "--storage=memory", "--listen-client-urls=http://" + l.Addr().String(), "--listen-peer-urls", freeURL(t)}, stdout, stderr)
	if code != exitFailed || !strings.Contains(stderr.String(), "is busy") || stdout.String() != "" {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	expectLog(t, stderr.String())
}
