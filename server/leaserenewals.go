package server

import (
	"context"
	"fmt"

	"raftkv/rpc/peer"
	"raftkv/server/lessor"
)

const (
	// renewalWorkers is how many questions are on their way to the leader at a
	// time, so that one that waits for the log does not hold the others up.
	renewalWorkers = 4
	// renewalsMax bounds the renewals that wait to be sent; who comes then waits
	// for room.
	renewalsMax = 1024
)

// renewals gathers what the clients of this member want to renew, so that one
// question to the leader serves many.
type renewals struct {
	queue chan *renewal
	send  func(ctx context.Context, renew bool, ids []int64) ([]lessor.Answer, error)
}

// renewal is one caller's wish.
type renewal struct {
	ids    []int64
	answer chan renewed // holds one
}

type renewed struct {
	answers []lessor.Answer
	err     error
}

func newRenewals(send func(context.Context, bool, []int64) ([]lessor.Answer, error)) *renewals {
	return &renewals{queue: make(chan *renewal, renewalsMax), send: send}
}

// ask has leases renewed; at most peer.LeasesMax at a time.
func (r *renewals) ask(ctx context.Context, ids []int64) ([]lessor.Answer, error) {
	wish := &renewal{ids: ids, answer: make(chan renewed, 1)}
	select {
	case r.queue <- wish:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	select {
	case a := <-wish.answer:
		return a.answers, a.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// run sends what waits until ctx ends.
func (r *renewals) run(ctx context.Context) {
	var left *renewal // did not fit into the last question
	for {
		first := left
		if first == nil {
			select {
			case first = <-r.queue:
			case <-ctx.Done():
				return
			}
		}
		var batch []*renewal
		batch, left = r.gather(first)
		r.answer(ctx, batch)
		if ctx.Err() != nil && left != nil {
			left.answer <- renewed{err: context.Cause(ctx)}
			return
		}
	}
}

// gather takes what waits behind first and fits into one question.
func (r *renewals) gather(first *renewal) (batch []*renewal, left *renewal) {
	batch, ids := []*renewal{first}, len(first.ids)
	for {
		select {
		case next := <-r.queue:
			if ids += len(next.ids); ids > peer.LeasesMax {
				return batch, next
			}
			batch = append(batch, next)
		default:
			return batch, nil
		}
	}
}

func (r *renewals) answer(ctx context.Context, batch []*renewal) {
	var ids []int64
	for _, w := range batch {
		ids = append(ids, w.ids...)
	}
	answers, err := r.send(ctx, true, ids)
	if err == nil && len(answers) != len(ids) {
		err = fmt.Errorf("%d answers to %d renewals", len(answers), len(ids))
	}
	for _, w := range batch {
		if err != nil {
			w.answer <- renewed{err: err}
			continue
		}
		w.answer <- renewed{answers: answers[:len(w.ids)]}
		answers = answers[len(w.ids):]
	}
}
