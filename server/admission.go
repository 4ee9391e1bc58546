package server

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"go.uber.org/zap"

	"raftkv/server/identity"
	"raftkv/statemachine"
)

// Reasons for which a member ends that whoever started it may want to tell apart.
var (
	// ErrRemoved: the cluster has removed this member.
	ErrRemoved = errors.New("the member has been permanently removed from the cluster")
	// ErrOldDirectory: the data directory was put back to how it once was.
	ErrOldDirectory = errors.New("the data directory is older than one that this member has run on before")
	// ErrOldVersion: the cluster is at a version that this program does not know.
	ErrOldVersion = errors.New("this program is too old for the cluster")
)

// admission is how a member belongs to its cluster.
type admission struct {
	owner
	// joined: it was added to a cluster that lived; its first state is brought
	// by a snapshot. Else it is one of those that founded the cluster.
	joined bool
	// introduced are the members that it was told of, for as long as it has no
	// state of its own.
	introduced []statemachine.Member
	// through are addresses of members that may add this one; empty: it was
	// added by an operator.
	through []string
	// replaces is a member to remove before: this one, before it lost its memory.
	replaces uint64
}

// admit finds out which member of which cluster this is. It changes nothing: a
// start that contradicts the cluster ends here.
func (c *Config) admit(ctx context.Context) (admission, error) {
	var kept identity.Identity
	found := false
	if !c.Memory {
		root, err := filepath.Abs(c.DataDir)
		if err != nil {
			return admission{}, err
		}
		if kept, found, err = identity.Peek(root); err != nil {
			return admission{}, err
		}
	}
	switch {
	case found && kept.Prepared:
		return prepared(kept, c)
	case found && kept.Complete && (kept.Joined || c.Existing || c.DiscoverySRV != ""):
		a := admission{owner: owner{kept.ClusterID, kept.MemberID}, joined: kept.Joined}
		for _, m := range kept.Introduction {
			a.introduced = append(a.introduced, statemachine.Member{ID: m.ID, Name: m.Name, PeerURLs: m.PeerURLs, IsLearner: m.Learner})
		}
		return a, nil
	case c.Join != "" && found && !kept.Joined:
		return admission{}, fmt.Errorf("the data directory %s belongs to member %x (%q), which did not join but founded cluster %x; start it as before, with --cluster",
			c.DataDir, kept.MemberID, kept.Name, kept.ClusterID)
	case c.Join != "":
		return c.findCluster(ctx, kept, found)
	case c.Existing:
		return c.findOwnID(ctx, kept, found)
	}
	clusterID, members := c.ids()
	return admission{owner: owner{clusterID, members[c.Name]}}, nil
}

// identity is what is written into a new data directory.
func (a *admission) identity(name string) identity.Identity {
	id := identity.Identity{ClusterID: a.clusterID, MemberID: a.memberID, Name: name, Joined: a.joined}
	for _, m := range a.introduced {
		id.Introduction = append(id.Introduction, identity.Introduced{ID: m.ID, Name: m.Name, PeerURLs: m.PeerURLs, Learner: m.IsLearner})
	}
	return id
}

// members are those of the replicated table and those that were met without being
// in it yet; before there is one, those that this member was introduced to.
func (s *Server) members() []statemachine.Member {
	met := s.met.Load()
	if s.rooms.machine.Initialized() {
		return withStrangers(s.rooms.machine.Members(), s.rooms.machine.RemovedMembers(), met)
	}
	if met != nil {
		return *met
	}
	return s.admission.introduced
}

// confirmationsNeeded is how many other voters have to confirm that this member
// is new.
func (s *Server) confirmationsNeeded() int {
	others := 0
	for _, m := range voters(s.members()) {
		if m.ID != s.memberID {
			others++
		}
	}
	return identity.ConfirmationsNeeded(others + 1)
}

// removed tells whether the cluster has removed this member, as far as it knows.
func (s *Server) removed() bool {
	return slices.Contains(s.rooms.machine.RemovedMembers(), s.memberID)
}

func (s *Server) removedError() error {
	return fmt.Errorf("%w: member %x (%q) of cluster %x. Its data directory can be deleted; to bring the node back, add it as a new member with an empty one",
		ErrRemoved, s.memberID, s.cfg.Name, s.clusterID)
}

// membersChanged takes note of other members where nobody could take an error:
// this one goes on with those it can reach.
func (s *Server) membersChanged() {
	if err := s.reconcile(); err != nil && s.ctx.Err() == nil {
		s.cfg.Logger.Error("the members changed and not all of them can be reached", zap.Error(err))
	}
	for _, id := range s.rooms.machine.RemovedMembers() {
		s.links.down(id)
		if err := s.rooms.ledger.Forget(id); err != nil {
			s.fail(err)
			return
		}
	}
	if s.removed() {
		s.leave()
	}
}

// leave ends a member that was removed, after an election timeout: requests in
// flight are answered, and the others may need it to learn that the removal is
// committed, if it led.
func (s *Server) leave() {
	s.leaving.Do(func() {
		s.cfg.Logger.Warn("this member was removed from the cluster and is about to stop")
		s.background.Go(func() {
			if pause(s.ctx, max(s.cfg.ElectionTimeout, 500*time.Millisecond)) == nil {
				s.fail(s.removedError())
			}
		})
	})
}
