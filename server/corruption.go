package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftkv/node"
	"raftkv/rpc/peer/peerpb"
	"raftkv/server/corruption"
	"raftkv/statemachine"
	"raftkv/statemachine/envelope"
)

// hashWait is how long a member waits for a revision that it is asked to hash and
// does not have yet: writes go on meanwhile, and followers are a little behind.
const hashWait = 3 * time.Second

func (s *Server) newChecker() *corruption.Checker {
	return corruption.New(corruption.Config{
		Interval: s.cfg.CorruptCheckInterval, CompactionInterval: s.cfg.CompactHashCheckInterval,
		Logger: s.cfg.Logger.Named("corruption"),
	}, checkedMember{s})
}

// checkInitially compares a member that has been here before with the others,
// before it takes part.
func (s *Server) checkInitially() error {
	if !s.cfg.InitialCorruptCheck || !s.rooms.machine.Initialized() {
		return nil
	}
	return s.checker.Initial(s.ctx)
}

// checkedMember is this member as its checker sees it.
type checkedMember struct{ s *Server }

func (m checkedMember) ID() uint64 { return m.s.memberID }

func (m checkedMember) Leads() bool { return m.s.status().Role == node.Leader }

func (m checkedMember) Peers() (all []uint64) {
	for _, member := range m.s.rooms.machine.Members() {
		if member.ID != m.s.memberID {
			all = append(all, member.ID)
		}
	}
	return all
}

func (m checkedMember) HashKV(ctx context.Context, revision int64) (statemachine.KVHash, error) {
	return m.s.hashSlowly(ctx, revision)
}

func (m checkedMember) CompactionHashes() []statemachine.KVHash {
	return m.s.rooms.machine.CompactionHashes()
}

func (m checkedMember) AskHash(ctx context.Context, member uint64, revision int64) (statemachine.KVHash, error) {
	r, err := m.s.transport.AskHash(ctx, member, revision)
	switch status.Code(err) {
	case codes.OK:
		return statemachine.KVHash{Hash: r.GetHash(), CompactRevision: r.GetCompactRevision(), HashRevision: r.GetHashRevision(), Revision: r.GetRevision()}, nil
	case codes.DataLoss:
		err = fmt.Errorf("%w: %w", statemachine.ErrCorrupt, err)
	}
	return statemachine.KVHash{}, err
}

func (m checkedMember) Confirm(ctx context.Context) error { return backend(m).ReadIndex(ctx) }
func (m checkedMember) Revision() int64                   { return m.s.rooms.machine.Revision() }
func (m checkedMember) CompactedRevision() int64          { return m.s.rooms.machine.CompactedRevision() }

func (m checkedMember) SetCorrupt(ctx context.Context, id uint64) error {
	known := slices.ContainsFunc(m.s.rooms.machine.Alarms(pb.AlarmType_CORRUPT), func(a *pb.AlarmMember) bool { return a.GetMemberID() == id })
	if known {
		return nil
	}
	return upkeepMember(m).propose(ctx, envelope.KindAlarm,
		&pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: id, Alarm: pb.AlarmType_CORRUPT})
}

// hashSlowly hashes the key space and rests as long as it works.
func (s *Server) hashSlowly(ctx context.Context, revision int64) (statemachine.KVHash, error) {
	return s.rooms.machine.HashKVSlowly(ctx, revision, func(worked time.Duration) error { return pause(ctx, worked) })
}

// hashes answers other members.
type hashes struct{ s *Server }

// AnswerHash implements peer.Hashes.
func (h hashes) AnswerHash(ctx context.Context, revision int64, response *peerpb.HashResponse) error {
	h.awaitRevision(ctx, revision)
	hash, err := h.s.hashSlowly(ctx, revision)
	switch {
	case err == nil:
		response.Hash, response.CompactRevision, response.HashRevision, response.Revision = hash.Hash, hash.CompactRevision, hash.HashRevision, hash.Revision
		return nil
	case errors.Is(err, statemachine.ErrCorrupt):
		return status.Error(codes.DataLoss, err.Error())
	case errors.Is(err, statemachine.ErrCompacted), errors.Is(err, statemachine.ErrFutureRevision):
		return status.Error(codes.OutOfRange, err.Error())
	}
	return status.Error(codes.Unavailable, err.Error())
}

func (h hashes) awaitRevision(ctx context.Context, revision int64) {
	ctx, cancel := context.WithTimeout(ctx, hashWait)
	defer cancel()
	for h.s.rooms.machine.Revision() < revision && pause(ctx, changePause/5) == nil {
	}
}
