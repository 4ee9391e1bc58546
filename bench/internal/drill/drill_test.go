package drill

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftkv/bench/internal/load"
)

// gate is a member that refuses writes while it is shut.
type gate struct {
	etcdserverpb.UnimplementedKVServer
	shut atomic.Bool
}

func (g *gate) Put(context.Context, *etcdserverpb.PutRequest) (*etcdserverpb.PutResponse, error) {
	if g.shut.Load() {
		return nil, status.Error(codes.Unavailable, "etcdserver: no leader")
	}
	return &etcdserverpb.PutResponse{Header: &etcdserverpb.ResponseHeader{Revision: 2}}, nil
}

func TestProberFindsTheFirstWriteBegunAfter(t *testing.T) {
	g := &gate{}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	etcdserverpb.RegisterKVServer(server, g)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer func() { server.Stop(); <-served }()
	p, err := startProber([]string{listener.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()

	if _, err := p.firstBegunAfter(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	g.shut.Store(true)
	shut := time.Now()
	short, cancel := context.WithTimeout(t.Context(), 20*probeEvery)
	defer cancel()
	if at, err := p.firstBegunAfter(short, shut); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a refused write was acknowledged at %v, %v", at, err)
	}
	opened := time.Now()
	g.shut.Store(false)
	at, err := p.firstBegunAfter(t.Context(), shut)
	if err != nil || at.Before(opened) {
		t.Errorf("acknowledged %v before the gate opened, %v", opened.Sub(at), err)
	}
	if p.acknowledged() < 2 {
		t.Errorf("%d writes were acknowledged", p.acknowledged())
	}
}

func TestInstalledSnapshotsAreCounted(t *testing.T) {
	for text, want := range map[string]int{
		"# HELP raftkv_snapshot_installed_total x\nraftkv_snapshot_installed_total 2\nother 7\n":                     2,
		"etcd_network_snapshot_receive_success{From=\"1\"} 1\netcd_network_snapshot_receive_success{From=\"2\"} 2\n": 3,
		"etcd_network_snapshot_receive_failures{From=\"1\"} 1\n":                                                     0,
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(text))
		}))
		got, err := installedSnapshots(t.Context(), strings.TrimPrefix(server.URL, "http://"))
		server.Close()
		if err != nil || got != want {
			t.Errorf("%d, %v; want %d of\n%s", got, err, want, text)
		}
	}
}

func TestJoinTellsQuietFromDuring(t *testing.T) {
	quiet := load.Result{Completed: 5, Latency: load.Latency{Count: 5, P99US: 10}, Unsent: 1,
		Errors: []load.ErrorCount{{Class: "a", Count: 1}}}
	during := load.Result{
		Latency: load.Latency{Count: 9, P99US: 7}, Unsent: 2, WarmupErrors: []load.ErrorCount{{Class: "b", Count: 1}},
		Kinds: []load.KindResult{
			{Kind: KindDuring, Latency: load.Latency{Count: 4, P99US: 30}},
			{Kind: kindAfter, Latency: load.Latency{Count: 5, P99US: 2}},
		},
	}
	r := join(quiet, during)
	if len(r.Kinds) != 2 || r.Kinds[0].Latency.P99US != 10 || r.Kinds[1].Latency.P99US != 30 || r.Latency.P99US != 30 {
		t.Errorf("got %+v", r)
	}
	if r.ErrorTotal() != 2 || r.Unsent != 3 {
		t.Errorf("faults were lost: %+v", r)
	}
}

func TestUnknownEventIsRefused(t *testing.T) {
	d := &disturbance{event: "flood"}
	if err := d.once(t.Context()); err == nil || !strings.Contains(err.Error(), `"flood"`) {
		t.Errorf("got %v", err)
	}
}
