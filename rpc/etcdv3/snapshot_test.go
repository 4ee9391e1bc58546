package etcdv3_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftkv/rpc/etcdv3"
	"raftkv/rpc/request"
	"raftkv/rpc/rpctest"
)

// snapshotStream collects what is sent, and breaks after some messages.
type snapshotStream struct {
	grpc.ServerStreamingServer[pb.SnapshotResponse]
	ctx      context.Context
	breakAt  int // 0: never
	stallAt  int // 0: never
	messages []*pb.SnapshotResponse
}

var errBroken = status.Error(codes.Unavailable, "broken")

func (s *snapshotStream) Context() context.Context { return s.ctx }

func (s *snapshotStream) Send(r *pb.SnapshotResponse) error {
	s.messages = append(s.messages, r)
	switch len(s.messages) {
	case s.breakAt:
		return errBroken
	case s.stallAt:
		<-s.ctx.Done() // as gRPC ends it once the handler has returned
		return s.ctx.Err()
	}
	return nil
}

func TestSnapshot(t *testing.T) {
	m := rpctest.New()
	m.Switch(rpctest.Switches{Learner: true, NoLeader: true}) // any live member
	s := etcdv3.New(rpctest.Gate(t, m, request.AllowAll{}, request.Config{}), m).Maintenance
	stream := &snapshotStream{ctx: t.Context()}
	if err := s.Snapshot(&pb.SnapshotRequest{}, stream); err != nil {
		t.Fatal(err)
	}
	want := rpctest.SavedFile()
	data := len(want) - rpctest.SavedTrailerBytes
	var got []byte
	for _, r := range stream.messages {
		got = append(got, r.GetBlob()...)
		if left := max(0, data-len(got)); r.GetRemainingBytes() != uint64(left) {
			t.Fatalf("after %d bytes: %d remain, want %d", len(got), r.GetRemainingBytes(), left)
		}
		if r.GetVersion() == "" {
			t.Error("a message without the storage version")
		}
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%d bytes, want %d; or they differ", len(got), len(want))
	}
	if last := stream.messages[len(stream.messages)-1]; len(last.GetBlob()) != rpctest.SavedTrailerBytes {
		t.Errorf("the last message has %d bytes; etcd's is the trailer alone", len(last.GetBlob()))
	}
	if m.SavesOpen() != 0 {
		t.Error("the file is still open")
	}
}

func TestSnapshotFailures(t *testing.T) {
	m := rpctest.New()
	s := etcdv3.New(rpctest.Gate(t, m, request.AllowAll{}, request.Config{}), m).Maintenance
	if err := s.Snapshot(&pb.SnapshotRequest{}, &snapshotStream{ctx: t.Context(), breakAt: 2}); !errors.Is(err, errBroken) {
		t.Errorf("broken connection: %v", err)
	}
	m.Switch(rpctest.Switches{SavedReadErr: io.ErrClosedPipe})
	if err := s.Snapshot(&pb.SnapshotRequest{}, &snapshotStream{ctx: t.Context()}); status.Code(err) != codes.Unknown {
		t.Errorf("broken disk: %v", err)
	}
	m.Switch(rpctest.Switches{SaveErr: errors.New("busy")})
	if err := s.Snapshot(&pb.SnapshotRequest{}, &snapshotStream{ctx: t.Context()}); status.Code(err) != codes.Unknown {
		t.Errorf("no checkpoint: %v", err)
	}
	if m.SavesOpen() != 0 {
		t.Error("a file is still open")
	}
}

// A client that takes nothing any more does not keep the file for ever; one that
// is slow does.
func TestSnapshotStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := rpctest.New()
		s := etcdv3.New(rpctest.Gate(t, m, request.AllowAll{}, request.Config{}), m).Maintenance
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		began := time.Now()
		err := s.Snapshot(&pb.SnapshotRequest{}, &snapshotStream{ctx: ctx, stallAt: 2})
		if took := time.Since(began); status.Code(err) != codes.Aborted || took != time.Minute {
			t.Errorf("after %v: %v", took, err)
		}
		cancel()
		synctest.Wait()
		if m.SavesOpen() != 0 {
			t.Error("the file is still open")
		}
	})
}
