package kvload_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"raftkv/bench/internal/kvload"
	raftclient "raftkv/client"
	"raftkv/rpc/kvstream"
	"raftkv/rpc/listen"
	"raftkv/rpc/request"
	"raftkv/rpc/rpctest"
)

// TestNative: callers of one connection share a session, puts and gets are
// checked like those of the etcd API.
func TestNative(t *testing.T) {
	m := rpctest.New()
	service := kvstream.New(rpctest.Gate(t, m, request.AllowAll{}, request.Config{}), m)
	address := rpctest.Listen(t, listen.GRPCConfig{}, func(r grpc.ServiceRegistrar) { kvstream.Register(r, service) })
	conns, err := kvload.Dial(t.Context(), []string{address}, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := conns.Close(); err != nil {
			t.Error(err)
		}
	}()
	for name, c := range map[string]struct {
		spec kvload.Spec
		want string // of the error of the fourth operation, "" for none
	}{
		"puts":     {kvload.Spec{API: kvload.APINative, Keys: 1, ValueSizeBytes: 10}, ""},
		"gets":     {kvload.Spec{API: kvload.APINative, Keys: 1, ValueSizeBytes: 10, ReadPercent: 100}, ""},
		"stale":    {kvload.Spec{API: kvload.APINative, Keys: 1, ValueSizeBytes: 10, ReadPercent: 100, Serializable: true}, ""},
		"absent":   {kvload.Spec{API: kvload.APINative, Keys: 1, ReadPercent: 100, AbsentKeys: true}, ""},
		"too long": {kvload.Spec{API: kvload.APINative, Keys: 1, ValueSizeBytes: 9, ReadPercent: 100}, "10 bytes, want 9"},
		"missing":  {kvload.Spec{API: kvload.APINative, Keys: 1000, Seed: 1, ReadPercent: 100}, "found a key: false"},
	} {
		if err := c.spec.Validate(); err != nil {
			t.Fatal(err)
		}
		if name != "puts" { // the key must be there
			run(t, kvload.Spec{API: kvload.APINative, Keys: 1, ValueSizeBytes: 10}, conns, address)
		}
		if err := run(t, c.spec, conns, address); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, spec := range []kvload.Spec{{API: "thrift", Keys: 1}, {API: kvload.APINative, Keys: 1, Operation: kvload.OpTxn}, {API: kvload.APINative, Keys: 1, PageKeys: 5}} {
		if err := spec.Validate(); err == nil {
			t.Errorf("%+v was taken", spec)
		}
	}
}

// run does a few operations and returns the error of the last one.
func run(t *testing.T, spec kvload.Spec, conns *kvload.Conns, address string) (err error) {
	t.Helper()
	w := kvload.New(spec, conns, 2)
	if err := w.Open([]string{address}, 1); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}()
	op := w.NewClient(1)
	for range 4 {
		_, err = op(t.Context())
	}
	return err
}

// TestFillWritesEveryKeyOnce: and none outside of what was asked for.
func TestFillWritesEveryKeyOnce(t *testing.T) {
	m := rpctest.New()
	service := kvstream.New(rpctest.Gate(t, m, request.AllowAll{}, request.Config{}), m)
	address := rpctest.Listen(t, listen.GRPCConfig{}, func(r grpc.ServiceRegistrar) { kvstream.Register(r, service) })
	w := kvload.New(kvload.Spec{API: kvload.APINative, Keys: 260, ValueSizeBytes: 10}, nil, 1)
	if err := w.Open([]string{address}, 2); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := w.Fill(t.Context(), time.Minute, 10, 260); err != nil {
		t.Fatal(err)
	}
	c, err := raftclient.New(raftclient.Config{Endpoints: []string{address}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}()
	session, err := c.NewSession(raftclient.SessionConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	for n := range 270 {
		v, found, err := session.Get(t.Context(), fmt.Appendf(nil, "bench/%010d", n))
		if err != nil || found != (n >= 10 && n < 260) || found && len(v.Bytes) != 10 {
			t.Errorf("key %d: found %t, %v, %v", n, found, v, err)
		}
	}
}
