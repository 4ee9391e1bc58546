package node

import (
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
)

// Output processes everything that has become ready and returns what is to be
// done now. The caller owns it.
func (c *Core) Output() Output {
	c.letGo()
	c.proposeChange()
	c.pump()
	// Rounds of reads that end make room for those that joined meanwhile.
	for c.collect() {
		c.pump()
	}
	c.observe()
	c.followLeader()
	c.confirming.ticked = false
	c.countHolders()
	c.scheduleCommits()
	if c.flushDue(c.flushes.log) && !c.flushes.underWay {
		c.out.Flush, c.out.FlushedEnough = true, c.flushes.begin(c.applied)
	}
	out := c.out
	c.out = Output{}
	return out
}

// pump proposes what waits, as far as the window and the log allow, and starts
// rounds of reads. Without a leader both keep waiting.
func (c *Core) pump() {
	basic := c.rn.BasicStatus()
	leads := basic.RaftState == raft.StateLeader
	if !leads {
		c.gathered.begin(0)
	}
	switch {
	case basic.Lead == raft.None:
		return
	case leads:
		c.propose(basic)
	default:
		c.forward(basic)
	}
	for {
		context := c.reads.start(c.tick, basic.GetTerm(), c.leased())
		if context == nil {
			break
		}
		c.readIndex(context)
	}
	c.reads.release(c.applied) // those that a lease has confirmed
}

// forward gives this member's batches to the leader.
func (c *Core) forward(status raft.BasicStatus) {
	for c.writeBytes < c.cfg.WriteBytesMax {
		b := c.proposals.take()
		if b == nil {
			return
		}
		c.hand(b, status.Lead, status.GetTerm())
	}
}

// hand gives a batch to the leader: by a forward, or, again, by a proposal here.
// A proposal that raft drops (a transfer is under way, too much is uncommitted)
// is handed on again later, as is a forward that got lost: the state machine
// applies a batch once however often it is in the log.
func (c *Core) hand(b *batch, leader, term uint64) {
	b.sentTo, b.sentTerm, b.sentTick = leader, term, c.tick
	if leader != c.cfg.ID {
		c.out.Forwards = append(c.out.Forwards, Forward{To: leader, Batch: b.data})
		return
	}
	if err := c.rn.Propose(b.data); err != nil {
		b.sentTerm = 0
	}
}

// followLeader hands unresolved batches and unconfirmed reads to a leader that
// is new since the last call: what was sent to its predecessor may be lost.
func (c *Core) followLeader() {
	leader, term := c.status.Leader, c.status.Term
	if leader == raft.None || (leader == c.resendTo && term == c.resendTerm) {
		return
	}
	c.resendTo, c.resendTerm = leader, term
	for _, b := range c.proposals.unresolved() {
		if b.sentTo != leader || b.sentTerm != term {
			c.hand(b, leader, term)
		}
	}
	c.retryReads(term)
	c.pump()
	c.collect()
}

// collect drains raft's Ready into the output and reports whether rounds of
// reads ended.
func (c *Core) collect() (ended bool) {
	for c.rn.HasReady() {
		rd := c.rn.Ready()
		var stands candidacy
		for _, m := range rd.Messages {
			switch to := m.GetTo(); {
			case stands.keep(m):
			case to == raft.LocalAppendThread:
				stands.join(m)
				c.append(m)
			case to == raft.LocalApplyThread:
				c.apply(m)
			default:
				c.send(m)
			}
		}
		for _, rs := range rd.ReadStates {
			c.answerReads(c.reads.confirmed(rs.RequestCtx, rs.Index), rs.Index)
		}
		if len(rd.ReadStates) > 0 {
			ended = c.reads.release(c.applied) || ended
		}
	}
	return ended
}

// answerReads tells followers that asked what their reads have to wait for. One
// that lost its leadership meanwhile tells nothing: they ask its successor.
func (c *Core) answerReads(requests []readRequest, index uint64) {
	basic := c.rn.BasicStatus()
	if basic.RaftState != raft.StateLeader {
		return
	}
	for _, r := range requests {
		c.send(&raftpb.Message{
			Type: raftpb.MsgReadIndexResp.Enum(), From: new(c.cfg.ID), To: new(r.from), Term: new(basic.GetTerm()),
			Index: new(index), Entries: []*raftpb.Entry{{Data: r.context}},
		})
	}
}

// append turns a MsgStorageAppend into a write. One that carries a snapshot is
// held back, with all that follow it, until the applier has installed it: the
// log is reset only behind a state machine that holds the snapshot durably.
func (c *Core) append(m *raftpb.Message) {
	switch {
	case c.installing != nil:
		c.held = append(c.held, m)
	case !raft.IsEmptySnap(m.GetSnapshot()):
		c.installing = m
		c.out.Applies = append(c.out.Applies, Apply{Install: m.GetSnapshot()})
	default:
		c.write(m, nil)
	}
}

func (c *Core) write(m *raftpb.Message, reset *raftpb.SnapshotMetadata) {
	w := Write{Entries: m.GetEntries(), Reset: reset}
	if m.Term != nil || m.Vote != nil || m.Commit != nil {
		// A fresh value: etcd's WAL keeps the pointer for its next comparison.
		w.HardState = &raftpb.HardState{Term: new(m.GetTerm()), Vote: new(m.GetVote()), Commit: new(m.GetCommit())}
	}
	if len(w.Entries) > 0 {
		c.commits.appends++
	}
	c.noteChange(w.Entries)
	bytes := w.Bytes()
	c.disk.handed(bytes)
	c.writeBytes += bytes
	c.countLog(w.Entries, bytes)
	c.backlog.written(w.Entries, bytes)
	w.Responses = c.holdBack(m.GetResponses())
	c.gathered.appended(w.Entries)
	if w.HardState == nil && w.Reset == nil && len(w.Entries)+len(w.Responses) == 0 {
		return // an acknowledgement that is held back was all there was
	}
	c.put(w)
}

// Bytes is the size of the entries.
func (w *Write) Bytes() int {
	n := 0
	for _, e := range w.Entries {
		n += len(e.GetData())
	}
	return n
}

// installed continues after the applier has installed a snapshot.
func (c *Core) installed(s *raftpb.Snapshot) {
	m := c.installing
	c.installing = nil
	c.applied = s.GetMetadata().GetIndex()
	c.noteConf(s.GetMetadata().GetConfState())
	c.proposals.failInflight()
	c.changes.finish(Result{Err: ErrUnknownOutcome}, taken)
	c.write(m, s.GetMetadata())
	held := c.held
	c.held = nil
	for _, m := range held {
		c.append(m)
	}
	c.reads.release(c.applied)
}

// apply splits committed entries so that a configuration change ends its task.
func (c *Core) apply(m *raftpb.Message) {
	entries := m.GetEntries()
	for start, i := 0, 0; i < len(entries); i++ {
		if last := i == len(entries)-1; last || isConfChange(entries[i]) {
			task := Apply{Entries: entries[start : i+1]}
			if last {
				task.Responses = m.GetResponses()
			}
			c.out.Applies = append(c.out.Applies, task)
			start = i + 1
		}
	}
}

// eachVoter visits the voters of a leader; active: see live.
func (c *Core) eachVoter(f func(id, match uint64, active bool)) {
	c.rn.WithProgress(func(id uint64, typ raft.ProgressType, pr tracker.Progress) {
		if typ == raft.ProgressTypePeer {
			f(id, pr.Match, c.live(id, pr))
		}
	})
}
