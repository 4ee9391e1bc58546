package sim

import (
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"

	"raftkv/node"
	"raftkv/statemachine"
)

const (
	// changeEvery is the mean time between two decisions of the operator.
	changeEvery = time.Second
	votersMin   = 4
)

// changeMembers is an operator who replaces the members one after the other,
// among the random faults: a machine is started that joins, and when its member
// votes, another one is removed, for good.
func (f *faults) changeMembers() {
	f.s.clock.after(time.Duration(f.rng.ExpFloat64()*float64(changeEvery)), func() {
		if f.s.calm {
			return
		}
		if p := f.leader().process; p != nil && p.core != nil && p.core.Status().Role == node.Leader && p.roster != nil {
			f.changeOnce(p)
		}
		f.changeMembers()
	})
}

func (f *faults) changeOnce(p *process) {
	all := voters(p.roster)
	joining := f.joining(all)
	switch {
	case len(joining) > 0 && f.rng.IntN(20) == 0: // the operator thinks better of it
		f.remove(p, joining[f.rng.IntN(len(joining))].id, func() {})
	case len(all) > votersMin && f.rng.IntN(2) == 0:
		victim := f.victim(all)
		f.remove(p, victim, func() {
			if victim <= Members {
				f.s.report.MembersReplaced++
			}
		})
	case len(joining) < learnersMax:
		h := f.s.addHost(true)
		h.start()
	}
}

// joining are the machines whose members do not vote yet.
func (f *faults) joining(all []statemachine.Member) (out []*host) {
	for _, h := range f.s.hosts {
		if _, votes := find(all, h.id); h.joins && !h.left && !h.refused && !votes {
			out = append(out, h)
		}
	}
	return out
}

// victim is who is to go: a member that will never run again, or one of those
// that founded the cluster, or any.
func (f *faults) victim(all []statemachine.Member) uint64 {
	for _, m := range all {
		if f.s.hosts[m.ID-1].refused {
			return m.ID
		}
	}
	if first := all[0].ID; first <= Members && f.rng.IntN(3) > 0 {
		return first
	}
	return all[f.rng.IntN(len(all))].ID
}

// remove removes a member. A leader hands over first, as a rule.
func (f *faults) remove(p *process, id uint64, done func()) {
	if id == p.host.id && f.rng.IntN(3) > 0 {
		p.now(func() { p.loop(func() { p.core.TransferLeader() }) })
		return
	}
	p.now(func() {
		p.change(raftpb.ConfChangeRemoveNode, &pb.Member{ID: id}, func() {
			f.s.report.MembersRemoved++
			done()
		})
	})
}
