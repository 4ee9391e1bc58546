package rpctest

import (
	"context"
	"fmt"

	"raftkv/rpc/kvstream/kvpb"
)

// Changes returns the changes of the members that were asked for.
func (m *Member) Changes() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.mu.changes...)
}

// change notes a change, or refuses it with Switches.Refuse.
func (m *Member) change(format string, args ...any) error {
	if refuse := m.switches().Refuse; refuse != nil {
		return refuse
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.changes = append(m.mu.changes, fmt.Sprintf(format, args...))
	return nil
}

// AddMember adds nobody.
func (m *Member) AddMember(_ context.Context, peerURLs []string, learner bool) (uint64, error) {
	return 0xa9, m.change("add %v learner %t", peerURLs, learner)
}

// RemoveMember removes nobody.
func (m *Member) RemoveMember(_ context.Context, id uint64, force bool) error {
	return m.change("remove %x force %t", id, force)
}

// UpdateMember updates nobody.
func (m *Member) UpdateMember(_ context.Context, id uint64, peerURLs []string) error {
	return m.change("update %x %v", id, peerURLs)
}

// PromoteMember promotes nobody.
func (m *Member) PromoteMember(_ context.Context, id uint64) error { return m.change("promote %x", id) }

// MoveLeader moves nothing.
func (m *Member) MoveLeader(_ context.Context, to uint64) error { return m.change("move to %x", to) }

// Join adds nobody.
func (m *Member) Join(_ context.Context, r *kvpb.JoinRequest) error {
	return m.change("join %x %v", r.GetMemberId(), r.GetPeerUrls())
}
