package client_test

import (
	"context"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.uber.org/goleak"

	"raftkv/client"
	"raftkv/rpc/kvstream/kvpb"
)

// deadAddress refuses connections: nothing listens on port 1.
const deadAddress = "127.0.0.1:1"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// connect returns a client that the test's cleanup closes.
func connect(t *testing.T, endpoints ...string) *client.Client {
	t.Helper()
	return connectWith(t, client.Config{Endpoints: endpoints})
}

func connectWith(t *testing.T, cfg client.Config) *client.Client {
	t.Helper()
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("closing the client: %v", err)
		}
	})
	return c
}

// testContext ends well after any test here should.
func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func put(key, value string) *kvpb.WriteRequest {
	return &kvpb.WriteRequest{Op: &kvpb.WriteRequest_Put{Put: &kvpb.Put{Key: []byte(key), Value: []byte(value)}}}
}

func appendTo(key, value string) *kvpb.WriteRequest {
	return &kvpb.WriteRequest{Op: &kvpb.WriteRequest_Append{Append: &kvpb.Append{Key: []byte(key), Value: []byte(value)}}}
}

// mustRead returns the value of key, "" if it is missing.
func mustRead(t *testing.T, c *client.Client, key string) string {
	t.Helper()
	resp, _, err := c.Range(testContext(t), &pb.RangeRequest{Key: []byte(key)})
	if err != nil {
		t.Fatalf("reading %q: %v", key, err)
	}
	if len(resp.GetKvs()) == 0 {
		return ""
	}
	return string(resp.GetKvs()[0].GetValue())
}
