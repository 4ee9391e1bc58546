package server

import (
	"context"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"raftkv/statemachine"
	"raftkv/statemachine/envelope"
)

// publishPause is the time between two attempts to publish.
const publishPause = 500 * time.Millisecond

// publish replicates this member's name and client URLs, unless the members
// table has them already. It tries until it succeeds or the member stops.
func (s *Server) publish() {
	for !s.published() {
		if err := s.publishOnce(); err != nil && s.ctx.Err() == nil {
			s.cfg.Logger.Debug("publishing this member's client URLs failed; trying again", zap.Error(err))
		}
		if pause(s.ctx, publishPause) != nil {
			return
		}
	}
}

func (s *Server) published() bool {
	return slices.ContainsFunc(s.rooms.machine.Members(), func(m statemachine.Member) bool {
		return m.ID == s.memberID && m.Name == s.cfg.Name && slices.Equal(m.ClientURLs, s.cfg.AdvertiseClientURLs)
	})
}

func (s *Server) publishOnce() error {
	body, err := proto.Marshal(&pb.Member{ID: s.memberID, Name: s.cfg.Name, ClientURLs: s.cfg.AdvertiseClientURLs})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.requestTimeout())
	defer cancel()
	_, _, err = s.node.Load().Propose(ctx, envelope.EncodeCommand(envelope.Command{Kind: envelope.KindPublishMember, Body: body}))
	return err
}
