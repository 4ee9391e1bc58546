package etcdv3_test

import (
	"context"
	"errors"
	"net"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"raftkv/rpc/etcdv3"
	"raftkv/rpc/listen"
	"raftkv/rpc/request"
	"raftkv/rpc/rpctest"
)

// TestStockClient drives etcd's own client library through the one port.
func TestStockClient(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := listen.Split(l, listen.Options{})
	if err != nil {
		t.Fatal(err)
	}
	m := rpctest.New()
	services := etcdv3.New(rpctest.Gate(t, m, request.AllowAll{}, request.Config{}), m)
	server, _, err := listen.NewGRPCServer(listen.GRPCConfig{}, services.Register)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(s.GRPC()) }()
	defer func() {
		server.Stop()
		if err := errors.Join(<-served, s.Close()); err != nil {
			t.Errorf("stopping: %v", err)
		}
	}()

	client, err := clientv3.New(clientv3.Config{Endpoints: []string{l.Addr().String()}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := client.Close(); err != nil {
			t.Errorf("closing the client: %v", err)
		}
	}()
	useStockClient(t, client, l.Addr().String())
}

func useStockClient(t *testing.T, client *clientv3.Client, endpoint string) {
	t.Helper()
	ctx := clientv3.WithRequireLeader(context.Background())
	if _, err := client.Put(ctx, "a", "1"); err != nil {
		t.Fatal(err)
	}
	got, err := client.Get(ctx, "a")
	if err != nil || len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "1" || got.Header.Revision != 2 {
		t.Errorf("get: %v, %v", got, err)
	}
	txn, err := client.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision("a"), "=", 2)).
		Then(clientv3.OpPut("b", "2"), clientv3.OpDelete("a")).Commit()
	if err != nil || !txn.Succeeded || len(txn.Responses) != 2 {
		t.Errorf("txn: %v, %v", txn, err)
	}
	status, err := client.Status(ctx, endpoint)
	if err != nil || status.Leader != rpctest.ID || status.RaftAppliedIndex != 10 {
		t.Errorf("status: %v, %v", status, err)
	}
	members, err := client.MemberList(ctx)
	if err != nil || len(members.Members) != 1 {
		t.Errorf("members: %v, %v", members, err)
	}
	if _, err := client.Put(ctx, "", "v"); !errors.Is(err, rpctypes.ErrEmptyKey) {
		t.Errorf("put without key: %v", err)
	}
	if _, err := client.Get(ctx, "a", clientv3.WithRev(99)); !errors.Is(err, rpctypes.ErrFutureRev) {
		t.Errorf("get of the future: %v", err)
	}
	_, err = client.Txn(ctx).Then(clientv3.OpPut("a", "1"), clientv3.OpPut("a", "2")).Commit()
	if !errors.Is(err, rpctypes.ErrDuplicateKey) {
		t.Errorf("duplicate key: %v", err)
	}
}
