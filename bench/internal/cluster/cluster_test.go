package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// behaviour makes this test program play a server when it is started as one.
const behaviour = "BENCH_TEST_SERVER"

func TestMain(m *testing.M) {
	switch os.Getenv(behaviour) {
	case "":
		os.Exit(m.Run())
	case "serve", "stubborn":
		os.Exit(fakeServer(os.Getenv(behaviour) == "stubborn"))
	case "fail":
		fmt.Println("data directory is damaged")
		os.Exit(1)
	case "parent":
		os.Exit(fakeParent())
	}
}

// fakeServer listens on its client URL until it is asked to end.
func fakeServer(stubborn bool) int {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	for _, arg := range os.Args[1:] {
		if address, found := strings.CutPrefix(arg, "--listen-client-urls=http://"); found {
			if _, err := net.Listen("tcp", address); err != nil {
				fmt.Println(err)
				return 1
			}
		}
	}
	if leaked := os.Getenv("ETCD_QUOTA_BACKEND_BYTES"); leaked != "" {
		fmt.Println("environment leaked:", leaked)
		return 1
	}
	for {
		<-signals
		if !stubborn {
			return 0
		}
	}
}

// fakeParent starts a stubborn server, prints its id and is then killed.
func fakeParent() int {
	if err := os.Setenv(behaviour, "stubborn"); err != nil {
		return 1
	}
	p, err := startProcess("child", os.Args[0], os.Args[1], nil)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println(p.pid)
	<-p.ended
	return 0
}

// listening is ready once every member accepts connections.
func listening(_ context.Context, endpoints []string) error {
	for _, endpoint := range endpoints {
		conn, err := net.Dial("tcp", endpoint)
		if err != nil {
			return err
		}
		if err := conn.Close(); err != nil {
			return err
		}
	}
	return nil
}

func testConfig(t *testing.T, mode string) Config {
	t.Helper()
	t.Setenv(behaviour, mode)
	t.Setenv("ETCD_QUOTA_BACKEND_BYTES", "1")
	return Config{
		Name: "fake", Binary: os.Args[0], Dir: t.TempDir(), Nodes: 3,
		Ready: listening, ReadyTimeout: time.Minute,
	}
}

func requireGone(t *testing.T, processes []*process) {
	t.Helper()
	for _, p := range processes {
		select {
		case <-p.ended:
		default:
			t.Errorf("%s still runs", p.name)
		}
	}
}

func TestStartAndStop(t *testing.T) {
	c, err := Start(t.Context(), testConfig(t, "serve"))
	if err != nil {
		t.Fatal(err)
	}
	if pids := c.PIDs(); len(pids) != 3 || len(slices.Compact(slices.Sorted(slices.Values(pids)))) != 3 {
		t.Errorf("pids %v", pids)
	}
	if len(c.Endpoints()) != 3 {
		t.Errorf("endpoints %v", c.Endpoints())
	}
	if err := c.Alive(); err != nil {
		t.Error(err)
	}
	if err := c.Stop(t.Context()); err != nil {
		t.Errorf("stop: %v", err)
	}
	requireGone(t, c.processes)
}

func TestMemberThatDiesAtOnceQuotesItsLog(t *testing.T) {
	_, err := Start(t.Context(), testConfig(t, "fail"))
	if err == nil || !strings.Contains(err.Error(), "data directory is damaged") || !strings.Contains(err.Error(), "exit status 1") {
		t.Errorf("err = %v", err)
	}
}

func TestMemberThatDiesLaterIsReported(t *testing.T) {
	c, err := Start(t.Context(), testConfig(t, "serve"))
	if err != nil {
		t.Fatal(err)
	}
	victim := c.processes[1]
	if err := victim.handle.Kill(); err != nil {
		t.Fatal(err)
	}
	<-victim.ended
	if err := c.Stop(t.Context()); err == nil || !strings.Contains(err.Error(), "node2 ended by itself") {
		t.Errorf("stop: %v", err)
	}
	requireGone(t, c.processes)
}

func TestStubbornMembersAreKilled(t *testing.T) {
	c, err := Start(t.Context(), testConfig(t, "stubborn"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range c.processes[:2] {
		if err := p.terminate(); err != nil {
			t.Fatal(err)
		}
		if err := p.stop(t.Context(), time.Millisecond); !errors.Is(err, errKilled) {
			t.Errorf("stop: %v", err)
		}
	}
	// A cancelled context does not wait out the grace.
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	last := &Cluster{name: "fake", processes: c.processes[2:]}
	if err := last.Stop(cancelled); err != nil {
		t.Errorf("stop: %v", err)
	}
	requireGone(t, c.processes)
}

func TestClusterThatNeverServesIsStopped(t *testing.T) {
	cfg := testConfig(t, "serve")
	cfg.ReadyTimeout = 10 * time.Millisecond
	never := errors.New("no leader")
	cfg.Ready = func(context.Context, []string) error { return never }
	if _, err := Start(t.Context(), cfg); !errors.Is(err, never) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("err = %v", err)
	}
}

func TestMissingBinary(t *testing.T) {
	cfg := testConfig(t, "serve")
	cfg.Binary = filepath.Join(cfg.Dir, "absent")
	if _, err := Start(t.Context(), cfg); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("err = %v", err)
	}
}

// The server is killed by the kernel when its parent is killed (invariant 3).
func TestServersDieWithTheParent(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: dying with the parent exists on Linux only")
	}
	t.Setenv(behaviour, "parent")
	logPath := filepath.Join(t.TempDir(), "child.log")
	parent := exec.Command(os.Args[0], logPath)
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Fscan(out, &pid); err != nil {
		t.Fatal(err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	// The child inherited nothing of ours to wait on, so its /proc entry is
	// polled; whoever adopted it may leave it a zombie.
	_ = parent.Wait() // reports the kill
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || bytes.Contains(stat, []byte(") Z ")) {
			return
		}
		select {
		case <-ticker.C:
		case <-deadline.C:
			t.Fatalf("process %d outlived its parent", pid)
		}
	}
}

func TestFlagsAreEtcds(t *testing.T) {
	members := []member{
		{name: "node1", dataDir: "/d/node1", client: "127.0.0.1:1", peer: "127.0.0.1:2"},
		{name: "node2", dataDir: "/d/node2", client: "127.0.0.1:3", peer: "127.0.0.1:4"},
	}
	want := []string{
		"--name=node2", "--data-dir=/d/node2",
		"--listen-client-urls=http://127.0.0.1:3", "--advertise-client-urls=http://127.0.0.1:3",
		"--listen-peer-urls=http://127.0.0.1:4", "--initial-advertise-peer-urls=http://127.0.0.1:4",
		"--initial-cluster=node1=http://127.0.0.1:2,node2=http://127.0.0.1:4",
		"--initial-cluster-state=new", "--initial-cluster-token=bench", "--log-level=warn",
	}
	if got := members[1].flags(members, 0); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if got := members[1].flags(members, 5); got[len(got)-1] != "--quota-backend-bytes=5" {
		t.Errorf("with a quota of 5 bytes: %q", got)
	}
}

func TestFreePortsAreDistinctAndFree(t *testing.T) {
	ports, err := freePorts(20)
	if err != nil {
		t.Fatal(err)
	}
	if distinct := slices.Compact(slices.Sorted(slices.Values(ports))); len(distinct) != 20 {
		t.Errorf("ports %v", ports)
	}
	for _, port := range ports {
		if port < portMin || port >= portMax {
			t.Errorf("port %d is out of range", port)
		}
	}
}
