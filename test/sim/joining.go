package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"raftkv/node"
	"raftkv/server/identity"
	"raftkv/statemachine"
	"raftkv/statemachine/envelope"
	"raftkv/wal"
)

// What a member does about its membership, beside raft: as package server.

const (
	joinPause    = 300 * time.Millisecond
	publishPause = 200 * time.Millisecond
	dialPause    = time.Second
	// leaveTime is an election timeout: others may need a member that was removed
	// to learn that its removal is committed.
	leaveTime   = time.Second
	learnersMax = 2
	// A learner is promoted when it holds so much of the log.
	readyFraction = 0.9
)

// addHost makes a machine. A member that founds the cluster is introduced to
// the others by its configuration, one that joins by the cluster.
func (s *simulation) addHost(joins bool) *host {
	rng := s.fork()
	id := uint64(len(s.hosts) + 1)
	drift := 0.95 + 0.1*rng.Float64()
	h := &host{
		s: s, id: id, rng: rng, slowness: 1, joins: joins, tick: time.Duration(drift * float64(100*time.Millisecond)),
		disk: newDisk(s.fork(), wal.Metadata{ClusterID: clusterID, MemberID: id}, s.opts.segmentBytes),
	}
	h.watcher = &watcher{host: h, rng: s.fork(), next: firstRevision, seen: firstRevision - 1}
	if !joins {
		h.disk.introduced = founders()
	}
	s.hosts = append(s.hosts, h)
	return h
}

func founders() (all []statemachine.Member) {
	for id := uint64(1); id <= Members; id++ {
		all = append(all, statemachine.Member{ID: id, PeerURLs: peerURLs(id)})
	}
	return all
}

func peerURLs(id uint64) []string { return []string{fmt.Sprintf("http://member-%d", id)} }

// members is the table of members as this one knows it, a tick old at most; until
// there is one, those that it was introduced to.
func (p *process) members() []statemachine.Member {
	if p.roster != nil {
		return p.roster
	}
	return p.host.disk.introduced
}

// known are the members and those that this one met without finding them in its
// table, which is older than their addition.
func (p *process) known() []statemachine.Member {
	return append(slices.Clone(p.members()), p.strangers...)
}

func find(members []statemachine.Member, id uint64) (m statemachine.Member, found bool) {
	i := slices.IndexFunc(members, func(m statemachine.Member) bool { return m.ID == id })
	if i < 0 {
		return m, false
	}
	return members[i], true
}

func voters(members []statemachine.Member) []statemachine.Member {
	return slices.DeleteFunc(slices.Clone(members), func(m statemachine.Member) bool { return m.IsLearner })
}

// membersChanged looks at the table again.
func (p *process) membersChanged() {
	if p.dead || p.state == nil || !p.state.Initialized() {
		return
	}
	p.roster, p.removed = p.state.Members(), p.state.RemovedMembers()
	for _, id := range p.removed {
		delete(p.host.disk.ledger, id)
	}
	p.strangers = slices.DeleteFunc(p.strangers, func(m statemachine.Member) bool {
		_, found := find(p.roster, m.ID)
		return found || slices.Contains(p.removed, m.ID)
	})
	if slices.Contains(p.removed, p.host.id) && !p.leaving {
		p.leaving = true
		p.after(leaveTime, p.leave)
	}
}

// leave ends a process whose member was removed, for good.
func (p *process) leave() {
	if p.dead {
		return
	}
	p.s.trace.note(p.s.clock.now, "left", p.host.id)
	p.s.report.Left++
	p.host.left = true
	p.host.crash(kill)
}

// admits says whether messages of another process are taken: those of members,
// on the directory that they have published or, until they have, on the first
// one that was met under the id.
func (p *process) admits(from *process) bool {
	s, id := p.s, from.host.id
	if s.opts.Planted == SecondLife {
		return true
	}
	if slices.Contains(p.removed, id) {
		s.clock.after(s.net.way(), func() { from.leave() })
		return false
	}
	switch m, found := find(p.known(), id); {
	case !found:
		p.meet(from)
		return false
	case m.Incarnation == from.incarnation:
		return true
	case m.Incarnation != 0:
		s.clock.after(s.net.way(), func() { from.refuse() })
		return false
	}
	disk := p.host.disk
	ledger := identity.NewLedger(identity.Records{Incarnations: disk.ledger}, func(known identity.Records) error {
		disk.ledger = known.Incarnations
		return nil
	})
	err := ledger.Meet(id, from.incarnation)
	if err == nil {
		return true
	}
	if !errors.Is(err, identity.ErrBootstrapped) {
		s.fail("member %d: %v", p.host.id, err)
	}
	s.clock.after(s.net.way(), func() { from.refuse() })
	return false
}

// refuse ends a process whose member id belongs to another incarnation. It
// exits with an explanation and does not come back.
func (p *process) refuse() {
	if p.dead {
		return
	}
	p.s.trace.note(p.s.clock.now, "refused", p.host.id)
	p.s.report.Refusals++
	p.host.refused = true
	p.host.crash(kill)
}

// askToJoin asks members to be added, until one says that this one is.
func (p *process) askToJoin() {
	s, h := p.s, p.host
	if p.core != nil || h.disk.introduced != nil {
		return
	}
	through := s.anyone(p.rng)
	s.net.carry(h.id, through.id, func(q *process) {
		q.join(p)
		if _, found := find(q.roster, h.id); found {
			introduced := slices.Clone(q.roster)
			s.net.carry(through.id, h.id, func(r *process) {
				if r == p && h.disk.introduced == nil {
					h.disk.introduced = introduced
					p.askAround()
				}
			}, func() {})
		}
	}, func() {})
	p.after(joinPause, p.askToJoin)
}

// meet asks a stranger of the same cluster who the members are, if this one has a
// state: everybody in its table may be gone by now, and the stranger lead.
func (p *process) meet(from *process) {
	if p.roster == nil || p.meeting {
		return
	}
	p.meeting = true
	p.after(joinPause, func() { p.meeting = false })
	id := from.host.id
	p.s.net.carry(p.host.id, id, func(q *process) {
		live := slices.Clone(q.roster)
		p.s.net.carry(id, p.host.id, func(r *process) {
			for _, m := range live {
				if _, found := find(p.known(), m.ID); r == p && !found && !slices.Contains(p.removed, m.ID) {
					p.strangers = append(p.strangers, m)
				}
			}
		}, func() {})
	}, func() {})
}

// dial connects to everybody known, as long as nobody leads: whoever was removed
// hears of it then.
func (p *process) dial() {
	if p.core.Status().Leader == 0 {
		for _, m := range p.known() {
			if m.ID != p.host.id {
				p.s.net.carry(p.host.id, m.ID, func(q *process) { q.admits(p) }, func() {})
			}
		}
	}
	p.after(dialPause, p.dial)
}

// stayIntroduced keeps asking who the members are while this one has no state:
// a leader that joined later has to be known to bring it.
func (p *process) stayIntroduced() {
	if p.roster != nil {
		return
	}
	h, known := p.host, p.host.disk.introduced
	if through := known[p.rng.IntN(len(known))].ID; through != h.id {
		p.s.net.carry(h.id, through, func(q *process) {
			q.admits(p) // who was removed hears of it whenever it dials
			live := slices.Clone(q.roster)
			p.s.net.carry(through, h.id, func(r *process) {
				for _, m := range live {
					if _, found := find(h.disk.introduced, m.ID); r == p && !found {
						h.disk.introduced = append(h.disk.introduced, m)
					}
				}
			}, func() {})
		}, func() {})
	}
	p.after(joinPause, p.stayIntroduced)
}

// join adds a member that asked for it, or has the leader do it.
func (p *process) join(from *process) {
	if slices.Contains(p.removed, from.host.id) {
		p.s.clock.after(p.s.net.way(), func() { from.leave() })
		return
	}
	learners := len(p.roster) - len(voters(p.roster))
	if _, found := find(p.roster, from.host.id); p.core == nil || p.roster == nil || found || learners >= learnersMax {
		return
	}
	id := from.host.id
	p.toLeader(func(q *process) {
		q.change(raftpb.ConfChangeAddLearnerNode, &pb.Member{ID: id, PeerURLs: peerURLs(id)}, func() { q.s.report.MembersAdded++ })
	})
}

// toLeader does something where this member believes the leader to be.
func (p *process) toLeader(do func(*process)) {
	st := p.core.Status()
	switch {
	case st.Role == node.Leader:
		do(p)
	case st.Leader != 0:
		p.s.net.carry(p.host.id, st.Leader, func(q *process) {
			if q.admits(p) && q.core != nil && q.core.Status().Role == node.Leader {
				do(q)
			}
		}, func() {})
	}
}

// seekPromotion asks the leader to make this learner a voter, until it is one.
func (p *process) seekPromotion() {
	m, found := find(p.roster, p.host.id)
	if found && !m.IsLearner {
		return
	}
	if found && m.Incarnation == p.incarnation {
		id := p.host.id
		p.toLeader(func(q *process) {
			if q.mayPromote(id) {
				q.change(raftpb.ConfChangeAddNode, &pb.Member{ID: id}, func() { q.s.report.MembersPromoted++ })
			}
		})
	}
	p.after(joinPause, p.seekPromotion)
}

// mayPromote says whether this leader takes a learner for ready.
func (p *process) mayPromote(id uint64) bool {
	var learner, own node.Progress
	for _, pr := range p.core.Progress() {
		switch pr.ID {
		case id:
			learner = pr
		case p.host.id:
			own = pr
		}
	}
	return learner.Learner && learner.Active && !learner.Snapshot && float64(learner.Match) >= readyFraction*float64(own.Match)
}

// publish tells the cluster which directory this member runs on, until the
// table says so.
func (p *process) publish() {
	m, found := find(p.roster, p.host.id)
	if found && m.Incarnation == p.incarnation {
		return
	}
	if found {
		body, err := envelope.PublishMember{ID: p.host.id, Name: fmt.Sprintf("member-%d", p.host.id), Incarnation: p.incarnation}.Encode()
		if err != nil {
			p.s.fail("member %d: publish: %v", p.host.id, err)
			return
		}
		p.propose(envelope.KindPublishMember, body, publishPause, func(r node.Result) {
			if errors.Is(r.Err, statemachine.ErrOtherIncarnation) {
				p.refuse()
			}
		})
	}
	p.after(publishPause, p.publish)
}

// propose proposes a command of the member's own, and gives up waiting after a
// while.
func (p *process) propose(kind envelope.Kind, body []byte, patience time.Duration, done func(node.Result)) {
	p.proposeCommand(envelope.EncodeCommand(envelope.Command{Kind: kind, Body: body}), patience, done)
}

func (p *process) proposeCommand(command []byte, patience time.Duration, done func(node.Result)) {
	pending, err := p.core.Propose(command)
	if err != nil {
		done(node.Result{Err: err})
		return
	}
	e := &errand{pending: pending, done: done}
	p.errands = append(p.errands, e)
	p.after(patience, func() {
		if e.done != nil {
			r := p.core.Abandon(pending)
			e.finish(r)
		}
	})
	p.loop(func() {})
}

// errand is a proposal or a read of a member's own.
type errand struct {
	pending *node.Pending // or:
	round   *node.ReadRound
	done    func(node.Result) // nil: it was called
}

func (e *errand) finish(r node.Result) {
	if refusal, ok := r.Value.(error); ok && r.Err == nil {
		r.Err = refusal
	}
	done := e.done
	e.done = nil
	done(r)
}

// answered returns the result, if there is one.
func (e *errand) answered() (r node.Result, ok bool) {
	if e.round != nil {
		select {
		case <-e.round.Done():
			return node.Result{Err: e.round.Err()}, true
		default:
			return r, false
		}
	}
	select {
	case r = <-e.pending.Done():
		return r, true
	default:
		return r, false
	}
}

// runErrands looks which errands of the member's own were answered.
func (p *process) runErrands() {
	for i := 0; i < len(p.errands) && !p.dead; {
		e := p.errands[i]
		if e.done != nil {
			r, ok := e.answered()
			if !ok {
				i++
				continue
			}
			p.errands = slices.Delete(p.errands, i, i+1)
			e.finish(r)
			continue
		}
		p.errands = slices.Delete(p.errands, i, i+1)
	}
}

// change has this leader change the members; done is called when it was applied.
func (p *process) change(typ raftpb.ConfChangeType, member *pb.Member, done func()) {
	body, err := proto.Marshal(member)
	if err != nil {
		p.s.fail("encode a member: %v", err)
		return
	}
	command := envelope.EncodeCommand(envelope.Command{Kind: envelope.KindMemberChange, Body: body})
	change, err := p.core.ProposeChange(&raftpb.ConfChangeSingle{Type: typ.Enum(), NodeId: new(member.GetID())}, command)
	if err != nil {
		return // the last one is not settled
	}
	p.s.trace.note(p.s.clock.now, "change "+typ.String(), p.host.id, member.GetID())
	p.loop(func() {})
	p.await(change, done, 50)
}

// await waits for a change, and abandons it after a while.
func (p *process) await(change *node.Change, done func(), looks int) {
	p.s.clock.after(100*time.Millisecond, func() {
		select {
		case r := <-change.Done():
			if r.Err == nil {
				done()
			}
			return
		default:
		}
		switch {
		case p.dead:
		case looks > 0:
			p.await(change, done, looks-1)
		default:
			p.core.AbandonChange(change)
		}
	})
}

// anyone returns a machine on which a member may run.
func (s *simulation) anyone(rng *rand.Rand) *host {
	for {
		if h := s.hosts[rng.IntN(len(s.hosts))]; !h.left {
			return h
		}
	}
}
