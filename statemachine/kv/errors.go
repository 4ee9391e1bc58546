package kv

import (
	"errors"

	"raftkv/statemachine/mvcc"
)

// Refusals: deterministic results of a command that changed nothing.
var (
	ErrEmptyKey      = errors.New("kv: key is not provided")
	ErrKeyNotFound   = errors.New("kv: key not found")
	ErrLeaseNotFound = errors.New("kv: requested lease not found")
	ErrValueTooLarge = errors.New("kv: value is too large")
	ErrNotReadOnly   = errors.New("kv: transaction is not read-only")
	ErrNotNumber     = errors.New("kv: value is not a decimal number of 64 bits")
	ErrOverflow      = errors.New("kv: sum does not fit into 64 bits")

	// ErrResponseTooLarge refuses a read that takes more than its Budget.
	ErrResponseTooLarge = errors.New("kv: response is too large")
)

// IsRefusal tells a refusal, which is the command's result, from a failure of
// the state machine.
func IsRefusal(err error) bool {
	for _, refusal := range []error{
		ErrEmptyKey, ErrKeyNotFound, ErrLeaseNotFound, ErrValueTooLarge, ErrNotReadOnly,
		ErrNotNumber, ErrOverflow,
		mvcc.ErrCompacted, mvcc.ErrFutureRevision,
	} {
		if errors.Is(err, refusal) {
			return true
		}
	}
	return false
}
