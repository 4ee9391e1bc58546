package server

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/membershippb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"raftkv/node"
	"raftkv/rpc/peer"
	"raftkv/statemachine"
	"raftkv/statemachine/envelope"
)

// firstVersion is what programs know that do not say what they know.
const firstVersion statemachine.Version = 0<<16 | 1<<8

// versionPause is the time between two looks at what the members know.
const versionPause = time.Second

// newestVersion is the newest cluster version that this program knows.
func (c *Config) newestVersion() statemachine.Version {
	if c.newest != 0 {
		return c.newest
	}
	return statemachine.NewestVersion
}

// newEnough refuses a program that does not know the cluster's version: it could
// not read the log. known 0 is what programs say that say nothing.
func newEnough(cluster, known statemachine.Version) error {
	if known == 0 {
		known = firstVersion
	}
	if cluster > known {
		return fmt.Errorf("%w: the cluster is at version %s, the program of this member knows %s at most; start it with a newer one", ErrOldVersion, cluster, known)
	}
	return nil
}

// versions are the newest cluster versions that the other members know, as they
// last said.
type versions struct {
	mu  sync.Mutex
	all map[uint64]statemachine.Version
}

func (v *versions) note(member uint64, known statemachine.Version) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.all == nil {
		v.all = map[uint64]statemachine.Version{}
	}
	v.all[member] = known
}

func (v *versions) of(member uint64) (known statemachine.Version, heard bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	known, heard = v.all[member]
	return known, heard
}

// checkVersion takes note of what a member knows, and refuses it if that is not
// enough.
func (s *Server) checkVersion(c peer.Caller) error {
	known := statemachine.Version(c.NewestVersion)
	if known == 0 {
		known = firstVersion
	}
	s.versions.note(c.ID, known)
	if cluster := s.rooms.machine.ClusterVersion(); cluster > known {
		return fmt.Errorf("%w (the cluster is at version %s, the program knows %s)", peer.ErrOldVersion, cluster, known)
	}
	return nil
}

// commonVersion is the newest version that all members know. While one of them has
// said nothing to this one yet, there is none that all are known to know.
func (s *Server) commonVersion() (common statemachine.Version, all bool) {
	common, all = s.cfg.newestVersion(), true
	for _, m := range s.rooms.machine.Members() {
		if m.ID == s.memberID {
			continue
		}
		known, heard := s.versions.of(m.ID)
		if !heard {
			all = false
			continue
		}
		common = min(common, known)
	}
	return common, all
}

// keepClusterVersion sets the version of the cluster whenever this member leads:
// one at once if there is none, a higher one when every member knows it. It never
// falls. Members that say nothing while there is none do not hold up the others:
// one that is too old is refused when it comes.
func (s *Server) keepClusterVersion() {
	n := s.node.Load()
	leads := func(status node.Status) bool { return status.Role == node.Leader }
	for n.WaitFor(s.ctx, leads) == nil {
		current := s.rooms.machine.ClusterVersion()
		if common, all := s.commonVersion(); common > current && (all || current == 0) {
			// A member that has just been elected may have it in its log only: it
			// proposes the same once more, which changes nothing.
			switch err := s.proposeClusterVersion(n, common); {
			case err == nil:
				s.cfg.Logger.Info("set the cluster version", zap.Stringer("from", current), zap.Stringer("to", common))
			case s.ctx.Err() == nil:
				s.cfg.Logger.Debug("setting the cluster version failed; trying again", zap.Error(err))
			}
		}
		wait := versionPause
		if s.rooms.machine.ClusterVersion() == 0 {
			wait = publishPause
		}
		if pause(s.ctx, wait) != nil {
			return
		}
	}
}

func (s *Server) proposeClusterVersion(n *node.Node, v statemachine.Version) error {
	body, err := proto.Marshal(&membershippb.ClusterVersionSetRequest{Ver: v.String()})
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
