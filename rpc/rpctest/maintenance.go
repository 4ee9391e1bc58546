package rpctest

import (
	"context"

	"raftkv/statemachine"
)

// CompactedRevision is the newest revision compacted.
func (m *Member) CompactedRevision() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mu.compacted
}

// AwaitSweep records what was waited for and returns what the switches say.
func (m *Member) AwaitSweep(_ context.Context, revision int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.sweepsAwaited = append(m.mu.sweepsAwaited, revision)
	return m.mu.switches.SweepErr
}

// SweepsAwaited returns the revisions AwaitSweep was called with.
func (m *Member) SweepsAwaited() []int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]int64(nil), m.mu.sweepsAwaited...)
}

// HashKV answers with numbers that tell the revision asked for.
func (m *Member) HashKV(_ context.Context, revision int64) (statemachine.KVHash, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if revision > m.mu.revision {
		return statemachine.KVHash{}, statemachine.ErrFutureRevision
	}
	return statemachine.KVHash{Hash: uint32(100 + revision), CompactRevision: m.mu.compacted,
		HashRevision: revision, Revision: m.mu.revision}, nil
}

// Hash answers with a fixed number.
func (m *Member) Hash(context.Context) (uint32, int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return 99, m.mu.revision, nil
}
