package server

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"raftkv/rpc/peer"
	"raftkv/server/lessor"
)

// leaseLeader answers what is sent to it: lease n has a time to live of n
// seconds.
type leaseLeader struct {
	mu    sync.Mutex
	sent  [][]int64
	err   error
	short bool          // answer one less
	open  chan struct{} // closed: answer; else wait; made in the test's bubble
}

func (l *leaseLeader) send(ctx context.Context, renew bool, ids []int64) ([]lessor.Answer, error) {
	l.mu.Lock()
	l.sent = append(l.sent, ids)
	l.mu.Unlock()
	if !renew {
		return nil, errors.New("a question that does not renew")
	}
	select {
	case <-l.open:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if l.err != nil {
		return nil, l.err
	}
	var answers []lessor.Answer
	for _, id := range ids {
		answers = append(answers, lessor.Answer{State: lessor.Live, TTLSeconds: id})
	}
	if l.short {
		answers = answers[1:]
	}
	return answers, nil
}

// withRenewals runs workers that send to l, and f beside them.
func withRenewals(t *testing.T, l *leaseLeader, workers int, f func(ctx context.Context, r *renewals)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		l.open = make(chan struct{})
		r := newRenewals(l.send)
		var running sync.WaitGroup
		for range workers {
			running.Go(func() { r.run(ctx) })
		}
		f(ctx, r)
		cancel()
		running.Wait()
	})
}

// renewAll has each wish asked on a goroutine and returns what they got, in
// their order, once wait is called.
func renewAll(ctx context.Context, r *renewals, wishes ...[]int64) (wait func() []string) {
	got := make([]string, len(wishes))
	var asking sync.WaitGroup
	for i, ids := range wishes {
		asking.Go(func() {
			answers, err := r.ask(ctx, ids)
			switch {
			case err != nil:
				got[i] = err.Error()
			case len(answers) != len(ids):
				got[i] = fmt.Sprintf("%d answers to %d", len(answers), len(ids))
			}
			for j, a := range answers {
				if a.TTLSeconds != ids[j] {
					got[i] = fmt.Sprintf("lease %d was answered %d", ids[j], a.TTLSeconds)
				}
			}
		})
		synctest.Wait() // in their order
	}
	return func() []string { asking.Wait(); return got }
}

func idsFrom(first int64, n int) []int64 {
	ids := make([]int64, n)
	for i := range ids {
		ids[i] = first + int64(i)
	}
	return ids
}

// TestRenewalsShareAQuestion: what waits while a question is under way goes out
// together, up to the bound of a question, and everybody gets his own answers.
func TestRenewalsShareAQuestion(t *testing.T) {
	l := &leaseLeader{}
	withRenewals(t, l, 1, func(ctx context.Context, r *renewals) {
		wait := renewAll(ctx, r,
			idsFrom(1, 1),                                                       // goes out at once
			idsFrom(10, 3), idsFrom(20, 1), nil, idsFrom(100, peer.LeasesMax-4), // fill one question
			idsFrom(5000, 2), // did not fit
		)
		synctest.Wait()
		close(l.open)
		for i, got := range wait() {
			if got != "" {
				t.Errorf("caller %d: %s", i, got)
			}
		}
		var sizes []int
		for _, ids := range l.sent {
			sizes = append(sizes, len(ids))
		}
		if fmt.Sprint(sizes) != fmt.Sprint([]int{1, peer.LeasesMax, 2}) {
			t.Errorf("questions of %d leases", sizes)
		}
	})
}

// TestRenewalsAreNotHeldUp: as many questions as there are workers are under
// way at a time.
func TestRenewalsAreNotHeldUp(t *testing.T) {
	l := &leaseLeader{}
	withRenewals(t, l, 3, func(ctx context.Context, r *renewals) {
		wait := renewAll(ctx, r, idsFrom(1, 1), idsFrom(2, 1), idsFrom(3, 1), idsFrom(4, 1), idsFrom(5, 1))
		if len(l.sent) != 3 {
			t.Errorf("%d questions are under way", len(l.sent))
		}
		close(l.open)
		wait()
		if n := len(l.sent) - 3; n < 1 || n > 2 {
			t.Errorf("%d questions for two that waited", n)
		}
	})
}

// TestRenewalsFail: an error, and an answer that does not fit, reach everybody
// who shared the question.
func TestRenewalsFail(t *testing.T) {
	for _, tc := range []struct {
		name   string
		leader *leaseLeader
		want   string
	}{
		{"error", &leaseLeader{err: errors.New("no leader")}, "no leader"},
		{"answer lost", &leaseLeader{short: true}, "2 answers to 3 renewals"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			withRenewals(t, tc.leader, 1, func(ctx context.Context, r *renewals) {
				wait := renewAll(ctx, r, idsFrom(1, 3), idsFrom(4, 1), idsFrom(5, 2))
				close(tc.leader.open)
				for i, got := range wait()[1:] {
					if got != tc.want {
						t.Errorf("caller %d: %q, want %q", i+1, got, tc.want)
					}
				}
			})
		})
	}
}

// TestRenewalsEnd: a caller that gives up and a member that stops leave nobody
// waiting, also not one whose wish did not fit into the last question.
func TestRenewalsEnd(t *testing.T) {
	l := &leaseLeader{}
	withRenewals(t, l, 1, func(ctx context.Context, r *renewals) {
		caller, giveUp := context.WithCancel(ctx)
		first := renewAll(caller, r, idsFrom(1, 1), idsFrom(2, 1))
		giveUp()
		for i, got := range first() {
			if got != context.Canceled.Error() {
				t.Errorf("caller %d, who gave up: %q", i, got)
			}
		}
	})

	// The question that is under way ends with the worker, and so does the wish
	// it has set aside.
	l = &leaseLeader{}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		l.open = make(chan struct{})
		r := newRenewals(l.send)
		r.queue <- &renewal{ids: idsFrom(1, peer.LeasesMax), answer: make(chan renewed, 1)}
		aside := &renewal{ids: idsFrom(1, 1), answer: make(chan renewed, 1)}
		r.queue <- aside
		done := make(chan struct{})
		go func() { r.run(ctx); close(done) }()
		synctest.Wait()
		cancel()
		<-done
		if got := <-aside.answer; !errors.Is(got.err, context.Canceled) {
			t.Errorf("%v", got.err)
		}
	})
}

// TestRenewalsFullQueue: who finds no room waits for it, as long as he wants.
func TestRenewalsFullQueue(t *testing.T) {
	r := newRenewals((&leaseLeader{}).send) // nobody runs it
	for range renewalsMax {
		r.queue <- &renewal{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.ask(ctx, idsFrom(1, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
