package statemachine

import (
	"errors"

	"raftkv/statemachine/engine"
	"raftkv/statemachine/kv"
	"raftkv/statemachine/mvcc"
)

// Refusals of reads and key-value commands.
var (
	ErrCompacted      = mvcc.ErrCompacted
	ErrFutureRevision = mvcc.ErrFutureRevision
	ErrEmptyKey       = kv.ErrEmptyKey
	ErrKeyNotFound    = kv.ErrKeyNotFound
	ErrLeaseNotFound  = kv.ErrLeaseNotFound
	ErrValueTooLarge  = kv.ErrValueTooLarge
	ErrNotReadOnly    = kv.ErrNotReadOnly
)

// Refusals of commands about members and the cluster.
var (
	ErrMemberExists         = errors.New("statemachine: member already exists")
	ErrMemberRemoved        = errors.New("statemachine: member id was removed and is never used again")
	ErrMemberNotFound       = errors.New("statemachine: member not found")
	ErrMemberNotLearner     = errors.New("statemachine: member is not a learner")
	ErrPeerURLExists        = errors.New("statemachine: peer URL already exists")
	ErrMemberChangeRefused  = errors.New("statemachine: membership change refused")
	ErrClusterVersion       = errors.New("statemachine: invalid cluster version")
	ErrClusterVersionLowers = errors.New("statemachine: cluster version only rises")
)

// Failures.
var (
	// ErrUnknownCommand: the log holds a command that this binary does not
	// know. Fatal, see the package's failure policy.
	ErrUnknownCommand = errors.New("statemachine: unknown command, this binary is older than the cluster's data")
	// ErrMalformedEntry: a log entry cannot be decoded. Fatal.
	ErrMalformedEntry = errors.New("statemachine: malformed log entry")
	// ErrOutOfOrder: the caller of Apply broke its contract. Fatal.
	ErrOutOfOrder = errors.New("statemachine: log entries out of order")
	// ErrAlreadyInitialized: Bootstrap of a directory that holds state.
	ErrAlreadyInitialized = errors.New("statemachine: state is already initialized")
	// ErrNotInitialized: the directory holds no state yet.
	ErrNotInitialized = errors.New("statemachine: state is not initialized")
	// ErrForeignState: a database that belongs to another cluster, or that this
	// binary cannot read.
	ErrForeignState = errors.New("statemachine: state cannot be used here")
	// ErrDirectory: the state directory is damaged or foreign.
	ErrDirectory = engine.ErrDirectory
	// ErrClosed: the machine was closed.
	ErrClosed = engine.ErrClosed
)
