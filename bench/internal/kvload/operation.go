package kvload

import (
	"fmt"
	"slices"
	"strings"

	"raftkv/bench/internal/load"
)

// Operation is a kind of work other than puts and gets.
type Operation string

// Operations.
const (
	// OpPutGet puts, gets, or lists in pages, as the other fields of a Spec say.
	OpPutGet Operation = ""
	// OpTxn reads a key, and writes it if it did not change in between, all in one
	// transaction: a compare, a put and a get.
	OpTxn Operation = "txn"
	// OpTxnMixed sends transactions that read one key, ReadPercent of them, or
	// write one, without a condition.
	OpTxnMixed Operation = "txn-mixed"
	// OpSTM reads a key and writes it by etcd's software transactional memory, which
	// tries again when somebody else wrote it in between.
	OpSTM Operation = "stm"
	// OpRange reads PageKeys neighbouring keys at a time, linearizably.
	OpRange Operation = "range"
	// OpWatch puts a key and waits until the client's own watcher tells of it.
	OpWatch Operation = "watch"
	// OpLeaseGrant grants a lease; nobody revokes it before it expires.
	OpLeaseGrant Operation = "lease-grant"
	// OpLeaseKeepAlive keeps the client's own lease alive.
	OpLeaseKeepAlive Operation = "lease-keepalive"
)

func operations() []Operation {
	return []Operation{OpPutGet, OpTxn, OpTxnMixed, OpSTM, OpRange, OpWatch, OpLeaseGrant, OpLeaseKeepAlive}
}

// Distribution says how keys are drawn.
type Distribution string

// Distributions.
const (
	Uniform Distribution = ""
	// Zipfian draws few keys often, as YCSB does: key n in proportion to
	// 1/(n+1)^zipfExponent. Popular keys are spread over the key space.
	Zipfian Distribution = "zipfian"
)

func (o Operation) validate() error {
	if slices.Contains(operations(), o) {
		return nil
	}
	var known []string
	for _, op := range operations()[1:] {
		known = append(known, string(op))
	}
	return fmt.Errorf("operation must be one of %s, not %q", strings.Join(known, ", "), o)
}

func (d Distribution) validate() error {
	if d == Uniform || d == Zipfian {
		return nil
	}
	return fmt.Errorf("distribution must be empty or %s, not %q", Zipfian, d)
}

// op returns what one client does if it is neither put nor get.
func (c *client) op() load.Op {
	switch c.workload.spec.Operation {
	case OpTxn:
		return c.txn
	case OpTxnMixed:
		return c.txnMixed
	case OpSTM:
		return c.stm()
	case OpRange:
		return c.readRange
	case OpWatch:
		return (&watcher{client: c}).next
	case OpLeaseGrant:
		return c.leaseGrant
	case OpLeaseKeepAlive:
		return (&leaseholder{client: c}).next
	}
	if c.workload.spec.PageKeys > 0 {
		return (&lister{client: c}).next
	}
	return c.next
}
