package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"raftkv/rpc/peer/peerpb"
)

// One side refuses the other, for each reason: nothing is delivered, and the
// refusal is told once however often the other side tries.
func TestRefusals(t *testing.T) {
	for _, test := range []struct {
		name    string
		caller  func(*Options)
		to      uint64 // dialled as
		check   error  // of the receiver's membership
		reason  Reason
		text    string
		isFinal bool
	}{
		{name: "cluster", caller: func(o *Options) { o.ClusterID = 0xc2 }, to: 2, reason: ReasonCluster, text: "belongs to cluster c2"},
		{name: "receiver", to: 3, reason: ReasonReceiver, text: "wants member 3, this is member 2"},
		{name: "self", caller: func(o *Options) { o.MemberID = 2 }, to: 3, reason: ReasonReceiver, text: "this is member 2"},
		{name: "unknown", to: 2, check: ErrUnknownMember, reason: ReasonUnknownMember, text: "not a member"},
		{name: "removed", to: 2, check: ErrRemovedMember, reason: ReasonRemoved, text: "was removed", isFinal: true},
		{name: "incarnation", to: 2, check: ErrOtherIncarnation, reason: ReasonIncarnation, text: "already been bootstrapped", isFinal: true},
		{name: "unavailable", to: 2, check: errors.New("disk on fire"), reason: ReasonUnavailable, text: "disk on fire"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, b := start(t, 1, test.caller), start(t, 2, nil)
			b.roster.set(func(member, incarnation uint64) error {
				if member != 1 || incarnation != 100 {
					return fmt.Errorf("asked about member %d, incarnation %d", member, incarnation)
				}
				return test.check
			})
			if err := a.AddPeer(test.to, []string{"http://" + b.address}); err != nil {
				t.Fatal(err)
			}
			for range 20 { // it keeps trying
				await(t, b.connects, "attempt")
			}
			for _, m := range []*member{a, b} {
				line := await(t, m.logs, "log line")
				if !strings.Contains(line, test.text) {
					t.Errorf("member %x logged %q, want %q in it", m.opts.MemberID, line, test.text)
				}
				if len(m.logs) != 0 {
					t.Errorf("member %x logs more than once: %q", m.opts.MemberID, <-m.logs)
				}
			}
			if test.isFinal {
				r := await(t, a.rejected, "rejection")
				if r.Reason != test.reason || r.Peer != test.to || !r.ByPeer || !strings.Contains(r.Error(), test.text) {
					t.Errorf("rejected with %+v", r)
				}
			}
			if len(a.rejected) != 0 || a.Connected(test.to) || len(a.up) != 0 {
				t.Error("rejected once too often, or connected")
			}
			var refused *Refused
			_, err := a.Confirm(context.Background(), test.to)
			if test.reason == ReasonIncarnation {
				if err != nil {
					t.Errorf("asked whether we are new: %v", err)
				}
			} else if !errors.As(err, &refused) || refused.Reason != test.reason {
				t.Errorf("asked whether we are new: %v", err)
			}
			if b.Stats().Refused < 10 {
				t.Errorf("stats: %+v", b.Stats())
			}
		})
	}
}

// The caller checks who answers, too.
func TestCallerRefusesReceiver(t *testing.T) {
	a, b := start(t, 1, nil), start(t, 2, nil)
	a.roster.set(func(member, incarnation uint64) error {
		if member == 2 && incarnation == 200 {
			return ErrOtherIncarnation
		}
		return nil
	})
	a.dial(t, b)
	if line := await(t, a.logs, "log line"); !strings.Contains(line, "this member refuses member 2") {
		t.Fatalf("logged %q", line)
	}
	for range 10 {
		await(t, b.connects, "attempt")
	}
	if len(a.rejected) != 0 || len(a.up) != 0 || len(b.messages) != 0 {
		t.Fatal("a member that was refused was used, or thought to refuse us")
	}
	// Once the two agree, it works by itself, and a later refusal is told again.
	a.roster.set(nil)
	await(t, a.up, "connection")
	b.roster.set(func(uint64, uint64) error { return ErrRemovedMember })
	b.RemovePeer(1) // ends incoming streams also of a member that is not dialled
	if r := await(t, a.rejected, "rejection"); r.Reason != ReasonRemoved {
		t.Fatalf("rejected with %+v", r)
	}
}

// A caller of another protocol is told so, whatever else it sends.
func TestOtherProtocol(t *testing.T) {
	b := start(t, 2, nil)
	greet := func(hello *peerpb.Hello) (*link, *peerpb.Answer) {
		t.Helper()
		conn, err := net.Dial("tcp", b.address)
		if err != nil {
			t.Fatal(err)
		}
		k := newLink(conn)
		t.Cleanup(func() { k.fail(nil) })
		answer, err := k.greet(hello, patience)
		if err != nil {
			t.Fatalf("hello %v: %v", hello, err)
		}
		return k, answer
	}
	for _, hello := range []*peerpb.Hello{
		nil,
		{Protocol: 9, OldestProtocol: 4, ClusterId: 0xc1, From: 1, To: 2},
		{Protocol: 1, OldestProtocol: 1, ClusterId: 0xc1, From: 1, To: 2},
	} {
		k, answer := greet(hello)
		if answer.GetRefusal().GetReason() != peerpb.Reason_REASON_PROTOCOL {
			t.Fatalf("hello %v was answered %v", hello, answer)
		}
		if _, err := k.reader.next(&peerpb.Answer{}); err == nil {
			t.Fatal("the lane goes on")
		}
	}
	// A newer member that still speaks ours is welcome.
	if _, answer := greet(&peerpb.Hello{Protocol: 9, OldestProtocol: 2, ClusterId: 0xc1, From: 1, To: 2}); answer.GetHello().GetFrom() != 2 {
		t.Fatalf("answered %v", answer)
	}
}

// A member that asks before anything was started is answered.
func TestConfirm(t *testing.T) {
	a, b := newMember(t, 1, "", nil), newMember(t, 2, "", nil)
	if _, err := a.Confirm(context.Background(), 2); !errors.Is(err, ErrUnknownPeer) {
		t.Fatalf("got %v", err)
	}
	a.dial(t, b)
	if confirmed, err := a.Confirm(context.Background(), 2); !confirmed || err != nil {
		t.Fatalf("got %v, %v", confirmed, err)
	}
	b.roster.set(func(uint64, uint64) error { return ErrOtherIncarnation })
	if confirmed, err := a.Confirm(context.Background(), 2); confirmed || err != nil {
		t.Fatalf("got %v, %v", confirmed, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := a.Confirm(ctx, 2); err == nil {
		t.Fatal("a cancelled question was answered")
	}
	b.stop(t)
	if _, err := a.Confirm(context.Background(), 2); err == nil {
		t.Fatal("a dead member has answered")
	}
	a.stop(t)
	if _, err := a.Confirm(context.Background(), 2); !errors.Is(err, ErrClosed) {
		t.Fatalf("got %v", err)
	}
}

// What strangers make us remember is bounded.
func TestRefusalsAreBounded(t *testing.T) {
	b := start(t, 2, nil)
	for i := range uint64(3 * refusalsMax) {
		b.admit(&peerpb.Hello{Protocol: 2, OldestProtocol: 2, ClusterId: i, From: 1000 + i, To: 2})
		for len(b.logs) > 0 {
			<-b.logs
		}
	}
	if n := len(b.refusals.told); n != refusalsMax {
		t.Fatalf("%d refusals are remembered", n)
	}
}
