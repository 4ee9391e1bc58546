package server

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"raftkv/node"
	"raftkv/rpc/peer/peerpb"
	"raftkv/statemachine"
	"raftkv/statemachine/envelope"
)

// Kinds of changes, shorter.
const (
	changeAdd        = peerpb.MemberChange_KIND_ADD
	changeAddLearner = peerpb.MemberChange_KIND_ADD_LEARNER
	changePromote    = peerpb.MemberChange_KIND_PROMOTE
	changeRemove     = peerpb.MemberChange_KIND_REMOVE
	changeUpdate     = peerpb.MemberChange_KIND_UPDATE
)

// changePause is the time between two attempts to find a leader that takes a
// change.
const changePause = 50 * time.Millisecond

// changeMembers has the leader change the members, wherever it is, and returns
// when this member has applied the change, too. Errors are gRPC statuses.
func (s *Server) changeMembers(ctx context.Context, change *peerpb.MemberChange) error {
	n := s.node.Load()
	if n == nil {
		return rpctypes.ErrGRPCNoLeader
	}
	for {
		index, err := s.askLeader(ctx, n, change)
		if err == nil {
			return s.awaitApplied(ctx, n, index)
		}
		if !notApplied(err) {
			return err
		}
		if pause(ctx, changePause) != nil {
			return err
		}
	}
}

// notApplied recognises the answers after which a change may be asked for again:
// nothing was proposed, or what was proposed is lost.
func notApplied(err error) bool {
	switch rpctypes.ErrorDesc(err) {
	case rpctypes.ErrorDesc(rpctypes.ErrGRPCNotLeader), rpctypes.ErrorDesc(rpctypes.ErrGRPCLeaderChanged),
		rpctypes.ErrorDesc(rpctypes.ErrGRPCNoLeader):
		return true
	}
	return false
}

func (s *Server) askLeader(ctx context.Context, n *node.Node, change *peerpb.MemberChange) (index uint64, err error) {
	st := n.Status()
	switch {
	case st.Role == node.Leader:
		return reconfiguration{s}.Change(ctx, change)
	case st.Leader == 0:
		return 0, rpctypes.ErrGRPCNoLeader
	}
	index, err = s.transport.Change(ctx, st.Leader, change)
	switch status.Code(err) {
	case codes.Unavailable, codes.Canceled, codes.DeadlineExceeded:
		// Whether it got there is not known, unless the leader said so itself.
		if !notApplied(err) {
			s.cfg.Logger.Warn("the leader did not answer whether it changed the members", zap.Error(err))
			return 0, rpctypes.ErrGRPCTimeout
		}
	}
	return index, err
}

// awaitApplied waits until this member has applied an index, so that what it
// answers from its own table shows the change.
func (s *Server) awaitApplied(ctx context.Context, n *node.Node, index uint64) error {
	for {
		if applied, _ := s.rooms.machine.Applied(); applied >= index {
			return nil
		}
		if s.removed() {
			return nil // it hears of nothing any more
		}
		select {
		case <-n.Done():
			return rpctypes.ErrGRPCStopped
		default:
		}
		if pause(ctx, changePause/10) != nil {
			return rpctypes.ErrGRPCTimeout
		}
	}
}

// reconfiguration answers other members.
type reconfiguration struct{ s *Server }

// Change changes the members if this member leads. Changes wait for each other.
func (r reconfiguration) Change(ctx context.Context, change *peerpb.MemberChange) (uint64, error) {
	s, n := r.s, r.s.node.Load()
	if n == nil {
		return 0, rpctypes.ErrGRPCNotLeader
	}
	select {
	case s.changing <- struct{}{}:
		defer func() { <-s.changing }()
	case <-ctx.Done():
		return 0, rpctypes.ErrGRPCTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.requestTimeout())
	defer cancel()
	if err := s.mayChange(ctx, n, change); err != nil {
		return 0, err
	}
	single, command, err := encodeChange(change)
	if err != nil {
		return 0, err
	}
	_, index, err := n.ChangeMembers(ctx, single, command)
	if err != nil {
		return 0, s.table.GRPC(err)
	}
	s.cfg.Logger.Info("changed the members", zap.Stringer("change", change.GetKind()),
		zap.String("member", fmt.Sprintf("%x", change.GetMemberId())), zap.Strings("peer-urls", change.GetPeerUrls()), zap.Uint64("index", index))
	return index, nil
}

// mayChange refuses what only the leader can judge.
func (s *Server) mayChange(ctx context.Context, n *node.Node, change *peerpb.MemberChange) error {
	members, id := s.rooms.machine.Members(), change.GetMemberId()
	switch change.GetKind() {
	case changeAddLearner:
		if learners := len(members) - len(voters(members)); learners >= s.cfg.MaxLearners {
			return rpctypes.ErrGRPCTooManyLearners
		}
	case changePromote:
		return s.mayPromote(ctx, n, id)
	case changeRemove:
		if v := voters(members); len(v) == 1 && v[0].ID == id {
			return errLastVoter
		}
		if id == s.memberID {
			return s.leaveFirst(ctx, n)
		}
	}
	return nil
}

// errLastVoter refuses what no cluster survives, forced or not.
var errLastVoter = status.Error(codes.FailedPrecondition, "raftkv: the last voting member cannot be removed; to end the cluster, stop it")

// leaveFirst moves leadership away from a leader that is to be removed, and
// has the change asked of its successor: the others do not wait for an election
// then. If nobody takes over in time the leader removes itself.
func (s *Server) leaveFirst(ctx context.Context, n *node.Node) error {
	ctx, cancel := context.WithTimeout(ctx, handOverTime)
	defer cancel()
	if err := n.HandOver(ctx); err != nil {
		s.cfg.Logger.Warn("this member is to be removed and could not hand leadership over before", zap.Error(err))
		return nil
	}
	return rpctypes.ErrGRPCNotLeader
}

// A learner is ready to vote when it holds most of the log, as in etcd, and
// little is missing: until it has that, every write needs all the other voters.
const (
	readyFraction   = 0.9
	readyLagEntries = 5000
)

func (s *Server) mayPromote(ctx context.Context, n *node.Node, id uint64) error {
	progress, err := n.Progress(ctx)
	if err != nil {
		return s.table.GRPC(err)
	}
	var learner, own *node.Progress
	for i := range progress {
		if progress[i].ID == id {
			learner = &progress[i]
		}
		if progress[i].ID == s.memberID {
			own = &progress[i]
		}
	}
	switch {
	case learner == nil || own == nil:
		return rpctypes.ErrGRPCMemberNotFound
	case !learner.Learner:
		return rpctypes.ErrGRPCMemberNotLearner
	case !learner.Active, learner.Snapshot,
		float64(learner.Match) < readyFraction*float64(own.Match), own.Match-min(own.Match, learner.Match) > readyLagEntries:
		return rpctypes.ErrGRPCLearnerNotReady
	case !s.cfg.LaxReconfigCheck && !majority(started(voters(s.rooms.machine.Members()))+1, len(voters(s.rooms.machine.Members()))+1):
		return rpctypes.ErrGRPCMemberNotEnoughStarted
	}
	return nil
}

// encodeChange writes a change as raft and the state machine read it.
func encodeChange(change *peerpb.MemberChange) (*raftpb.ConfChangeSingle, []byte, error) {
	types := map[peerpb.MemberChange_Kind]raftpb.ConfChangeType{
		changeAdd: raftpb.ConfChangeAddNode, changePromote: raftpb.ConfChangeAddNode,
		changeAddLearner: raftpb.ConfChangeAddLearnerNode, changeRemove: raftpb.ConfChangeRemoveNode, changeUpdate: raftpb.ConfChangeUpdateNode,
	}
	typ, known := types[change.GetKind()]
	if !known || change.GetMemberId() == 0 {
		return nil, nil, status.Errorf(codes.InvalidArgument, "raftkv: unknown change %v of member %x", change.GetKind(), change.GetMemberId())
	}
	body, err := proto.Marshal(&pb.Member{ID: change.GetMemberId(), PeerURLs: change.GetPeerUrls()})
	if err != nil {
		return nil, nil, status.Error(codes.InvalidArgument, err.Error())
	}
	command := envelope.EncodeCommand(envelope.Command{Kind: envelope.KindMemberChange, Body: body})
	return &raftpb.ConfChangeSingle{Type: typ.Enum(), NodeId: new(change.GetMemberId())}, command, nil
}

// Cluster describes the cluster to a member to be.
func (r reconfiguration) Cluster() (*peerpb.ClusterResponse, error) {
	if !r.s.rooms.machine.Initialized() {
		return nil, errors.New("this member is itself still joining")
	}
	resp := &peerpb.ClusterResponse{
		ClusterId: r.s.clusterID, MemberId: r.s.memberID, ClusterVersion: uint32(r.s.rooms.machine.ClusterVersion()),
	}
	for _, m := range r.s.rooms.machine.Members() {
		resp.Members = append(resp.Members, &peerpb.ClusterMember{
			Id: m.ID, Name: m.Name, PeerUrls: m.PeerURLs, ClientUrls: m.ClientURLs, Learner: m.IsLearner,
		})
	}
	return resp, nil
}

func voters(members []statemachine.Member) []statemachine.Member {
	return slices.DeleteFunc(slices.Clone(members), func(m statemachine.Member) bool { return m.IsLearner })
}

// started counts the members that have told the cluster their name.
func started(members []statemachine.Member) (n int) {
	for _, m := range members {
		if m.Name != "" {
			n++
		}
	}
	return n
}

func majority(n, of int) bool { return n >= of/2+1 }

// newMemberID returns an id that no member has or had. The state machine
// refuses one that was taken meanwhile.
func (s *Server) newMemberID() uint64 {
	for {
		id := rand.Uint64()
		if id != 0 && !slices.Contains(s.rooms.machine.RemovedMembers(), id) &&
			!slices.ContainsFunc(s.rooms.machine.Members(), func(m statemachine.Member) bool { return m.ID == id }) {
			return id
		}
	}
}
