package peer

import (
	"bytes"
	"context"
	"errors"
	"hash/crc32"
	"io"
	"strings"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"raftkv/rpc/peer/peerpb"
)

// offering opens a snapshot stream to b by hand, as member 1 of a cluster.
func offering(t *testing.T, b *member, clusterID uint64) grpc.BidiStreamingClient[peerpb.SnapshotPart, peerpb.SnapshotAnswer] {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+b.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	stream, err := peerpb.NewPeerClient(conn).Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	hello := &peerpb.Hello{Protocol: protocolNewest, OldestProtocol: protocolOldest, ClusterId: clusterID, From: 1, To: 2, Incarnation: 100}
	header := &peerpb.SnapshotHeader{Hello: hello, Message: snapMessage(1, 2, 7, 10), SizeBytes: 4}
	if err := stream.Send(&peerpb.SnapshotPart{Part: &peerpb.SnapshotPart_Header{Header: header}}); err != nil {
		t.Fatal(err)
	}
	return stream
}

func answerOf(t *testing.T, stream grpc.BidiStreamingClient[peerpb.SnapshotPart, peerpb.SnapshotAnswer]) *peerpb.SnapshotAnswer {
	t.Helper()
	answer, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func TestSnapshotOfAnotherCluster(t *testing.T) {
	b := start(t, 2, nil)
	answer := answerOf(t, offering(t, b, 0xbad))
	if answer.GetRefusal().GetReason() != peerpb.Reason_REASON_CLUSTER {
		t.Fatalf("answered %v", answer)
	}
}

// A part that changed on the way never gets to the staging, nor does one that
// was not asked for.
func TestDamagedPart(t *testing.T) {
	for what, chunk := range map[string]*peerpb.SnapshotChunk{
		"damaged on the way":  {Data: []byte("good"), Checksum: 1},
		"more than was asked": {Data: []byte("good and more"), Checksum: crc32.Checksum([]byte("good and more"), crc32.MakeTable(crc32.Castagnoli))},
		"something else than": {},
	} {
		b := start(t, 2, nil)
		got := make(chan string, 1)
		b.library.stage = func(_ context.Context, _ *raftpb.Snapshot, fetch fetch) error {
			archive, err := fetch([][2]int64{{0, 4}}, 4)
			if err != nil {
				return err
			}
			read, err := io.ReadAll(archive)
			got <- string(read)
			return err
		}
		stream := offering(t, b, 0xc1)
		if answer := answerOf(t, stream); answer.GetHello() == nil {
			t.Fatalf("answered %v", answer)
		}
		if want := answerOf(t, stream).GetWant(); len(want.GetRanges()) != 1 || want.GetRemainingBytes() != 4 {
			t.Fatalf("asked for %v", want)
		}
		if err := stream.Send(&peerpb.SnapshotPart{Part: &peerpb.SnapshotPart_Chunk{Chunk: chunk}}); err != nil {
			t.Fatal(err)
		}
		answer := answerOf(t, stream)
		if !strings.Contains(answer.GetFailure(), what) || answer.GetDamaged() {
			t.Fatalf("%s: answered %v", what, answer)
		}
		if s := await(t, got, "end of staging"); s != "" || len(b.messages) != 0 {
			t.Fatalf("%s: %q was taken", what, s)
		}
	}
}

// A receiver that finds the files other than promised makes the sender give up
// its snapshot; one that lost the connection does not.
func TestDamagedSnapshotIsDiscarded(t *testing.T) {
	errDamaged := errors.New("file 000004.sst does not match its checksum")
	a, b := pair(t, func(o *Options) { o.Damaged = func(err error) bool { return errors.Is(err, errDamaged) } })
	a.library.archive = archiveOf(make([]byte, 1000))
	b.library.stage = func(context.Context, *raftpb.Snapshot, fetch) error { return errors.New("disk full") }
	send(a, snapMessage(1, 2, 7, 10))
	wantReport(t, a, 2, false)
	if len(a.library.discarded) != 0 {
		t.Fatal("a full disk of the receiver made the sender give up its snapshot")
	}
	b.library.stage = func(context.Context, *raftpb.Snapshot, fetch) error { return errDamaged }
	send(a, snapMessage(1, 2, 7, 10))
	wantReport(t, a, 2, false)
	await(t, a.library.discarded, "end of the snapshot")
}

// A receiver cannot make the sender read beyond the archive.
func TestImpossibleRanges(t *testing.T) {
	for _, impossible := range [][2]int64{{-1, 1}, {0, -1}, {0, 1001}, {1001, 0}, {1, 1<<63 - 1}} {
		a, b := pair(t, nil)
		a.library.archive = archiveOf(make([]byte, 1000))
		b.library.stage = func(_ context.Context, _ *raftpb.Snapshot, fetch fetch) error {
			archive, err := fetch([][2]int64{impossible}, 1)
			if err == nil {
				_, err = io.ReadFull(archive, make([]byte, 1))
			}
			return err
		}
		send(a, snapMessage(1, 2, 7, 10))
		wantReport(t, a, 2, false)
		noMoreReports(t, a)
	}
}

// Whoever leads no more ends its transfers; a second receiver and progress told
// on the way are as usual.
func TestAbandonedSnapshots(t *testing.T) {
	told := make(chan SnapshotProgress, 1000)
	a, b := pair(t, func(o *Options) {
		o.Hooks.Snapshot = func(p SnapshotProgress) { told <- p }
		o.ProgressInterval = time.Millisecond
	})
	b.library.stage = readInto(make(chan []byte, 1), a)
	archive := newBlockingArchive(3 << 20)
	defer close(archive.release)
	a.library.archive = archive.open
	send(a, snapMessage(1, 2, 7, 10))
	await(t, archive.reached, "transfer")
	phases := map[SnapshotPhase]int{}
	for phases[SnapshotMoving] < 4 || phases[SnapshotBegun] == 0 {
		p := await(t, told, "progress")
		phases[p.Phase]++
		if p.Index != 10 || p.TotalBytes != 1<<30 || p.DoneBytes > 3<<20 {
			t.Fatalf("told %+v", p)
		}
	}
	if under := a.Snapshots(); len(under) != 1 || !under[0].Sending || under[0].Peer != 2 {
		t.Fatalf("under way: %+v", under)
	}
	go a.AbandonSnapshots()
	archive.release <- struct{}{} // the disk answers at last
	wantReport(t, a, 2, false)
	if under := a.Snapshots(); len(under) != 0 {
		t.Fatalf("still under way: %+v", under)
	}
}

// What a receiver has it does not ask for again.
func TestReceiverAsksForTheRest(t *testing.T) {
	a, b := pair(t, nil)
	whole := bytes.Repeat([]byte("0123456789"), 100_000)
	a.library.archive = archiveOf(whole)
	staged := make(chan []byte, 1)
	b.library.stage = func(_ context.Context, _ *raftpb.Snapshot, fetch fetch) error {
		archive, err := fetch([][2]int64{{999_990, 10}, {5, 300_000}}, 300_010)
		if err != nil {
			return err
		}
		read, err := io.ReadAll(archive)
		staged <- read
		return err
	}
	send(a, snapMessage(1, 2, 7, 10))
	wantReport(t, a, 2, true)
	if got := await(t, staged, "rest"); !bytes.Equal(got, append(bytes.Clone(whole[999_990:]), whole[5:300_005]...)) {
		t.Fatalf("got %d bytes, or others", len(got))
	}
	if s := a.Stats().Peers[0]; s.SnapshotBytes != 300_010 {
		t.Fatalf("sent %d bytes", s.SnapshotBytes)
	}
}
