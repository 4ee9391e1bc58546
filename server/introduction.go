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

// introduced are the members that one without a state has come to know.
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

// union returns the members known, with those that are new behind them.
func union(known []statemachine.Member, live []*peerpb.ClusterMember) introduced {
	all := slices.Clone(known)
	for _, m := range live {
		if !slices.ContainsFunc(known, func(k statemachine.Member) bool { return k.ID == m.GetId() }) {
			all = append(all, statemachine.Member{ID: m.GetId(), Name: m.GetName(), PeerURLs: m.GetPeerUrls(), ClientURLs: m.GetClientUrls(), IsLearner: m.GetLearner()})
		}
	}
	return all
}
