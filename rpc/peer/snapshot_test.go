package peer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

func snapMessage(from, to, term, index uint64) *raftpb.Message {
	m := message(raftpb.MessageType_MsgSnap, from, to, 0)
	m.Term = proto.Uint64(term)
	m.Snapshot = &raftpb.Snapshot{
		Data:     []byte("descriptor"),
		Metadata: &raftpb.SnapshotMetadata{Index: proto.Uint64(index), Term: proto.Uint64(term)},
	}
	return m
}

// readInto is a Stage that hands all that the sender has to a channel, nil if it
// does not get it.
func readInto(staged chan<- []byte, sender *member) func(context.Context, *raftpb.Snapshot, fetch) error {
	return func(_ context.Context, _ *raftpb.Snapshot, fetch fetch) error {
		_, size, _ := sender.library.archive()
		archive, err := fetch([][2]int64{{0, size}}, size)
		var b []byte
		if err == nil {
			b, err = io.ReadAll(archive)
		}
		if err != nil {
			staged <- nil
			return err
		}
		staged <- b
		return nil
	}
}

func wantReport(t *testing.T, m *member, id uint64, ok bool) {
	t.Helper()
	if got := await(t, m.recorder.snapshots, "report of the snapshot"); got != (snapshotReport{id, ok}) {
		t.Fatalf("got %+v", got)
	}
}

// noMoreReports stops m and checks that every report was awaited.
func noMoreReports(t *testing.T, m *member) {
	t.Helper()
	m.stop(t) // delivers what is left
	if n := len(m.recorder.snapshots); n != 0 {
		t.Fatalf("%d reports too many, the first %+v", n, <-m.recorder.snapshots)
	}
}

// blockingArchive gives some bytes, tells that they were read, and then waits
// until it is closed.
type blockingArchive struct {
	head    io.Reader
	reached chan struct{}
	once    sync.Once
	release chan struct{}
}

func (r *blockingArchive) Read(p []byte) (int, error) {
	if n, _ := r.head.Read(p); n > 0 {
		return n, nil
	}
	r.once.Do(func() { close(r.reached) })
	<-r.release
	return 0, errors.New("archive is broken")
}

func (r *blockingArchive) Close() error { return nil }

func (r *blockingArchive) Seek(offset int64, _ int) (int64, error) { return offset, nil }

func newBlockingArchive(head int) *blockingArchive {
	return &blockingArchive{head: bytes.NewReader(make([]byte, head)), reached: make(chan struct{}), release: make(chan struct{})}
}

func (r *blockingArchive) open() (io.ReadSeekCloser, int64, error) { return r, 1 << 30, nil }

func TestSnapshot(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	a, b := pair(t, func(o *Options) { o.ChunkBytes = 64 << 10 })
	staged := make(chan []byte, 1)
	b.library.stage = readInto(staged, a)
	for _, size := range []int{0, 1, 64 << 10, 64<<10 + 1, 5<<20 + 77} {
		archive := make([]byte, size)
		for i := range archive {
			archive[i] = byte(rng.Uint32())
		}
		a.library.archive = archiveOf(archive)
		m := snapMessage(1, 2, 7, uint64(size))
		send(a, m)
		wantReport(t, a, 2, true)
		if got := await(t, staged, "archive"); !bytes.Equal(got, archive) {
			t.Fatalf("%d bytes arrived of %d, or changed", len(got), size)
		}
		if got := await(t, b.messages, "MsgSnap"); !proto.Equal(got, m) {
			t.Fatalf("got %v", got)
		}
	}
	if s := a.Stats().Peers[0]; s.SnapshotsSent != 5 || s.SnapshotsFailed != 0 || s.SnapshotBytes < 5<<20 || s.Snapshotting {
		t.Fatalf("stats: %+v", s)
	}
	noMoreReports(t, a)
}

// A receiver that finds the data bad, or has it already, may stop reading.
func TestReceiverEndsEarly(t *testing.T) {
	a, b := pair(t, nil)
	a.library.archive = archiveOf(make([]byte, 64<<20)) // more than all windows
	b.library.stage = func(_ context.Context, _ *raftpb.Snapshot, fetch fetch) error {
		archive, err := fetch([][2]int64{{0, 64 << 20}}, 64<<20)
		if err != nil {
			return err
		}
		if _, err := io.ReadFull(archive, make([]byte, 1000)); err != nil {
			return err
		}
		return errors.New("file 000004.sst does not match its checksum")
	}
	send(a, snapMessage(1, 2, 7, 10))
	wantReport(t, a, 2, false)
	if line := await(t, a.logs, "log line"); !bytes.Contains([]byte(line), []byte("does not match its checksum")) {
		t.Fatalf("the sender logged %q", line)
	}
	b.library.stage = func(context.Context, *raftpb.Snapshot, fetch) error { return nil }
	send(a, snapMessage(1, 2, 7, 10))
	wantReport(t, a, 2, true)
	await(t, b.messages, "MsgSnap")
	if len(b.messages) != 0 {
		t.Fatal("a snapshot that failed was delivered")
	}
	noMoreReports(t, a)
}

func TestSenderFails(t *testing.T) {
	a, b := pair(t, nil)
	staged := make(chan []byte, 1)
	b.library.stage = readInto(staged, a)

	a.library.archive = func() (io.ReadSeekCloser, int64, error) { return nil, 0, errors.New("snapshot is gone") }
	send(a, snapMessage(1, 2, 7, 10))
	wantReport(t, a, 2, false)

	cut := func() (io.ReadSeekCloser, int64, error) {
		return closable{bytes.NewReader(make([]byte, 1000))}, 2000, nil // shorter than announced
	}
	a.library.archive = cut
	send(a, snapMessage(1, 2, 7, 10))
	wantReport(t, a, 2, false)
	if got := await(t, staged, "end of staging"); got != nil {
		t.Fatal("a short archive was taken for whole")
	}

	broken := newBlockingArchive(300 << 10)
	close(broken.release)
	a.library.archive = broken.open
	send(a, snapMessage(1, 2, 7, 10))
	wantReport(t, a, 2, false)
	if got := await(t, staged, "end of staging"); got != nil {
		t.Fatal("a broken archive was taken for whole")
	}

	send(a, snapMessage(1, 9, 7, 10)) // unknown member
	wantReport(t, a, 9, false)
	noMoreReports(t, a)
	if len(b.messages) != 0 {
		t.Fatal("a snapshot that failed was delivered")
	}
}

func TestCutInTheMiddle(t *testing.T) {
	for _, cut := range []struct {
		name string
		do   func(t *testing.T, a, b *member)
	}{
		{"receiver dies", func(t *testing.T, _, b *member) { b.stop(t) }},
		{"receiver is removed", func(_ *testing.T, a, _ *member) { a.RemovePeer(2) }},
		{"sender is removed", func(_ *testing.T, _, b *member) { b.RemovePeer(1) }},
	} {
		t.Run(cut.name, func(t *testing.T) {
			a, b := pair(t, nil)
			staged := make(chan []byte, 1)
			b.library.stage = readInto(staged, a)
			archive := newBlockingArchive(3 << 20)
			a.library.archive = archive.open
			send(a, snapMessage(1, 2, 7, 10))
			await(t, archive.reached, "transfer")
			cut.do(t, a, b)
			if got := await(t, staged, "end of staging"); got != nil {
				t.Fatal("half an archive was taken for whole")
			}
			close(archive.release) // the disk answers at last
			wantReport(t, a, 2, false)
			noMoreReports(t, a)
			if len(b.messages) != 0 {
				t.Fatal("half a snapshot was delivered")
			}
		})
	}
}

func TestOneSnapshotForEachReceiver(t *testing.T) {
	a, b := pair(t, nil)
	b.library.stage = readInto(make(chan []byte, 1), a)
	archive := newBlockingArchive(1000)
	a.library.archive = archive.open
	send(a, snapMessage(1, 2, 7, 10))
	await(t, archive.reached, "transfer")
	send(a, snapMessage(1, 2, 7, 10), snapMessage(1, 2, 7, 11))
	wantReport(t, a, 2, false)
	wantReport(t, a, 2, false)
	close(archive.release)
	wantReport(t, a, 2, false)
	noMoreReports(t, a)
}

// Two leaders offer snapshots to one member: the one of the newer term wins,
// whoever comes first.
func TestNewerLeaderReplacesTransfer(t *testing.T) {
	a, b := pair(t, nil)
	c := start(t, 3, nil)
	c.dial(t, b)
	await(t, c.up, "connection")
	staged := make(chan []byte, 2)
	b.library.stage = func(ctx context.Context, s *raftpb.Snapshot, fetch fetch) error {
		sender := a
		if s.GetMetadata().GetTerm() == 8 {
			sender = c
		}
		return readInto(staged, sender)(ctx, s, fetch)
	}
	archive := newBlockingArchive(1000)
	a.library.archive = archive.open
	send(a, snapMessage(1, 2, 7, 10))
	await(t, archive.reached, "transfer of the old leader")

	c.library.archive = archiveOf([]byte("same term"))
	send(c, snapMessage(3, 2, 7, 10))
	wantReport(t, c, 2, false)

	c.library.archive = archiveOf([]byte("newer term"))
	send(c, snapMessage(3, 2, 8, 10))
	wantReport(t, c, 2, true)
	if got := await(t, staged, "end of the old transfer"); got != nil {
		t.Fatalf("got %q of the old leader", got)
	}
	if got := await(t, staged, "snapshot"); string(got) != "newer term" {
		t.Fatalf("got %q", got)
	}
	close(archive.release)
	wantReport(t, a, 2, false)
	if got := await(t, b.messages, "MsgSnap"); got.GetFrom() != 3 || len(b.messages) != 0 {
		t.Fatalf("got %v", got)
	}
}
