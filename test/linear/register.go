package linear

import (
	"fmt"
	"math"
	"time"

	"github.com/anishathalye/porcupine"
)

// Kind is what an operation does.
type Kind int

const (
	Read Kind = iota
	Put
	CAS // puts if the key holds what is expected, else tells what it holds
	Append
)

func (k Kind) String() string { return [...]string{"read", "put", "cas", "append"}[k] }

// Outcome is what a client knows of its operation.
type Outcome int

const (
	Pending    Outcome = iota
	Done               // answered
	Unknown            // may have happened, or happen yet
	NotApplied         // did not happen and will not
)

// Operation is one entry of a history.
type Operation struct {
	Client   int
	Kind     Kind
	Key      string
	Value    string // put, appended
	Expected string // by a CAS

	// Call and Return are stamps of one clock. Return means nothing unless the
	// operation is Done.
	Call, Return int64
	Outcome      Outcome

	// The answer. Swapped: the CAS found what it expected; Found: what a read,
	// or a CAS that did not, saw instead. Revision is that of the write, or of
	// the key that was read.
	Swapped  bool
	Found    string
	Revision int64
}

func (op *Operation) String() string {
	return fmt.Sprintf("client %d %s %s %.12q (expects %.12q, found %.24q, swapped %t, revision %d, outcome %d)",
		op.Client, op.Kind, op.Key, op.Value, op.Expected, op.Found, op.Swapped, op.Revision, op.Outcome)
}

// Wrote says whether an answered operation changed its key.
func (op *Operation) Wrote() bool {
	return op.Kind == Put || op.Kind == Append || (op.Kind == CAS && op.Swapped)
}

// After is what the client then believes the key to hold.
func (op *Operation) After() string {
	switch {
	case op.Kind == Append:
		return "" // it did not see the whole
	case op.Wrote():
		return op.Value
	}
	return op.Found
}

// Check hands a history to Porcupine, key by key.
func Check(history []*Operation, limit time.Duration) porcupine.CheckResult {
	var ops []porcupine.Operation
	for _, op := range history {
		returned := op.Return
		switch {
		case op.Outcome == NotApplied:
			continue
		case op.Outcome == Done:
		case op.Kind == Read:
			continue
		default:
			returned = math.MaxInt64
		}
		ops = append(ops, porcupine.Operation{ClientId: op.Client, Input: op, Call: op.Call, Return: returned})
	}
	return porcupine.CheckOperationsTimeout(register(), ops, limit)
}

// register is the model of one key.
func register() porcupine.Model {
	return porcupine.Model{
		Partition:         byKey,
		Init:              func() any { return "" },
		Step:              func(state, input, _ any) (bool, any) { return input.(*Operation).step(state.(string)) },
		DescribeOperation: func(input, _ any) string { return input.(*Operation).String() },
	}
}

func byKey(history []porcupine.Operation) [][]porcupine.Operation {
	index := map[string]int{}
	var parts [][]porcupine.Operation
	for _, o := range history {
		key := o.Input.(*Operation).Key
		i, ok := index[key]
		if !ok {
			i = len(parts)
			index[key] = i
			parts = append(parts, nil)
		}
		parts[i] = append(parts[i], o)
	}
	return parts
}

// step says whether the operation can have happened when the key held value,
// and what the key holds then. An operation without an answer can always have
// happened: one that changed nothing then is one that takes effect never.
func (op *Operation) step(value string) (bool, any) {
	answered := op.Outcome == Done
	switch op.Kind {
	case Put:
		return true, op.Value
	case Append:
		return true, value + op.Value
	case CAS:
		swaps := value == op.Expected
		if answered && (swaps != op.Swapped || (!swaps && value != op.Found)) {
			return false, nil
		}
		if swaps {
			return true, op.Value
		}
		return true, value
	}
	return value == op.Found, value
}
