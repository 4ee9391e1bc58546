package statemachine_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// TestRewrite: what was deleted and swept leaves the disk, nothing else changes,
// and an end in between harms nothing.
func TestRewrite(t *testing.T) {
	m := start(t)
	l := newLog(t)
	rng := rand.NewChaCha8([32]byte{1})
	value := make([]byte, 10_000)
	for i := range 400 {
		if _, err := rng.Read(value); err != nil {
			t.Fatal(err)
		}
		apply(t, m, l.entry(request(t, &pb.PutRequest{Key: fmt.Appendf(nil, "key%03d", i), Value: value})))
	}
	apply(t, m, l.entry(request(t, &pb.DeleteRangeRequest{Key: []byte("key010"), RangeEnd: []byte("z")})))
	apply(t, m, l.entry(request(t, &pb.CompactionRequest{Revision: m.Revision()})))
	if err := m.Flush(); err != nil {
		t.Fatal(err)
	}
	sweep(t, m, 1000)
	if err := m.Flush(); err != nil {
		t.Fatal(err)
	}
	marked := func() {
		t.Helper()
		if attribute, apart, err := m.Attribute("key005"); attribute == 0 || !apart || err != nil {
			t.Errorf("a large value of a first version: attribute %d, apart from its key %t, %v", attribute, apart, err)
		}
	}
	marked()
	hash, err := m.StateHash()
	if err != nil {
		t.Fatal(err)
	}

	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := m.Rewrite(canceled); !errors.Is(err, context.Canceled) {
		t.Errorf("a rewrite that nobody waits for: %v", err)
	}
	before, after, err := m.Rewrite(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if after > 500_000 {
		t.Errorf("%d bytes before, %d after, with %d live", before, after, m.LiveBytes())
	}
	if again, err := m.StateHash(); err != nil || again != hash {
		t.Errorf("state hash %x, was %x (%v)", again, hash, err)
	}
	marked()
	checkLiveBytes(t, m)
}
