package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"raftkv/node"
	"raftkv/rpc/peer"
	"raftkv/server/identity"
	"raftkv/statemachine"
)

// membership tells the peer transport who may talk.
type membership struct{ s *Server }

// Check admits members of the replicated table on the directory that they have
// published there. Until a member has published, the directory counts with
// which we met it first; that may be an impostor's, started by mistake, which
// is why the table has the last word.
func (m membership) Check(c peer.Caller) error {
	if err := m.checkIncarnation(c); err != nil {
		return err
	}
	err := m.s.rooms.ledger.MeetBoot(c.ID, c.Boot)
	switch {
	case errors.Is(err, identity.ErrOldDirectory):
		return fmt.Errorf("%w (%w)", peer.ErrOldDirectory, err)
	case err != nil:
		m.s.fail(err)
	}
	return err
}

func (m membership) checkIncarnation(c peer.Caller) error {
	if slices.Contains(m.s.rooms.machine.RemovedMembers(), c.ID) {
		return peer.ErrRemovedMember
	}
	members := m.s.members()
	i := slices.IndexFunc(members, func(k statemachine.Member) bool { return k.ID == c.ID })
	if i < 0 {
		m.s.meetStranger(c)
		return peer.ErrUnknownMember
	}
	if err := m.s.checkVersion(c); err != nil {
		return err
	}
	switch {
	case members[i].Incarnation == c.Incarnation:
		return nil
	case members[i].Incarnation != 0:
		return peer.ErrOtherIncarnation
	}
	err := m.s.rooms.ledger.Meet(c.ID, c.Incarnation)
	switch {
	case errors.Is(err, identity.ErrBootstrapped):
		return peer.ErrOtherIncarnation
	case err != nil:
		// A promise to remember that could not be made durable (invariant 6).
		m.s.fail(err)
	}
	return err
}

// Confirm answers a member with a new directory.
func (m membership) Confirm(c peer.Caller) (bool, error) {
	err := m.checkIncarnation(c)
	if errors.Is(err, peer.ErrOtherIncarnation) {
		return false, nil
	}
	return err == nil, err
}

// confirmPause is the time between two rounds of asking the others.
const confirmPause = 200 * time.Millisecond

// confirm returns once enough other members have confirmed that this data
// directory is the first one under its id (invariant 11), or with an
// explanation once one of them knows another.
func (s *Server) confirm(ctx context.Context) error {
	needed := s.confirmationsNeeded()
	confirmed := map[uint64]bool{}
	waiting := s.cfg.Logger.Named("admission")
	for round := 0; len(confirmed) < needed; round++ {
		if round > 0 {
			if err := pause(ctx, confirmPause); err != nil {
				return err
			}
		}
		if err := s.askOthers(ctx, confirmed); err != nil {
			return err
		}
		if round%25 == 24 {
			waiting.Warn("a new member needs the word of other members; if the cluster is new, it needs more members to start; start the others",
				zap.Int("confirmed", len(confirmed)), zap.Int("needed", needed))
		}
	}
	return nil
}

func (s *Server) askOthers(ctx context.Context, confirmed map[uint64]bool) error {
	for _, m := range s.members() {
		if m.ID == s.memberID || m.IsLearner || confirmed[m.ID] {
			continue
		}
		asking, cancel := context.WithTimeout(ctx, time.Second)
		isNew, err := s.transport.Confirm(asking, m.ID)
		cancel()
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			s.cfg.Logger.Debug("a member did not answer whether we are new", zap.String("member", m.Name), zap.Error(err))
		case !isNew:
			return s.bootstrapped(m.Name)
		default:
			confirmed[m.ID] = true
		}
	}
	return nil
}

func (s *Server) bootstrapped(by string) error {
	return fmt.Errorf("member %x (%q) has already been bootstrapped: member %q knows it with another data directory. A member that lost its directory has forgotten its votes and must not come back under its old id; remove it from the cluster and add it again",
		s.memberID, s.cfg.Name, by)
}

// peerHandler is the node as the transport sees it.
type peerHandler struct {
	*node.Node
	s *Server
}

// ReportSnapshot also lets go of the checkpoint that was streamed.
func (h peerHandler) ReportSnapshot(id uint64, ok bool) {
	h.Node.ReportSnapshot(id, ok)
	h.s.snapshots.reported(h.s, id, ok)
}

// peerDown is told when the connection to a member broke.
func (s *Server) peerDown(id uint64, reset bool) {
	s.links.down(id)
	s.cfg.Logger.Warn("lost the connection to node " + s.nameOf(id))
	if n := s.node.Load(); n != nil && reset {
		n.PeerDown(id)
	}
}

func (s *Server) peerUp(id uint64) {
	s.links.up(id)
	s.cfg.Logger.Info("connected to node " + s.nameOf(id))
}

// rejected is told when a peer refuses this member for good.
func (s *Server) rejected(r *peer.Refused) {
	switch r.Reason {
	case peer.ReasonIncarnation:
		// A complete directory was confirmed by a majority, so it is the other
		// one that met an impostor first.
		if s.rooms.complete {
			s.cfg.Logger.Error("node " + s.nameOf(r.Peer) + " knows this member with another data directory; it was started with a wrong one at some time")
			return
		}
		s.fail(s.bootstrapped(s.nameOf(r.Peer)))
	case peer.ReasonRemoved:
		s.fail(s.removedError())
	case peer.ReasonVersion:
		s.fail(fmt.Errorf("%w: %s", ErrOldVersion, r.Text))
	case peer.ReasonOldDirectory:
		s.fail(fmt.Errorf("%w: %s", ErrOldDirectory, r.Text))
	}
}

func (s *Server) nameOf(id uint64) string {
	for _, m := range s.members() {
		if m.ID == id && m.Name != "" {
			return m.Name
		}
	}
	return fmt.Sprintf("%x", id)
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
