package peer

import (
	"errors"
	"fmt"
	"sync"

	"go.uber.org/zap"
	"raftkv/rpc/peer/peerpb"
)

// Errors that Membership returns.
var (
	ErrUnknownMember    = errors.New("not a member of this cluster")
	ErrRemovedMember    = errors.New("the member was removed from the cluster")
	ErrOtherIncarnation = errors.New("the member has already been bootstrapped with another data directory; remove it and add it again")
	ErrOldVersion       = errors.New("the member's program is too old for this cluster; start it with a newer one")
	ErrOldDirectory     = errors.New("the member's data directory is older than one it has run on; a copy was put back? Remove the member and add it again")
)

// Errors of the transport.
var (
	ErrUnknownPeer = errors.New("no such peer is configured")
	ErrClosed      = errors.New("peer transport is closed")
)

// Reason says why one member refuses another. Numbers are part of the protocol.
type Reason int32

// Reasons.
const (
	ReasonProtocol      = Reason(peerpb.Reason_REASON_PROTOCOL)
	ReasonCluster       = Reason(peerpb.Reason_REASON_CLUSTER)
	ReasonReceiver      = Reason(peerpb.Reason_REASON_RECEIVER)
	ReasonUnknownMember = Reason(peerpb.Reason_REASON_UNKNOWN_MEMBER)
	ReasonRemoved       = Reason(peerpb.Reason_REASON_REMOVED)
	ReasonIncarnation   = Reason(peerpb.Reason_REASON_INCARNATION)
	ReasonUnavailable   = Reason(peerpb.Reason_REASON_UNAVAILABLE)
	ReasonOldDirectory  = Reason(peerpb.Reason_REASON_OLD_DIRECTORY)
	ReasonVersion       = Reason(peerpb.Reason_REASON_VERSION)
)

// String returns the reason's name.
func (r Reason) String() string {
	switch r {
	case ReasonProtocol:
		return "protocol"
	case ReasonCluster:
		return "cluster"
	case ReasonReceiver:
		return "receiver"
	case ReasonUnknownMember:
		return "unknown member"
	case ReasonRemoved:
		return "removed"
	case ReasonIncarnation:
		return "incarnation"
	case ReasonUnavailable:
		return "unavailable"
	case ReasonOldDirectory:
		return "old directory"
	case ReasonVersion:
		return "version"
	}
	return fmt.Sprintf("reason %d", int32(r))
}

// Refused is the error of a handshake that one side ended.
type Refused struct {
	Peer   uint64 // the other side
	ByPeer bool   // it refused us; else we refused it
	Reason Reason
	Text   string
}

// Error implements error.
func (r *Refused) Error() string {
	if r.ByPeer {
		return fmt.Sprintf("member %x refuses this member: %s", r.Peer, r.Text)
	}
	return fmt.Sprintf("this member refuses member %x: %s", r.Peer, r.Text)
}

// final reports whether the refusal ends our life in the cluster.
func (r *Refused) final() bool {
	switch r.Reason {
	case ReasonRemoved, ReasonIncarnation, ReasonOldDirectory, ReasonVersion:
		return r.ByPeer
	}
	return false
}

// refusalsMax bounds what strangers can make us remember; beyond it refusals
// are counted only.
const refusalsMax = 1024

// refusals remembers which refusals were told, so that each is told once.
type refusals struct {
	logger   *zap.Logger
	rejected func(*Refused) // may be nil

	mu   sync.Mutex
	told map[refusalKey]struct{}
}

type refusalKey struct {
	peer   uint64
	byPeer bool
	reason Reason
}

func (r *refusals) tell(refused *Refused) {
	key := refusalKey{refused.Peer, refused.ByPeer, refused.Reason}
	r.mu.Lock()
	_, told := r.told[key]
	told = told || len(r.told) >= refusalsMax
	if !told {
		r.told[key] = struct{}{}
	}
	r.mu.Unlock()
	if told {
		return
	}
	r.logger.Warn("peer connection refused", zap.Error(refused), zap.Stringer("reason", refused.Reason))
	if refused.final() && r.rejected != nil {
		r.rejected(refused)
	}
}

// forget makes refusals by or of a member worth telling again.
func (r *refusals) forget(peer uint64, byPeer bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key := range r.told {
		if key.peer == peer && key.byPeer == byPeer {
			delete(r.told, key)
		}
	}
}
