package wal

import (
	"errors"
	"fmt"
)

var (
	// ErrForeign says that the log belongs to another member or another format.
	ErrForeign = errors.New("wal: the log is not this member's")
	// ErrStateBehind says that the state machine is older than the log.
	ErrStateBehind = errors.New("wal: the state machine is older than the log")
	// ErrLocked says that another process has the log open.
	ErrLocked = errors.New("wal: another process has the log open")
	// ErrClosed is returned by writing methods after Close.
	ErrClosed = errors.New("wal: the log is closed")
)

// remedy is what an operator can do about a log that cannot be trusted: its
// member may have forgotten votes and acknowledgements, so it must not come
// back under the same raft id (invariant 11).
const remedy = "remove this member from the cluster and add a new one with an empty data directory"

// DamageError says that the log cannot be trusted. Recovery changes nothing on
// disk before returning it.
type DamageError struct {
	// File is the damaged file, empty when the records contradict each other as
	// a whole. Offset is where its last good record ends, in bytes.
	File   string
	Offset int64
	Reason error
}

func (e *DamageError) Error() string {
	if e.File == "" {
		return fmt.Sprintf("wal: the log is damaged: %v; %s", e.Reason, remedy)
	}
	return fmt.Sprintf("wal: %s is damaged at offset %d: %v; %s", e.File, e.Offset, e.Reason, remedy)
}

func (e *DamageError) Unwrap() error { return e.Reason }

// ruleError says that a record contradicts the records before it.
type ruleError struct{ reason string }

func (e *ruleError) Error() string { return e.reason }

func broken(format string, args ...any) error {
	return &ruleError{fmt.Sprintf(format, args...)}
}
