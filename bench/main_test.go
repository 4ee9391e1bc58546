package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftkv/bench/internal/measure"
)

func TestUsageErrorsAreOneLineAndCode2(t *testing.T) {
	for line, complaint := range map[string]string{
		"bogus":                                `unknown command "bogus"`,
		"put --bogus":                          "unknown flag: --bogus",
		"put --clients many":                   `"many" for "--clients"`,
		"put --clients 0":                      "clients must be between",
		"put --clients 1 --connections 0":      "connections must be between",
		"put --duration -1s":                   "duration must be above 0",
		"put --duration 5":                     "missing unit in duration",
		"put --rate NaN":                       "rate must be between",
		"put --timeout 0":                      "timeout must be above 0",
		"put --target followers":               "target must be leader or all",
		"put --value-size 2000000":             "value-size must be between",
		"put --endpoints nowhere":              `endpoint "nowhere"`,
		"put --endpoints=":                     "no endpoint given",
		"put --pids 0":                         "0 is not a process id",
		"put --reads 5":                        "unknown flag: --reads",
		"put now":                              "takes no arguments",
		"get -w yaml":                          "write-out must be text or json",
		"mixed --reads 101":                    "reads must be between",
		"put --clients 0 --target x":           "; ", // all faults, joined
		"compare --rounds 0":                   "rounds must be between",
		"compare --loaded-rounds 0":            "loaded-rounds must be between",
		"compare --nodes 10":                   "nodes must be between",
		"compare --rows nothing-like-this":     "matches no row",
		"compare --rows (":                     "not a regular expression",
		"compare --a-bin /nonexistent":         "/nonexistent is not a program",
		"compare --duration 0s":                "duration must be above 0",
		"compare --keys 0":                     "keys must be between",
		"ycsb --workload d":                    "the workload must be a, b or c",
		"txn-mixed --reads 101":                "reads must be between",
		"range --page-keys 11 --keys 10":       "page-keys of a range must be between",
		"watch --reads 5":                      "unknown flag: --reads",
		"compare --kills 0":                    "kills must be between",
		"compare --event-keys 0 --rows ^put":   "keys must be between",
		"grow --keys-max 0":                    "keys must be between",
		"grow --a-bin /nonexistent --nodes 0":  "; /nonexistent is not a program",
		"report --json-file a,b --html-file c": "a page shows one json-file",
		"report --json-file=":                  "must not be empty",
		"compare --json-file= --value-size 1":  "json-file must not be empty",
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), strings.Fields(line), &stdout, &stderr)
		text := stderr.String()
		if code != exitUsage || strings.Count(text, "\n") != 1 || !strings.Contains(text, complaint) {
			t.Errorf("bench %s: exit code %d, want %d and one line about %q:\n%s", line, code, exitUsage, complaint, text)
		}
		if stdout.Len() != 0 {
			t.Errorf("bench %s wrote to standard output: %s", line, stdout.String())
		}
	}
}

func TestHelpIsNoError(t *testing.T) {
	for _, args := range [][]string{{}, {"--help"}, {"put", "--help"}, {"compare", "-h"}} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), args, &stdout, &stderr); code != exitDone || stdout.Len() == 0 || stderr.Len() != 0 {
			t.Errorf("%q: exit code %d, %q", args, code, stderr.String())
		}
	}
}

// server answers puts, or refuses all of them.
type server struct {
	etcdserverpb.UnimplementedKVServer
	refuse bool
}

func (s server) Put(context.Context, *etcdserverpb.PutRequest) (*etcdserverpb.PutResponse, error) {
	if s.refuse {
		return nil, status.Error(codes.ResourceExhausted, "etcdserver: too many requests")
	}
	return &etcdserverpb.PutResponse{Header: &etcdserverpb.ResponseHeader{Revision: 2}}, nil
}

func serve(t *testing.T, s server) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	grpcServer := grpc.NewServer()
	etcdserverpb.RegisterKVServer(grpcServer, s)
	served := make(chan error, 1)
	go func() { served <- grpcServer.Serve(listener) }()
	t.Cleanup(func() {
		grpcServer.Stop()
		if err := <-served; err != nil {
			t.Errorf("serving: %v", err)
		}
	})
	return listener.Addr().String()
}

func TestPutWritesJSON(t *testing.T) {
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), []string{"put", "--endpoints", serve(t, server{}), "--target", "all",
		"--clients", "4", "--warmup", "0s", "--duration", "50ms", "-w", "json"}, &stdout, &stderr)
	var point measure.Point
	if err := json.Unmarshal(stdout.Bytes(), &point); code != exitDone || err != nil {
		t.Fatalf("exit code %d, %v: %s", code, err, stderr.String())
	}
	if point.Clients != 4 || point.Connections != 1 || point.Latency.Count == 0 || point.ErrorTotal() != 0 {
		t.Errorf("got %+v", point)
	}
}

func TestNothingSucceededIsFailure(t *testing.T) {
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), []string{"put", "--endpoints", serve(t, server{refuse: true}), "--target", "all",
		"--clients", "2", "--warmup", "0s", "--duration", "50ms"}, &stdout, &stderr)
	if code != exitFailed || !strings.Contains(stdout.String(), "ResourceExhausted") {
		t.Errorf("exit code %d, want %d and the errors in the report:\n%s", code, exitFailed, stdout.String())
	}
}

// A member without the Maintenance service cannot say who leads.
func TestUnknownLeaderIsExplained(t *testing.T) {
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), []string{"put", "--endpoints", serve(t, server{}), "--duration", "50ms"}, &stdout, &stderr)
	if code != exitFailed || !strings.Contains(stderr.String(), "finding the leader") {
		t.Errorf("exit code %d: %s", code, stderr.String())
	}
}

func TestCompareOutsideTheRepositoryNeedsPrograms(t *testing.T) {
	t.Chdir(t.TempDir())
	o := &compareOptions{jsonFile: "x"}
	o.cfg.Nodes, o.cfg.Rounds, o.cfg.Keys = 1, 1, 1
	if err := o.complete(); err == nil || !strings.Contains(err.Error(), "--a-bin and --b-bin") {
		t.Errorf("err = %v", err)
	}
}

func TestBrokenOutputIsAnError(t *testing.T) {
	if err := writePoint(brokenWriter{}, measure.Point{}, "text"); !errors.Is(err, errBroken) {
		t.Errorf("text: %v", err)
	}
	if err := writePoint(brokenWriter{}, measure.Point{}, "json"); !errors.Is(err, errBroken) {
		t.Errorf("json: %v", err)
	}
}

var errBroken = errors.New("broken pipe")

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

func TestRowsAreChosenByName(t *testing.T) {
	rows, err := matchingRows("^put, 100 ")
	if err != nil || len(rows) != 3 {
		t.Errorf("got %v, %v", rows, err)
	}
}

func TestSidesOfTheSameNameAreToldApart(t *testing.T) {
	o := &compareOptions{aBin: "/bin/true", bBin: "/usr/bin/true"}
	if err := o.prepareSides(t.Context(), filepath.Join(t.TempDir(), "unused")); err != nil {
		t.Fatal(err)
	}
	if o.cfg.A.Name != "true (A)" || o.cfg.B.Name != "true (B)" {
		t.Errorf("names %q and %q", o.cfg.A.Name, o.cfg.B.Name)
	}
}
