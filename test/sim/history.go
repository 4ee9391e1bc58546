package sim

import (
	"time"

	"github.com/anishathalye/porcupine"

	"raftkv/test/linear"
)

// operation is one entry of the history.
type operation struct{ linear.Operation }

// history records operations in the order of their calls.
type history struct {
	ops   []*operation
	stamp int64
}

// at returns a stamp that orders what happens at one virtual moment.
func (h *history) at(now time.Duration) int64 {
	h.stamp = max(h.stamp+1, int64(now))
	return h.stamp
}

func (h *history) begin(now time.Duration, client int, key string) *operation {
	op := &operation{linear.Operation{Client: client, Key: key, Call: h.at(now)}}
	h.ops = append(h.ops, op)
	return op
}

func (h *history) end(now time.Duration, op *operation, o linear.Outcome) {
	op.Return, op.Outcome = h.at(now), o
}

// linearizable hands the history to Porcupine.
func (h *history) linearizable(limit time.Duration) porcupine.CheckResult {
	all := make([]*linear.Operation, len(h.ops))
	for i, op := range h.ops {
		all[i] = &op.Operation
	}
	return linear.Check(all, limit)
}
