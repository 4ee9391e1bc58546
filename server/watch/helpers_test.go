package watch

import (
	"context"
	"sync"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"raftkv/rpc/feed"
)

// newHub returns a Hub that runs until the test ends, and what it reads.
func newHub(t testing.TB, cfg Config) (*Hub, *store) {
	t.Helper()
	h, s := idleHub(t, cfg)
	start(t, h)
	return h, s
}

// idleHub is a Hub that does not run yet.
func idleHub(t testing.TB, cfg Config) (*Hub, *store) {
	t.Helper()
	h, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return h, newStore(h)
}

func start(t testing.TB, h *Hub) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { h.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
}

// open opens a stream that is closed with the test.
func open(t testing.TB, h *Hub) *Stream {
	s := h.Open().(*Stream)
	t.Cleanup(s.Close)
	return s
}

func create(t testing.TB, s *Stream, spec feed.Spec) {
	t.Helper()
	if err := s.Create(context.Background(), spec); err != nil {
		t.Fatal(err)
	}
}

// next returns the next message as a client would see it.
func next(t testing.TB, s *Stream) *pb.WatchResponse {
	t.Helper()
	m, err := s.Next(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, m)
}

func decode(t testing.TB, m *feed.Message) *pb.WatchResponse {
	t.Helper()
	resp, err := m.Response(&pb.ResponseHeader{Revision: m.Revision})
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// created creates a watch and takes the answer.
func created(t testing.TB, s *Stream, spec feed.Spec) *pb.WatchResponse {
	t.Helper()
	create(t, s, spec)
	resp := next(t, s)
	if !resp.GetCreated() {
		t.Fatalf("the answer to a creation is %v", resp)
	}
	return resp
}

// text is an event in short: the key, =value or -, @revision.
func text(e *mvccpb.Event) string {
	s := string(e.GetKv().GetKey())
	if e.GetType() == mvccpb.Event_DELETE {
		s += "-"
	} else {
		s += "=" + string(e.GetKv().GetValue())
	}
	if e.GetPrevKv() != nil {
		s += "<" + string(e.GetPrevKv().GetValue())
	}
	return s
}

func texts(resp *pb.WatchResponse) (list []string) {
	for _, e := range resp.GetEvents() {
		list = append(list, text(e))
	}
	return list
}
