package server

import (
	"context"

	"go.etcd.io/etcd/api/v3/membershippb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"raftkv/node"
	"raftkv/statemachine"
	"raftkv/statemachine/envelope"
)

// publishClusterVersion replicates the version of this binary as that of the
// cluster, if there is none yet whenever this member leads. It tries until the
// cluster has one or the member stops.
func (s *Server) publishClusterVersion() {
	n := s.node.Load()
	leads := func(status node.Status) bool { return status.Role == node.Leader }
	for s.rooms.machine.ClusterVersion() == 0 {
		if n.WaitFor(s.ctx, leads) != nil {
			return
		}
		// A member that has just been elected may have it in its log only: it
		// proposes the same once more, which changes nothing.
		if err := s.proposeClusterVersion(n); err == nil {
			return
		} else if s.ctx.Err() == nil {
			s.cfg.Logger.Debug("setting the cluster version failed; trying again", zap.Error(err))
		}
		if pause(s.ctx, publishPause) != nil {
			return
		}
	}
}

func (s *Server) proposeClusterVersion(n *node.Node) error {
	if s.rooms.machine.ClusterVersion() != 0 {
		return nil
	}
	body, err := proto.Marshal(&membershippb.ClusterVersionSetRequest{Ver: statemachine.NewestVersion.String()})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.requestTimeout())
	defer cancel()
	_, _, err = n.Propose(ctx, envelope.EncodeCommand(envelope.Command{Kind: envelope.KindClusterVersion, Body: body}))
	return err
}

// packedVersion is the cluster version that this member's batches name: the
// replicated one, which every member knows. While there is none it is 0, and
// not that of this binary, which would stop members on an older one.
func (s *Server) packedVersion() uint32 { return uint32(s.rooms.machine.ClusterVersion()) }
