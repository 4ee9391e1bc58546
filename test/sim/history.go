package sim

import (
	"fmt"
	"math"
	"time"

	"github.com/anishathalye/porcupine"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

type opKind int

const (
	opRead opKind = iota
	opPut
	opCAS
	opAppend
)

func (k opKind) String() string { return [...]string{"read", "put", "cas", "append"}[k] }

// outcome is what a client knows of its operation.
type outcome int

const (
	outcomePending    outcome = iota
	outcomeDone               // answered
	outcomeUnknown            // may have happened, or happen yet
	outcomeNotApplied         // did not happen and will not
)

// operation is one entry of the history. Values are unique, and a key that does
// not exist has the value "".
type operation struct {
	client   int
	kind     opKind
	key      string
	value    string // put, appended
	expected string // by a cas

	call, ret int64
	outcome   outcome

	// The answer. swapped: the cas found what it expected; found: what a read,
	// or a cas that did not, saw instead. revision is that of the write, or of
	// the key that was read.
	swapped  bool
	found    string
	revision int64
}

func (op *operation) String() string {
	return fmt.Sprintf("client %d %s %s %.12q (expects %.12q, found %.24q, swapped %t, revision %d, outcome %d)",
		op.client, op.kind, op.key, op.value, op.expected, op.found, op.swapped, op.revision, op.outcome)
}

// wrote says whether an answered operation changed its key.
func (op *operation) wrote() bool {
	return op.kind == opPut || op.kind == opAppend || (op.kind == opCAS && op.swapped)
}

// after is what the client then believes the key to hold.
func (op *operation) after() string {
	switch {
	case op.kind == opAppend:
		return "" // it did not see the whole
	case op.wrote():
		return op.value
	}
	return op.found
}

// observe takes the answer of a read of one key.
func (op *operation) observe(kvs []*mvccpb.KeyValue) {
	if len(kvs) > 0 {
		op.found, op.revision = string(kvs[0].GetValue()), kvs[0].GetModRevision()
	}
}

// result takes the answer of a write.
func (op *operation) result(value any) {
	switch r := value.(type) {
	case *pb.PutResponse:
		op.revision = r.GetHeader().GetRevision()
	case *pb.TxnResponse:
		op.swapped = r.GetSucceeded()
		if op.swapped {
			op.revision = r.GetHeader().GetRevision()
			return
		}
		op.observe(r.GetResponses()[0].GetResponseRange().GetKvs())
	default:
		panic(fmt.Sprintf("answer of type %T", value))
	}
}

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
	op := &operation{client: client, key: key, call: h.at(now)}
	h.ops = append(h.ops, op)
	return op
}

func (h *history) end(now time.Duration, op *operation, o outcome) {
	op.ret, op.outcome = h.at(now), o
}

// register is the model of one key.
var register = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		index := map[string]int{}
		var parts [][]porcupine.Operation
		for _, o := range history {
			key := o.Input.(*operation).key
			i, ok := index[key]
			if !ok {
				i = len(parts)
				index[key] = i
				parts = append(parts, nil)
			}
			parts[i] = append(parts[i], o)
		}
		return parts
	},
	Init:              func() any { return "" },
	Step:              func(state, input, _ any) (bool, any) { return input.(*operation).step(state.(string)) },
	DescribeOperation: func(input, _ any) string { return input.(*operation).String() },
}

// step says whether the operation can have happened when the key held value,
// and what the key holds then. An operation without an answer can always have
// happened: one that changed nothing then is one that takes effect never.
func (op *operation) step(value string) (bool, any) {
	answered := op.outcome == outcomeDone
	switch op.kind {
	case opPut:
		return true, op.value
	case opAppend:
		return true, value + op.value
	case opCAS:
		swaps := value == op.expected
		if answered && (swaps != op.swapped || (!swaps && value != op.found)) {
			return false, nil
		}
		if swaps {
			return true, op.value
		}
		return true, value
	}
	return value == op.found, value
}

// linearizable hands the history to Porcupine.
func (h *history) linearizable(limit time.Duration) porcupine.CheckResult {
	var ops []porcupine.Operation
	for _, op := range h.ops {
		switch {
		case op.outcome == outcomeNotApplied:
			continue
		case op.outcome == outcomeDone:
		case op.kind == opRead:
			continue
		default:
			op.ret = math.MaxInt64
		}
		ops = append(ops, porcupine.Operation{ClientId: op.client, Input: op, Call: op.call, Return: op.ret})
	}
	return porcupine.CheckOperationsTimeout(register, ops, limit)
}
