package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"raftkv/node"
)

// Whatever is sent arrives once, equal, and in order within its lane.
func TestDeliveryAndOrder(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	a, b := pair(t, nil)
	const count = 3000
	sent := make(map[raftpb.MessageType][]*raftpb.Message)
	var batch []*raftpb.Message
	for i := range uint64(count) {
		m := message(raftpb.MessageType_MsgHeartbeat, 1, 2, i)
		m.Context = []byte("ctx")
		if rng.IntN(2) == 0 {
			m = message(raftpb.MessageType_MsgApp, 1, 2, i, strings.Repeat("x", rng.IntN(500)), "y")
		}
		sent[m.GetType()] = append(sent[m.GetType()], proto.Clone(m).(*raftpb.Message))
		if batch = append(batch, m); rng.IntN(10) == 0 || i == count-1 {
			a.Send(batch)
			batch = nil
		}
	}
	for range count {
		got := await(t, b.messages, "message")
		want := sent[got.GetType()][0]
		sent[got.GetType()] = sent[got.GetType()][1:]
		if !proto.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
	stats := a.Stats()
	if p := stats.Peers[0]; p.Urgent.SentMessages+p.Bulk.SentMessages != count || p.Urgent.Dropped+p.Bulk.Dropped != 0 {
		t.Errorf("stats of the sender: %+v", p)
	}
	if got := b.Stats().Received; got != count {
		t.Errorf("the receiver counts %d messages", got)
	}
}

// What is said about leader leases arrives as it was sent, from whom it was sent.
func TestLeasesTravel(t *testing.T) {
	a, b := pair(t, nil)
	want := node.LeaseMessage{To: 2, Term: 1 << 60, SentAt: 1<<62 + 1, Length: 300 * time.Millisecond, Promise: true}
	ask := want
	ask.Promise = false
	a.SendLeases([]node.LeaseMessage{want, {To: 7, Term: 3}, ask})
	for _, want := range []node.LeaseMessage{want, ask} {
		if got := await(t, b.leases, "lease"); got.LeaseMessage != want || got.from != 1 {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}

func TestLargeAppend(t *testing.T) {
	a, b := pair(t, nil)
	large := strings.Repeat("x", 20<<20)
	send(a, message(raftpb.MessageType_MsgApp, 1, 2, 1, large), message(raftpb.MessageType_MsgApp, 1, 2, 2, "next"))
	if got := await(t, b.messages, "large append"); string(got.GetEntries()[0].GetData()) != large {
		t.Fatal("the append arrived changed")
	}
	await(t, b.messages, "append behind it")
	send(a, message(raftpb.MessageType_MsgApp, 1, 2, 3, strings.Repeat("x", MaxFrameBytes)))
	if got := await(t, a.unreachable, "report of a message beyond all bounds"); got != 2 {
		t.Fatalf("member %d was reported", got)
	}
	if line := await(t, a.logs, "log line"); !strings.Contains(line, "too large") {
		t.Fatalf("logged %q", line)
	}
}

// A bulk lane that is stuck fills up, drops and reports; it blocks neither the
// sender nor the urgent lane, and goes on when it can.
func TestBulkNeverDelaysUrgent(t *testing.T) {
	a, b := pair(t, func(o *Options) { o.BulkBytesMax = 4 << 20 })
	b.gate = make(chan struct{})
	release := sync.OnceFunc(func() { close(b.gate) })
	t.Cleanup(release)
	data := strings.Repeat("x", 1<<20)
	// Far more than all windows and buffers hold; the receiver takes nothing.
	for i := range uint64(100) {
		send(a, message(raftpb.MessageType_MsgApp, 1, 2, i+1, data), message(raftpb.MessageType_MsgHeartbeat, 1, 2, i))
		got := await(t, b.messages, "heartbeat past a stuck bulk lane")
		if got.GetType() != raftpb.MessageType_MsgHeartbeat || got.GetIndex() != i {
			t.Fatalf("got %v", got.GetType())
		}
	}
	await(t, b.entered, "append at the receiver")
	if got := await(t, a.unreachable, "report of dropped appends"); got != 2 {
		t.Fatalf("member %d was reported", got)
	}
	if s := a.Stats().Peers[0].Bulk; s.Dropped == 0 || s.QueuedBytes == 0 || s.QueuedBytes > 4<<20 {
		t.Fatalf("stats of the stuck lane: %+v", s)
	}
	release()
	// What was taken arrives in order, and the lane goes on.
	for last, offered := uint64(0), uint64(100); last <= 100; {
		got := await(t, b.messages, "append")
		if got.GetIndex() <= last {
			t.Fatalf("append %d after %d", got.GetIndex(), last)
		}
		last = got.GetIndex()
		offered++
		send(a, message(raftpb.MessageType_MsgApp, 1, 2, offered, "small"))
	}
}

func TestUnreachablePeer(t *testing.T) {
	dials := make(chan struct{}, 100_000)
	a := start(t, 1, func(o *Options) {
		tcp := dialTCP(time.Second)
		o.Dial = refusingDial(tcp, dials)
	})
	send(a, message(raftpb.MessageType_MsgHeartbeat, 1, 9, 1))
	if got := await(t, a.unreachable, "report of an unknown peer"); got != 9 {
		t.Fatalf("member %d was reported", got)
	}
	a.Forward(9, []byte("batch"))
	await(t, a.unreachable, "report of an unknown peer")
	if err := a.AddPeer(2, []string{"http://127.0.0.1:1"}); err != nil {
		t.Fatal(err)
	}
	for range 5 { // it keeps trying
		await(t, dials, "attempt to connect")
	}
	for range 10_000 {
		send(a, message(raftpb.MessageType_MsgApp, 1, 2, 1, "x"))
	}
	if got := await(t, a.unreachable, "report"); got != 2 {
		t.Fatalf("member %d was reported", got)
	}
	if s := a.Stats().Peers[0].Bulk; s.Dropped == 0 || s.QueuedMessages != 0 || s.Connected || a.Connected(2) {
		t.Fatalf("stats: %+v", s)
	}
}

func TestReconnectAfterRestart(t *testing.T) {
	a, b := pair(t, nil)
	b.stop(t)
	if got := await(t, a.down, "end of the connection"); got != (down{2, true}) {
		t.Fatalf("got %+v", got)
	}
	if got := await(t, a.unreachable, "report"); got != 2 {
		t.Fatalf("member %d was reported", got)
	}
	again := newMember(t, 2, b.address, nil)
	again.Start(again.recorder)
	await(t, a.up, "new connection")
	send(a, message(raftpb.MessageType_MsgHeartbeat, 1, 2, 5))
	if got := await(t, again.messages, "message after the restart"); got.GetIndex() != 5 {
		t.Fatalf("got %v", got)
	}
}

// A member that is there but not yet started makes others wait, not fail.
func TestDeliveryWaitsForStart(t *testing.T) {
	a, b := start(t, 1, nil), newMember(t, 2, "", nil)
	a.dial(t, b)
	await(t, b.connects, "stream")
	send(a, message(raftpb.MessageType_MsgVote, 1, 2, 5))
	b.Start(b.recorder)
	if got := await(t, b.messages, "vote that was sent before"); got.GetIndex() != 5 {
		t.Fatalf("got %v", got)
	}
}

func TestUpdateAndRemovePeer(t *testing.T) {
	a, b := start(t, 1, nil), start(t, 2, nil)
	if err := a.AddPeer(2, []string{"http://127.0.0.1:1"}); err != nil {
		t.Fatal(err)
	}
	// Addresses are tried in turn.
	if err := a.UpdatePeer(2, []string{"http://127.0.0.1:1", "http://" + b.address}); err != nil {
		t.Fatal(err)
	}
	await(t, a.up, "connection to the new address")
	before := a.remote(2)
	if err := a.UpdatePeer(2, before.urls); err != nil || a.remote(2) != before {
		t.Fatalf("the same URLs changed something (%v)", err)
	}
	b.dial(t, a)
	await(t, b.up, "connection back")

	b.RemovePeer(1) // ends also what 1 has opened
	if got := await(t, a.down, "end of the connection"); got.id != 2 {
		t.Fatalf("got %+v", got)
	}
	b.Send([]*raftpb.Message{message(raftpb.MessageType_MsgHeartbeat, 2, 1, 1)})
	if got := await(t, b.unreachable, "report"); got != 1 {
		t.Fatalf("member %d was reported", got)
	}
}

func TestBadPeerURLs(t *testing.T) {
	a := start(t, 1, nil)
	for _, urls := range [][]string{
		nil, {"localhost:80"}, {"http://localhost"}, {"ftp://localhost:80"}, {"http://a:1", "https://a:2"}, {"https://a:1"}, {"http://:%"},
	} {
		if err := a.AddPeer(2, urls); err == nil {
			t.Errorf("%v was taken", urls)
		}
	}
	if err := a.AddPeer(1, []string{"http://localhost:1"}); err == nil {
		t.Error("a member was made its own peer")
	}
}

func TestForward(t *testing.T) {
	a, b := pair(t, nil)
	for i := range 100 {
		a.Forward(2, fmt.Appendf(nil, "batch %d", i))
	}
	for i := range 100 {
		if got := await(t, b.forwarded, "batch"); got != (forwarded{1, fmt.Sprintf("batch %d", i)}) {
			t.Fatalf("got %+v", got)
		}
	}
}

// Nothing that no honest member sends reaches the handler.
func TestMisdirectedMessages(t *testing.T) {
	a, b := pair(t, nil)
	r := a.remote(2)
	for _, m := range []*raftpb.Message{
		message(raftpb.MessageType_MsgHeartbeat, 3, 2, 1),         // in another's name
		message(raftpb.MessageType_MsgHeartbeat, 1, 3, 1),         // for another
		message(raftpb.MessageType_MsgSnap, 1, 2, 1),              // without its files
		message(raftpb.MessageType_MsgProp, 1, 2, 1),              // proposals are forwarded by batch
		message(raftpb.MessageType_MsgHup, 1, 2, 1),               // local
		message(raftpb.MessageType_MsgStorageAppendResp, 1, 2, 1), // local
		message(raftpb.MessageType_MsgTransferLeader, 3, 2, 10),   // passed on: fine
	} {
		r.urgent.put(messageItem(m))
	}
	r.urgent.flush()
	if got := await(t, b.messages, "the only good message"); got.GetType() != raftpb.MessageType_MsgTransferLeader {
		t.Fatalf("got %v", got)
	}
	if n := b.Stats().Misdirected; n != 6 {
		t.Fatalf("%d misdirected messages were counted", n)
	}
}

func TestHolders(t *testing.T) {
	a, b := pair(t, nil)
	type counts struct{ have, total int }
	ask := func(to uint64) counts {
		t.Helper()
		replies := make(chan counts, 2)
		a.Transport.Holders(to, 42, func(have, total int) { replies <- counts{have, total} })
		return await(t, replies, "reply")
	}
	b.holders = func(_ context.Context, index uint64) (int, int, error) { return 2, int(index), nil }
	if got := ask(2); got != (counts{2, 42}) {
		t.Fatalf("got %+v", got)
	}
	// The handler may wait for the slowest, and still answers in time.
	b.holders = func(ctx context.Context, _ uint64) (int, int, error) { <-ctx.Done(); return 1, 3, nil }
	if got := ask(2); got != (counts{1, 3}) {
		t.Fatalf("got %+v", got)
	}
	b.holders = func(context.Context, uint64) (int, int, error) { return 0, 0, errors.New("no leader") }
	if got := ask(2); got != (counts{}) {
		t.Fatalf("got %+v", got)
	}
	if got := ask(9); got != (counts{}) {
		t.Fatalf("got %+v of an unknown member", got)
	}
	b.stop(t)
	if got := ask(2); got != (counts{}) {
		t.Fatalf("got %+v of a dead member", got)
	}
	a.stop(t)
	if got := ask(2); got != (counts{}) {
		t.Fatalf("got %+v after Close", got)
	}
}

func TestHoldersInFlightAreBounded(t *testing.T) {
	a, b := pair(t, func(o *Options) {
		o.HoldersInFlightMax, o.HoldersTimeout, o.HoldersWait = 1, time.Hour, time.Minute
	})
	entered, release := make(chan struct{}), make(chan struct{})
	b.holders = func(context.Context, uint64) (int, int, error) { entered <- struct{}{}; <-release; return 3, 3, nil }
	first, second := make(chan int, 1), make(chan int, 1)
	a.Transport.Holders(2, 1, func(have, _ int) { first <- have })
	await(t, entered, "question")
	a.Transport.Holders(2, 1, func(have, _ int) { second <- have })
	if got := await(t, second, "answer to the one too many"); got != 0 {
		t.Fatalf("got %d", got)
	}
	close(release)
	if got := await(t, first, "answer"); got != 3 {
		t.Fatalf("got %d", got)
	}
}

// Close and everything else at once: nothing deadlocks, leaks or panics.
func TestCloseUnderLoad(t *testing.T) {
	a, b := pair(t, nil)
	b.holders = func(ctx context.Context, _ uint64) (int, int, error) { <-ctx.Done(); return 0, 0, nil }
	a.library.archive = func() (r io.ReadSeekCloser, n int64, err error) { return nil, 0, errors.New("no snapshot") }
	sending := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range uint64(20_000) {
			if i == 1000 {
				close(sending)
			}
			send(a, message(raftpb.MessageType_MsgApp, 1, 2, i, "x"), message(raftpb.MessageType_MsgSnap, 1, 2, i))
			a.Forward(2, []byte("x"))
			if i%100 == 0 {
				a.Transport.Holders(2, i, func(int, int) {})
			}
		}
	}()
	go func() { // the reports are more than the recorder has room for
		for range a.recorder.snapshots {
		}
	}()
	await(t, sending, "load")
	a.stop(t)
	await(t, done, "end of the load")
	close(a.recorder.snapshots)
	if err := a.AddPeer(3, []string{"http://127.0.0.1:1"}); !errors.Is(err, ErrClosed) {
		t.Fatalf("got %v after Close", err)
	}
}

func TestOptionsReportAllFaults(t *testing.T) {
	_, err := New(Options{HoldersWait: time.Hour})
	for _, fault := range []string{"member id", "membership", "snapshots", "holders"} {
		if err == nil || !strings.Contains(err.Error(), fault) {
			t.Errorf("%v does not name %s", err, fault)
		}
	}
}

func TestDelays(t *testing.T) {
	d := delays{base: 20 * time.Millisecond, max: time.Second}
	ceiling := d.base
	for range 100 {
		if p := d.next(); p < ceiling/2 || p > ceiling {
			t.Fatalf("paused %v where %v was due", p, ceiling)
		}
		ceiling = min(2*ceiling, d.max)
	}
	d.reset()
	if p := d.next(); p > d.base {
		t.Fatalf("paused %v after a reset", p)
	}
}
