package server

import (
	"errors"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"

	"raftkv/node"
	"raftkv/snap"
)

// reconcile makes the transport's peers those of the members table: it dials
// members that are new, redials those whose URLs changed, and ends all streams
// from and to members that are gone. To be called whenever the table may have
// changed: at the start, when a change of the configuration was applied, when a
// snapshot was installed. It does not wait for the network, so the applier may
// call it; where nothing changed it does nothing.
//
// An error names members that cannot be dialled at their URLs; the other ones
// are up to date all the same.
func (s *Server) reconcile() error {
	s.reconciling.Lock()
	defer s.reconciling.Unlock()
	var errs []error
	wanted := map[uint64]bool{}
	for _, m := range s.members() {
		if m.ID == s.memberID {
			continue
		}
		wanted[m.ID] = true
		if err := s.transport.UpdatePeer(m.ID, m.PeerURLs); err != nil {
			errs = append(errs, fmt.Errorf("member %q cannot be dialled: %w", m.Name, err))
		}
	}
	for _, id := range s.transport.Peers() {
		if !wanted[id] {
			s.transport.RemovePeer(id)
		}
	}
	return errors.Join(errs...)
}

// installs are the snapshots as the node sees them: one that is installed may
// bring other members.
type installs struct {
	*snap.Store
	installed func()
}

var _ node.Snapshots = installs{}

// configurations is a state machine that tells when a change of the members was
// applied, before raft is told.
type configurations struct {
	node.StateMachine
	changed func()
}

// Apply implements node.StateMachine.
func (c configurations) Apply(entries []*raftpb.Entry, answer func(index, proposer, boot, batch uint64, results []any)) (*raftpb.ConfState, error) {
	conf, err := c.StateMachine.Apply(entries, answer)
	if conf != nil {
		c.changed()
	}
	return conf, err
}

// Install implements node.Snapshots.
func (i installs) Install(snapshot *raftpb.Snapshot) error {
	if err := i.Store.Install(snapshot); err != nil {
		return err
	}
	i.installed()
	return nil
}
