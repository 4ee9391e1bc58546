package statemachine

import (
	"fmt"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/confchange"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
	"google.golang.org/protobuf/proto"

	"raftkv/statemachine/envelope"
	"raftkv/statemachine/keys"
)

// configurationChange applies an entry that changes raft's configuration and
// the members table together: the table has no other source.
func (a *application) configurationChange(e *raftpb.Entry) error {
	cc, err := decodeConfChange(e)
	if err != nil {
		return err
	}
	if len(cc.GetContext()) == 0 {
		// Nobody waits, and nothing says which member is meant.
		a.m.opts.Logger.Warn("configuration change without a member was refused")
		return nil
	}
	env, err := decodeEnvelope(cc.GetContext())
	if err != nil {
		return err
	}
	if len(env.Commands) != 1 || env.Commands[0].Kind != envelope.KindMemberChange {
		return fmt.Errorf("%w: context of a configuration change", ErrMalformedEntry)
	}
	member := &pb.Member{}
	if err := decodeBody(&env.Commands[0], member); err != nil {
		return err
	}
	if !a.admit(&env) {
		return nil
	}
	result, err := a.memberChange(cc, member)
	if err != nil {
		return err
	}
	a.answer(e, &env, []any{result})
	return nil
}

func decodeConfChange(e *raftpb.Entry) (*raftpb.ConfChangeV2, error) {
	var cc raftpb.ConfChangeI
	var err error
	if e.GetType() == raftpb.EntryConfChange {
		v1 := &raftpb.ConfChange{}
		err, cc = proto.Unmarshal(e.GetData(), v1), v1
	} else {
		v2 := &raftpb.ConfChangeV2{}
		err, cc = proto.Unmarshal(e.GetData(), v2), v2
	}
	if err != nil {
		return nil, fmt.Errorf("%w: configuration change: %w", ErrMalformedEntry, err)
	}
	return cc.AsV2(), nil
}

// memberChange applies the one change of cc, which concerns req. A refusal is
// the result.
func (a *application) memberChange(cc *raftpb.ConfChangeV2, req *pb.Member) (result any, err error) {
	if _, joint := cc.EnterJoint(); joint || len(cc.GetChanges()) != 1 {
		return fmt.Errorf("%w: members change one at a time, without a joint configuration", ErrMemberChangeRefused), nil
	}
	change := cc.GetChanges()[0]
	id := change.GetNodeId()
	if id == 0 || id != req.GetID() {
		return fmt.Errorf("%w: the change is of member %x, its description of member %x", ErrMemberChangeRefused, id, req.GetID()), nil
	}
	roster, refusal := a.next.roster.change(change.GetType(), req)
	if refusal != nil {
		return refusal, nil
	}
	conf, refusal := nextConf(a.next.conf, change, a.next.index)
	if refusal != nil {
		return refusal, nil
	}
	a.next.roster, a.next.conf, a.conf = roster, conf, conf
	a.m.effects.conf(conf)
	if err := setConf(a.batch, conf); err != nil {
		return nil, err
	}
	if err := a.writeMember(id); err != nil {
		return nil, err
	}
	return a.changeResponse(change.GetType(), req), nil
}

// writeMember writes what the roster now says of a member.
func (a *application) writeMember(id uint64) error {
	if i, found := a.next.find(id); found {
		return a.setMember(a.next.members[i])
	}
	a.m.effects.memberRemoved(id)
	if err := a.dropAlarms(id); err != nil {
		return err
	}
	if err := a.batch.Delete(keys.Numbered(keys.Members, id)); err != nil {
		return err
	}
	return a.batch.Set(keys.Numbered(keys.Removed, id), nil)
}

// isPromotion tells the promotion of a learner from the addition of a voter,
// which raft calls the same: only an addition brings peer URLs.
func isPromotion(typ raftpb.ConfChangeType, req *pb.Member) bool {
	return typ == raftpb.ConfChangeAddNode && len(req.GetPeerURLs()) == 0
}

// change returns the roster after a change, or why it is refused.
func (r *roster) change(typ raftpb.ConfChangeType, req *pb.Member) (roster, error) {
	id := req.GetID()
	if r.wasRemoved(id) {
		return *r, fmt.Errorf("%w: %x", ErrMemberRemoved, id)
	}
	i, found := r.find(id)
	isPromotion := isPromotion(typ, req)
	isAddition := (typ == raftpb.ConfChangeAddNode || typ == raftpb.ConfChangeAddLearnerNode) && !isPromotion
	switch {
	case isAddition && found:
		return *r, fmt.Errorf("%w: %x", ErrMemberExists, id)
	case (isAddition || typ == raftpb.ConfChangeUpdateNode) && len(req.GetPeerURLs()) == 0:
		return *r, fmt.Errorf("%w: a member needs a peer URL", ErrMemberChangeRefused)
	case !isAddition && !found:
		return *r, fmt.Errorf("%w: %x", ErrMemberNotFound, id)
	case isPromotion && !r.members[i].IsLearner:
		return *r, fmt.Errorf("%w: %x", ErrMemberNotLearner, id)
	case r.usesPeerURL(id, req.GetPeerURLs()):
		return *r, fmt.Errorf("%w: one of %q", ErrPeerURLExists, req.GetPeerURLs())
	case isAddition:
		return r.with(Member{ID: id, Name: req.GetName(), PeerURLs: slices.Clone(req.GetPeerURLs()),
			ClientURLs: slices.Clone(req.GetClientURLs()), IsLearner: typ == raftpb.ConfChangeAddLearnerNode}), nil
	}
	member := r.members[i]
	switch typ {
	case raftpb.ConfChangeAddNode:
		member.IsLearner = false
		return r.with(member), nil
	case raftpb.ConfChangeUpdateNode:
		member.PeerURLs = slices.Clone(req.GetPeerURLs())
		return r.with(member), nil
	case raftpb.ConfChangeRemoveNode:
		return r.without(id), nil
	}
	return *r, fmt.Errorf("%w: unknown type %v", ErrMemberChangeRefused, typ)
}

// nextConf computes the configuration after a change exactly as raft will.
func nextConf(conf *raftpb.ConfState, change *raftpb.ConfChangeSingle, index uint64) (*raftpb.ConfState, error) {
	// Progress is no part of the result; its sizes do not matter.
	t := tracker.MakeProgressTracker(1, 0)
	cfg, progress, err := confchange.Restore(confchange.Changer{Tracker: t, LastIndex: index}, conf)
	if err != nil {
		return nil, fmt.Errorf("%w: the configuration before it: %w", ErrMemberChangeRefused, err)
	}
	t.Config, t.Progress = cfg, progress
	cfg, progress, err = confchange.Changer{Tracker: t, LastIndex: index}.Simple(change)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMemberChangeRefused, err)
	}
	t.Config, t.Progress = cfg, progress
	return t.ConfState(), nil
}

// changeResponse is etcd's response to the change: without a revision.
func (a *application) changeResponse(typ raftpb.ConfChangeType, req *pb.Member) any {
	header, members := &pb.ResponseHeader{}, a.next.toProto()
	switch {
	case typ == raftpb.ConfChangeRemoveNode:
		return &pb.MemberRemoveResponse{Header: header, Members: members}
	case typ == raftpb.ConfChangeUpdateNode:
		return &pb.MemberUpdateResponse{Header: header, Members: members}
	case isPromotion(typ, req):
		return &pb.MemberPromoteResponse{Header: header, Members: members}
	}
	i, _ := a.next.find(req.GetID())
	return &pb.MemberAddResponse{Header: header, Member: a.next.members[i].toProto(), Members: members}
}
