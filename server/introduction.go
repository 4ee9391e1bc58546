package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"raftkv/rpc/peer"
	"raftkv/rpc/peer/peerpb"
	"raftkv/statemachine"
)

// introducePause is the time between two questions who the members are.
const introducePause = time.Second

// introduced are members that this one has come to know from others, instead of
// from its own state.
type introduced []statemachine.Member

// stayIntroduced keeps asking who the members are, as long as this member has no
// state that tells: its first one may have to come from a leader that joined after
// it was introduced to the others, and that it would not talk to.
func (s *Server) stayIntroduced() {
	for !s.rooms.machine.Initialized() {
		if pause(s.ctx, introducePause) != nil {
			return
		}
		known := s.members()
		met, err := s.cfg.meetAgain(s.ctx, s.clusterID, s.memberID, known)
		if err != nil {
			if s.ctx.Err() == nil {
				s.cfg.Logger.Debug("nobody tells who the members are; asking again", zap.Error(err))
			}
			continue
		}
		if len(met) > len(known) {
			s.met.Store(&met)
			s.membersChanged()
		}
	}
}

// meetAgain asks the members known, one after the other until one answers, who
// the members are. Nobody is dropped: the one that answers may be behind.
func (c *Config) meetAgain(ctx context.Context, clusterID, memberID uint64, known []statemachine.Member) (introduced, error) {
	var faults []error
	for _, m := range known {
		if m.ID == memberID {
			continue
		}
		for _, u := range m.PeerURLs {
			live, err := c.askCluster(ctx, u)
			if err == nil && live.GetClusterId() != clusterID {
				err = fmt.Errorf("%s serves cluster %x, not %x", u, live.GetClusterId(), clusterID)
			}
			if err == nil {
				return union(known, live.GetMembers()), nil
			}
			faults = append(faults, err)
		}
	}
	return nil, errors.Join(append(faults, ctx.Err())...)
}

func (c *Config) askCluster(ctx context.Context, peerURL string) (*peerpb.ClusterResponse, error) {
	address, secured, err := c.dialing(peerURL, &c.PeerTLS)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	return peer.AskCluster(ctx, address, secured)
}

// meetStranger gets to know somebody of this cluster whom the table does not have.
// A member that was away for long may know nobody who is still there: those who
// are have to be believed then, or it would never hear of anything again. Whoever
// was removed is not, and raft takes nothing from a stranger that it would not
// take from a member.
func (s *Server) meetStranger(c peer.Caller) {
	if !s.rooms.machine.Initialized() || !s.meeting.CompareAndSwap(false, true) {
		return // stayIntroduced asks; or this is under way
	}
	s.background.Go(func() {
		defer s.meeting.Store(false)
		for _, u := range c.PeerURLs {
			live, err := s.cfg.askCluster(s.ctx, u)
			switch {
			case err != nil:
				s.cfg.Logger.Debug("a stranger does not tell who the members are", zap.Error(err))
				continue
			case live.GetClusterId() != s.clusterID || live.GetMemberId() != c.ID:
				continue
			}
			var known introduced
			if met := s.met.Load(); met != nil {
				known = *met
			}
			met := union(known, live.GetMembers())
			s.met.Store(&met)
			s.cfg.Logger.Info("met a member that was added while this one was away", zap.String("member", fmt.Sprintf("%x", c.ID)), zap.String("url", u))
			s.membersChanged()
			break
		}
		_ = pause(s.ctx, introducePause) // then it asks again, or stops
	})
}

// withStrangers returns the members of the table and, behind them, those met that
// it neither has nor has had.
func withStrangers(members []statemachine.Member, removed []uint64, met *introduced) []statemachine.Member {
	if met == nil {
		return members
	}
	all := slices.Clone(members)
	for _, m := range *met {
		if !containsMember(members, m.ID) && !slices.Contains(removed, m.ID) {
			all = append(all, m)
		}
	}
	return all
}

// union returns the members known, with those that are new behind them.
func union(known []statemachine.Member, live []*peerpb.ClusterMember) introduced {
	all := slices.Clone(known)
	for _, m := range live {
		if !containsMember(known, m.GetId()) {
			all = append(all, statemachine.Member{ID: m.GetId(), Name: m.GetName(), PeerURLs: m.GetPeerUrls(), ClientURLs: m.GetClientUrls(), IsLearner: m.GetLearner()})
		}
	}
	return all
}

func containsMember(members []statemachine.Member, id uint64) bool {
	return slices.ContainsFunc(members, func(m statemachine.Member) bool { return m.ID == id })
}
