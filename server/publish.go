package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"raftkv/statemachine"
	"raftkv/statemachine/envelope"
)

// publishPause is the time between two attempts to publish.
const publishPause = 500 * time.Millisecond

// publish replicates this member's name, client URLs and incarnation, unless
// the members table has them already. It tries until it succeeds, the member
// stops, or the cluster turns out to know it with another data directory.
func (s *Server) publish() {
	s.background.Go(s.keepClusterVersion)
	for !s.published() {
		err := s.publishOnce()
		if errors.Is(err, statemachine.ErrOtherIncarnation) {
			s.fail(fmt.Errorf("member %x (%q) has already been bootstrapped: the cluster knows it with another data directory. Two directories must never take part under one id; remove the member from the cluster and add it again (%w)",
				s.memberID, s.cfg.Name, err))
			return
		}
		if err != nil && s.ctx.Err() == nil {
			s.cfg.Logger.Debug("publishing this member's client URLs failed; trying again", zap.Error(err))
		}
		if pause(s.ctx, publishPause) != nil {
			return
		}
	}
}

func (s *Server) published() bool {
	return slices.ContainsFunc(s.rooms.machine.Members(), func(m statemachine.Member) bool {
		return m.ID == s.memberID && m.Name == s.cfg.Name && m.Incarnation == s.rooms.incarnation &&
			slices.Equal(m.ClientURLs, s.cfg.AdvertiseClientURLs)
	})
}

func (s *Server) publishOnce() error {
	body, err := envelope.PublishMember{
		ID: s.memberID, Name: s.cfg.Name, ClientURLs: s.cfg.AdvertiseClientURLs, Incarnation: s.rooms.incarnation,
	}.Encode()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.requestTimeout())
	defer cancel()
	_, _, err = s.node.Load().Propose(ctx, envelope.EncodeCommand(envelope.Command{Kind: envelope.KindPublishMember, Body: body}))
	return err
}

// peerURLs are where the others dial this member.
func (s *Server) peerURLs() []string {
	for _, m := range s.rooms.machine.Members() {
		if m.ID == s.memberID {
			return m.PeerURLs
		}
	}
	return s.cfg.ownPeerURLs()
}
