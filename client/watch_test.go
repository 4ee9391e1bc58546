package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftkv/client"
)

// act is what a scripted member does with one watch stream.
type act struct {
	start int64 // the revision it must be asked for
	says  []*pb.WatchResponse
	ends  error // nil: it stays open
}

// watchScript plays one act for each stream, wherever it is opened.
type watchScript struct {
	t    *testing.T
	acts chan act
	pb.UnimplementedWatchServer
}

func (s *watchScript) Watch(stream pb.Watch_WatchServer) error {
	var a act
	select {
	case a = <-s.acts:
	default:
		return status.Error(codes.Unavailable, "nothing more to play")
	}
	req, err := stream.Recv()
	if err != nil {
		return err
	}
	if got := req.GetCreateRequest().GetStartRevision(); got != a.start {
		s.t.Errorf("asked for revision %d, want %d", got, a.start)
	}
	for _, resp := range a.says {
		if err := stream.Send(resp); err != nil {
			return err
		}
	}
	if a.ends != nil {
		return a.ends
	}
	<-stream.Context().Done()
	return nil
}

// play serves the acts on two endpoints.
func play(t *testing.T, acts ...act) *client.Client {
	t.Helper()
	script := &watchScript{t: t, acts: make(chan act, len(acts))}
	for _, a := range acts {
		script.acts <- a
	}
	var endpoints []string
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		server := grpc.NewServer()
		pb.RegisterWatchServer(server, script)
		served := make(chan error, 1)
		go func() { served <- server.Serve(l) }()
		t.Cleanup(func() {
			server.Stop()
			if err := <-served; err != nil {
				t.Error(err)
			}
		})
		endpoints = append(endpoints, l.Addr().String())
	}
	c, err := client.New(client.Config{Endpoints: endpoints})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func created(revision int64) *pb.WatchResponse {
	return &pb.WatchResponse{Header: &pb.ResponseHeader{Revision: revision}, Created: true}
}

func happened(fragment bool, revisions ...int64) *pb.WatchResponse {
	resp := &pb.WatchResponse{Header: &pb.ResponseHeader{Revision: 1000}, Fragment: fragment}
	for _, r := range revisions {
		resp.Events = append(resp.Events, &mvccpb.Event{Kv: &mvccpb.KeyValue{Key: []byte("k"), ModRevision: r}})
	}
	return resp
}

func progress(revision int64) *pb.WatchResponse {
	return &pb.WatchResponse{Header: &pb.ResponseHeader{Revision: revision}}
}

var errSeenAll = errors.New("seen all")

// TestWatchGoesOn: broken streams cost no event and double none, wherever they
// break: behind a creation, an event, a message of progress, inside fragments.
func TestWatchGoesOn(t *testing.T) {
	broken := status.Error(codes.Unavailable, "broken")
	c := play(t,
		act{start: 0, says: []*pb.WatchResponse{created(5)}, ends: broken},
		act{start: 6, says: []*pb.WatchResponse{created(7), happened(false, 6), happened(false, 7, 7), happened(true, 8)}, ends: broken},
		act{start: 8, ends: status.Error(codes.Unavailable, "etcdserver: no leader")},
		act{start: 8, says: []*pb.WatchResponse{created(9), happened(true, 8), happened(true, 8), happened(false, 9), progress(20)}, ends: broken},
		act{start: 21, says: []*pb.WatchResponse{created(22), happened(false, 22)}},
	)
	var got []string
	err := c.Watch(t.Context(), client.WatchRequest{Key: []byte("k")}, func(u client.Update) error {
		text := fmt.Sprintf("progress %d", u.Revision)
		if len(u.Events) > 0 {
			text = ""
			for _, e := range u.Events {
				text += fmt.Sprint(" ", e.GetKv().GetModRevision())
			}
		}
		got = append(got, text)
		if text == " 22" {
			return errSeenAll
		}
		return nil
	})
	if want := "[ 6  7 7  8 8 9 progress 20  22]"; fmt.Sprint(got) != want || !errors.Is(err, errSeenAll) {
		t.Errorf("told %v (%v), want %s", got, err, want)
	}
}

func TestWatchEnds(t *testing.T) {
	told := func(client.Update) error { return errors.New("told of something") }
	compacted := play(t, act{start: 3, says: []*pb.WatchResponse{created(9), {Canceled: true, CompactRevision: 7}}})
	err := compacted.Watch(t.Context(), client.WatchRequest{Key: []byte("k"), Revision: 3}, told)
	var gone *client.CompactedError
	if !errors.As(err, &gone) || gone.Revision != 7 {
		t.Errorf("compacted: %v", err)
	}
	refused := play(t, act{says: []*pb.WatchResponse{{Canceled: true, Created: true, WatchId: -1, CancelReason: "because"}}})
	err = refused.Watch(t.Context(), client.WatchRequest{Key: []byte("k")}, told)
	var cancelled *client.CancelledError
	if !errors.As(err, &cancelled) || cancelled.Reason != "because" {
		t.Errorf("refused: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	open := play(t, act{says: []*pb.WatchResponse{created(1), progress(2)}})
	err = open.Watch(ctx, client.WatchRequest{Key: []byte("k")}, func(client.Update) error {
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("ended by its context: %v", err)
	}
	denied := play(t, act{ends: status.Error(codes.PermissionDenied, "no")})
	if err := denied.Watch(t.Context(), client.WatchRequest{Key: []byte("k")}, told); status.Code(err) != codes.PermissionDenied {
		t.Errorf("denied: %v", err)
	}
}
