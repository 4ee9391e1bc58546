package compare

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// With fakeServer in its environment this test program plays a member that
// takes etcd's flags; with fakeFails, one that refuses every second put.
const (
	fakeServer = "BENCH_TEST_FAKE_SERVER"
	fakeFails  = "BENCH_TEST_FAKE_FAILS"
)

func TestMain(m *testing.M) {
	if os.Getenv(fakeServer) == "" {
		os.Exit(m.Run())
	}
	if err := serveFake(os.Args[1:]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func serveFake(args []string) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	member := &fakeMember{id: 2, fails: os.Getenv(fakeFails) != ""}
	var address string
	for _, arg := range args {
		if arg == "--name=node1" {
			member.id = 1
		}
		if value, found := strings.CutPrefix(arg, "--listen-client-urls=http://"); found {
			address = value
		}
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	etcdserverpb.RegisterKVServer(server, member)
	etcdserverpb.RegisterMaintenanceServer(server, member)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	<-signals
	server.Stop()
	return <-served
}

// fakeMember stores nothing. Member 1 is the leader.
type fakeMember struct {
	etcdserverpb.UnimplementedKVServer
	etcdserverpb.UnimplementedMaintenanceServer
	id    uint64
	fails bool
	puts  atomic.Int64
}

func (m *fakeMember) Put(context.Context, *etcdserverpb.PutRequest) (*etcdserverpb.PutResponse, error) {
	n := m.puts.Add(1)
	if m.fails && n%2 == 0 {
		return nil, status.Error(codes.Unavailable, "etcdserver: leader changed")
	}
	return &etcdserverpb.PutResponse{Header: &etcdserverpb.ResponseHeader{Revision: n + 1}}, nil
}

func (m *fakeMember) Range(context.Context, *etcdserverpb.RangeRequest) (*etcdserverpb.RangeResponse, error) {
	return &etcdserverpb.RangeResponse{}, nil
}

func (m *fakeMember) Status(context.Context, *etcdserverpb.StatusRequest) (*etcdserverpb.StatusResponse, error) {
	return &etcdserverpb.StatusResponse{
		Header: &etcdserverpb.ResponseHeader{MemberId: m.id}, Leader: 1, RaftTerm: 2,
	}, nil
}
