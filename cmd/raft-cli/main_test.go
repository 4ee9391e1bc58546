package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/cockroachdb/datadriven"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"raftkv/client/clienttest"
	"raftkv/cmd/raft-cli/internal/verb"
	"raftkv/rpc/kvstream/kvpb"
)

func TestMain(m *testing.M) {
	if os.Getenv(asRaftCLI) != "" {
		os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	goleak.VerifyTestMain(m)
}

// hang makes a member answer nothing any more. hanging, if not nil, is closed
// at the first request.
func hang(m *clienttest.Member, hanging chan struct{}) {
	var once sync.Once
	m.Intercept(func(ctx context.Context, _ any, _ *grpc.UnaryServerInfo, _ grpc.UnaryHandler) (any, error) {
		if hanging != nil {
			once.Do(func() { close(hanging) })
		}
		<-ctx.Done()
		return nil, ctx.Err()
	})
}

// TestScripts runs command lines against fake members. A script's commands are
//
//	cluster [members=N] [etcd] [index=N] [id=N]   start a cluster; "endpoints" leads to all of it
//	endpoints LIST                                members by number, down for a dead port, other for member 1 of
//	                                              the cluster before, none for no variable
//	stop|hang|break|serve|candidate|learner|follower|leader node=N
//	refuse node=N with=NAME
//	name node=N is=NAME, lag node=N by=ENTRIES, urls node=N are=LIST, alarm node=N is=NOSPACE
//	cli                                           first line: the arguments, then the standard input
//	calls                                         what has reached members since the last calls
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := &script{t: t}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string { return s.step(d) })
	})
}

type script struct {
	t              *testing.T
	cluster, other *clienttest.Cluster
}

func (s *script) step(d *datadriven.TestData) string {
	switch d.Cmd {
	case "cluster":
		o := clienttest.Options{Members: 1, WithoutNative: d.HasArg("etcd")}
		d.MaybeScanArgs(s.t, "members", &o.Members)
		d.MaybeScanArgs(s.t, "index", &o.Index)
		d.MaybeScanArgs(s.t, "id", &o.ClusterID)
		s.cluster, s.other = clienttest.Start(s.t, o), s.cluster
		s.t.Setenv(endpointsVariable, strings.Join(s.cluster.Endpoints(), ","))
		return ""
	case "endpoints":
		s.setEndpoints(d)
		return ""
	case "cli":
		line, stdin, _ := strings.Cut(d.Input, "\n")
		if d.HasArg("newline") {
			stdin += "\n" // datadriven cuts the last one off
		}
		return s.cli(line, stdin)
	case "calls":
		return strings.Join(s.cluster.Calls(), "\n") + "\n"
	}
	var n int
	d.ScanArgs(s.t, "node", &n)
	s.change(d, s.cluster.Member(n))
	return ""
}

func (s *script) setEndpoints(d *datadriven.TestData) {
	var list []string
	for _, a := range d.CmdArgs {
		switch a.Key {
		case "none":
		case "down":
			list = append(list, "127.0.0.1:1")
		case "other":
			list = append(list, s.other.Member(1).Address())
		default:
			var n int
			if _, err := fmt.Sscan(a.Key, &n); err != nil {
				d.Fatalf(s.t, "%q is no member", a.Key)
			}
			list = append(list, s.cluster.Member(n).Address())
		}
	}
	s.t.Setenv(endpointsVariable, strings.Join(list, ","))
}

// change alters one member.
func (s *script) change(d *datadriven.TestData, m *clienttest.Member) {
	switch d.Cmd {
	case "stop":
		m.Stop()
	case "serve":
		m.Intercept(nil)
	case "hang":
		hang(m, nil)
	case "break":
		m.Intercept(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
			resp, err := h(ctx, req)
			m.CutConnections()
			return resp, err
		})
	case "refuse":
		var name string
		d.ScanArgs(s.t, "with", &name)
		err := map[string]error{
			"no-leader":  rpctypes.ErrGRPCNoLeader,
			"no-space":   rpctypes.ErrGRPCNoSpace,
			"timed-out":  rpctypes.ErrGRPCTimeout,
			"compacted":  rpctypes.ErrGRPCCompacted,
			"learner":    rpctypes.ErrGRPCNotSupportedForLearner,
			"permission": rpctypes.ErrGRPCPermissionDenied,
		}[name]
		if err == nil {
			d.Fatalf(s.t, "unknown refusal %q", name)
		}
		m.Intercept(func(context.Context, any, *grpc.UnaryServerInfo, grpc.UnaryHandler) (any, error) { return nil, err })
	case "name":
		var name string
		d.MaybeScanArgs(s.t, "is", &name)
		m.SetName(name)
	case "alarm":
		var name string
		d.ScanArgs(s.t, "is", &name)
		m.Arm(pb.AlarmType(pb.AlarmType_value[name]))
	case "urls":
		m.SetClientURLs()
	case "lag":
		var by uint64
		d.ScanArgs(s.t, "by", &by)
		m.Lag(by)
	default:
		role, ok := kvpb.StatusResponse_Role_value[strings.ToUpper(d.Cmd)]
		if !ok {
			d.Fatalf(s.t, "unknown command %q", d.Cmd)
		}
		m.SetRole(kvpb.StatusResponse_Role(role))
	}
}

// cli runs one command line. Addresses of members are replaced by text of the
// same length, so that tables keep their widths.
func (s *script) cli(line, stdin string) string {
	args, err := verb.Words(line)
	if err != nil {
		s.t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	code := run(s.t.Context(), args, strings.NewReader(stdin), &stdout, &stderr)
	var b strings.Builder
	b.Write(stdout.Bytes())
	for text := range strings.Lines(stderr.String()) {
		b.WriteString("stderr: " + text)
	}
	fmt.Fprintf(&b, "exit %d\n", code)
	out := b.String()
	for text, c := range map[string]*clienttest.Cluster{"node": s.cluster, "othr": s.other} {
		if c == nil {
			continue
		}
		for i, address := range c.Endpoints() {
			out = strings.ReplaceAll(out, address, fmt.Sprintf("127.0.0.1:%s%d", text, i+1))
		}
	}
	return out
}

// TestEndpointsByDefault looks at the choice only: what really listens on the
// default ports of the machine is none of the test's business.
func TestEndpointsByDefault(t *testing.T) {
	for _, tc := range []struct {
		env       string
		args      []string
		endpoints []string
		fallback  []string
	}{
		{endpoints: []string{"localhost:8001", "localhost:8002", "localhost:8003"}, fallback: []string{"localhost:2379"}},
		{env: "a:1, http://b:2", endpoints: []string{"a:1", "http://b:2"}},
		{env: "a:1", args: []string{"--endpoints=c:3"}, endpoints: []string{"c:3"}},
		{env: "a:1", args: []string{"--endpoints="}, endpoints: []string{""}},
	} {
		link := &connection{getenv: func(name string) string {
			if name == endpointsVariable {
				return tc.env
			}
			return ""
		}}
		root := newRoot(&verb.Session{}, link)
		if err := root.ParseFlags(tc.args); err != nil {
			t.Fatal(err)
		}
		if cfg, err := link.config(); err != nil || !slices.Equal(cfg.Endpoints, tc.endpoints) || !slices.Equal(cfg.Fallback, tc.fallback) {
			t.Errorf("environment %q, flags %v: %+v, %v", tc.env, tc.args, cfg, err)
		}
	}
}

func TestInterruptedWriteSaysUnknown(t *testing.T) {
	cluster := clienttest.Start(t, clienttest.Options{})
	cluster.Member(1).Intercept(func(ctx context.Context, _ any, _ *grpc.UnaryServerInfo, _ grpc.UnaryHandler) (any, error) {
		// The verb watches for interrupts while its request is under way, which
		// it is now.
		if err := syscall.Kill(syscall.Getpid(), syscall.SIGINT); err != nil {
			return nil, err
		}
		<-ctx.Done()
		return nil, ctx.Err()
	})
	var stderr bytes.Buffer
	code := run(t.Context(), []string{"--endpoints", cluster.Endpoints()[0], "set", "k", "v"}, nil, io.Discard, &stderr)
	if code != 1 || !strings.HasPrefix(stderr.String(), "outcome unknown: ") || !strings.Contains(stderr.String(), "canceled") {
		t.Errorf("exit code %d, %s", code, stderr.String())
	}
}

// brokenPipe is a standard output that nobody reads, or an input that fails.
type brokenPipe struct{}

var errBroken = errors.New("broken pipe")

func (brokenPipe) Write([]byte) (int, error) { return 0, errBroken }
func (brokenPipe) Read([]byte) (int, error)  { return 0, errBroken }

func TestBrokenStreams(t *testing.T) {
	cluster := clienttest.Start(t, clienttest.Options{})
	t.Setenv(endpointsVariable, cluster.Endpoints()[0])
	var stderr bytes.Buffer
	if code := run(t.Context(), []string{"status"}, nil, brokenPipe{}, &stderr); code != 1 || !strings.Contains(stderr.String(), "writing the output: broken pipe") {
		t.Errorf("output: exit code %d, %s", code, stderr.String())
	}
	stderr.Reset()
	if code := run(t.Context(), []string{"set", "k", "-"}, brokenPipe{}, io.Discard, &stderr); code != 1 || !strings.Contains(stderr.String(), "reading the standard input: broken pipe") {
		t.Errorf("input: exit code %d, %s", code, stderr.String())
	}
	cluster.Calls()
	stderr.Reset()
	if code := run(t.Context(), []string{"set", "k", "-"}, endless{}, io.Discard, &stderr); code != 1 || !strings.Contains(stderr.String(), "above 67108864 bytes") {
		t.Errorf("endless input: exit code %d, %s", code, stderr.String())
	}
	if calls := cluster.Calls(); len(calls) > 0 {
		t.Errorf("a value that was cut off has been sent: %v", calls)
	}
}

// endless is an input without an end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestShellCompletion(t *testing.T) {
	t.Setenv(endpointsVariable, "")
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), []string{"completion", shell}, nil, &stdout, &stderr); code != 0 || !strings.Contains(stdout.String(), "raft-cli") {
			t.Errorf("%s: exit code %d, %s", shell, code, stderr.String())
		}
	}
	var stdout, stderr bytes.Buffer
	run(t.Context(), []string{"__complete", "get", "--ser"}, nil, &stdout, &stderr)
	if !strings.HasPrefix(stdout.String(), "--serializable") {
		t.Errorf("completion of get --ser: %s", stdout.String())
	}
}
