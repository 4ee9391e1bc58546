package peer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"raftkv/rpc/peer/peerpb"
)

// leaseBook is a Leases: lease n has a time to live of n seconds, negative ones
// do not exist.
type leaseBook struct {
	err   error
	short bool          // answer one lease less
	block chan struct{} // closed when a question came, which then waits for its end
}

func (b *leaseBook) AnswerLeases(ctx context.Context, renew bool, ids []int64) ([]*peerpb.LeaseAnswer, error) {
	if b.block != nil {
		close(b.block)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if b.err != nil {
		return nil, b.err
	}
	answers := []*peerpb.LeaseAnswer{}
	for _, id := range ids {
		a := &peerpb.LeaseAnswer{State: peerpb.LeaseAnswer_STATE_LIVE, TtlSeconds: id}
		switch {
		case id < 0:
			a = &peerpb.LeaseAnswer{State: peerpb.LeaseAnswer_STATE_UNKNOWN}
		case !renew:
			a.LeftMs = id * 500
		}
		answers = append(answers, a)
	}
	if b.short {
		answers = answers[:len(answers)-1]
	}
	return answers, nil
}

// leasePair starts a member that asks and one that answers from book.
func leasePair(t *testing.T, book Leases) (a, b *member) {
	t.Helper()
	a, b = start(t, 1, nil), start(t, 2, func(o *Options) { o.Leases = book })
	a.dial(t, b)
	b.dial(t, a)
	await(t, a.up, "connection")
	return a, b
}

func TestAskLeases(t *testing.T) {
	a, _ := leasePair(t, &leaseBook{})
	ids := make([]int64, LeasesMax)
	for i := range ids {
		ids[i] = int64(i) - 3
	}
	for _, renew := range []bool{true, false} {
		got, err := a.AskLeases(context.Background(), 2, renew, ids)
		if err != nil {
			t.Fatal(err)
		}
		want, err := (&leaseBook{}).AnswerLeases(context.Background(), renew, ids)
		if err != nil {
			t.Fatal(err)
		}
		for i := range want {
			if !proto.Equal(got[i], want[i]) {
				t.Fatalf("renew %t, lease %d: %v, want %v", renew, ids[i], got[i], want[i])
			}
		}
	}
	if got, err := a.AskLeases(context.Background(), 2, true, nil); err != nil || len(got) != 0 {
		t.Errorf("asked about nothing: %v, %v", got, err)
	}
	// A caller of the same protocol that does not keep to the bound.
	_, err := a.AskLeases(context.Background(), 2, true, make([]int64, LeasesMax+1))
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "1025 leases") {
		t.Errorf("asked about too many: %v", err)
	}
}

// TestAskLeasesFails: every way in which a question comes to nothing is an error
// that names the member.
func TestAskLeasesFails(t *testing.T) {
	for _, tc := range []struct {
		name string
		book Leases
		to   uint64
		set  func(a, b *member)
		is   error
		code codes.Code
		text string
	}{
		{name: "not the leader", book: &leaseBook{err: errors.New("this member does not lead")}, to: 2, code: codes.Unavailable, text: "does not lead"},
		{name: "no lessor", to: 2, code: codes.Unimplemented, text: "does not look after leases"},
		{name: "too few answers", book: &leaseBook{short: true}, to: 2, code: codes.Unknown, text: "1 answers to 2 questions"},
		{name: "nobody", book: &leaseBook{}, to: 9, is: ErrUnknownPeer},
		{name: "closed", book: &leaseBook{}, to: 2, set: func(a, _ *member) { a.Transport.Close() }, is: ErrClosed},
		{name: "the other is closed", book: &leaseBook{}, to: 2, set: func(_, b *member) { b.Transport.Close() }, code: codes.Unavailable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, b := leasePair(t, tc.book)
			if tc.set != nil {
				tc.set(a, b)
			}
			_, err := a.AskLeases(context.Background(), tc.to, true, []int64{1, 2})
			if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("ask member %x about leases: ", tc.to)) || !strings.Contains(err.Error(), tc.text) {
				t.Fatalf("%v", err)
			}
			if tc.is != nil && !errors.Is(err, tc.is) {
				t.Errorf("%v, want %v", err, tc.is)
			}
			if tc.is == nil && status.Code(err) != tc.code {
				t.Errorf("%v: code %v, want %v", err, status.Code(err), tc.code)
			}
		})
	}
}

// TestAskLeasesRefused: who is no member is told so, and gets no answer.
func TestAskLeasesRefused(t *testing.T) {
	a, b := leasePair(t, &leaseBook{})
	b.roster.set(func(uint64, uint64) error { return ErrRemovedMember })
	_, err := a.AskLeases(context.Background(), 2, true, []int64{1})
	var refused *Refused
	if !errors.As(err, &refused) || refused.Reason != ReasonRemoved {
		t.Fatalf("%v", err)
	}
}

// TestAskLeasesEnds: a question to a member that does not answer ends with the
// caller, with the peer's removal and with either transport.
func TestAskLeasesEnds(t *testing.T) {
	for name, end := range map[string]func(cancel context.CancelFunc, a, b *member){
		"caller":          func(cancel context.CancelFunc, _, _ *member) { cancel() },
		"removal":         func(_ context.CancelFunc, a, _ *member) { a.RemovePeer(2) },
		"asker closes":    func(_ context.CancelFunc, a, _ *member) { a.Transport.Close() },
		"answerer closes": func(_ context.CancelFunc, _, b *member) { b.Transport.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			book := &leaseBook{block: make(chan struct{})}
			a, b := leasePair(t, book)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			ended := make(chan error, 1)
			go func() {
				_, err := a.AskLeases(ctx, 2, true, []int64{1})
				ended <- err
			}()
			await(t, book.block, "question")
			end(cancel, a, b)
			if err := await(t, ended, "end of the question"); err == nil {
				t.Error("answered")
			}
		})
	}
}
