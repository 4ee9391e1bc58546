package peer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"raftkv/rpc/peer/peerpb"
)

// bytesConn is a connection that was all sent before.
type bytesConn struct {
	net.Conn
	r io.Reader
}

func (c bytesConn) Read(p []byte) (int, error) { return c.r.Read(p) }

func TestFrames(t *testing.T) {
	var wire []byte
	var sent []*peerpb.Frame
	for _, size := range []int{0, 1, 1000, readBufferBytes - 1, readBufferBytes + 1, 3 << 20, 10} {
		f := &peerpb.Frame{Messages: []*raftpb.Message{message(raftpb.MessageType_MsgApp, 1, 2, 3, strings.Repeat("x", size))}, Batches: [][]byte{[]byte("b")}}
		var err error
		if wire, err = appendFramed(wire, f); err != nil {
			t.Fatal(err)
		}
		sent = append(sent, f)
		wire = append(wire, 0, 0, 0, 0)
	}
	reader := newFrameReader(bytesConn{r: bytes.NewReader(wire)})
	for _, want := range sent {
		got := &peerpb.Frame{}
		if empty, err := reader.next(got); empty || err != nil || !proto.Equal(got, want) {
			t.Fatalf("a frame of %d bytes came as %d (%v, %v)", proto.Size(want), proto.Size(got), empty, err)
		}
		if empty, err := reader.next(got); !empty || err != nil {
			t.Fatalf("the question behind it: %v, %v", empty, err)
		}
	}
	if _, err := reader.next(&peerpb.Frame{}); err != io.EOF {
		t.Fatalf("at the end: %v", err)
	}
}

func TestFrameBeyondAllBounds(t *testing.T) {
	reader := newFrameReader(bytesConn{r: bytes.NewReader(binary.BigEndian.AppendUint32(nil, MaxFrameBytes+1))})
	if _, err := reader.next(&peerpb.Frame{}); err == nil || err == io.EOF {
		t.Fatalf("got %v", err)
	}
	if _, err := appendFramed(nil, &peerpb.Frame{Batches: [][]byte{make([]byte, MaxFrameBytes)}}); err == nil {
		t.Fatal("it was encoded")
	}
}

func FuzzFrameReader(f *testing.F) {
	good, err := appendFramed([]byte(Preface), &peerpb.Frame{Hello: &peerpb.Hello{Protocol: 3, From: 1}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(append(good, 0, 0, 0, 0, 0, 0, 0, 1))
	f.Fuzz(func(t *testing.T, data []byte) {
		reader := newFrameReader(bytesConn{r: bytes.NewReader(data)})
		if reader.preface() != nil {
			return
		}
		for {
			if _, err := reader.next(&peerpb.Frame{}); err != nil {
				return
			}
		}
	})
}

// Both ends of a lane give it up when the other one is silent, and not before.
func TestSilentLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		k := newLink(ours)
		done := make(chan struct{})
		go func() { k.watch(15 * time.Second); close(done) }()
		for range 10 {
			<-time.After(14 * time.Second)
			if _, err := theirs.Write(make([]byte, lengthBytes)); err != nil {
				t.Fatal(err)
			}
		}
		begin := time.Now()
		<-done
		if took := time.Since(begin); took != 15*time.Second || !errors.Is(k.cause, os.ErrDeadlineExceeded) || k.reset() {
			t.Errorf("given up after %v: %v", took, k.cause)
		}
	})
}
