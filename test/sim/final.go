package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/anishathalye/porcupine"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"raftkv/test/linear"
)

// survivors are the processes that have to agree in the end: all but those of
// members that were refused or removed.
func (s *simulation) survivors() []*process {
	var all []*process
	for _, h := range s.hosts {
		gone := h.lost && (h.process == nil || h.process.core == nil)
		if !h.refused && !h.left && !gone && !s.forgotten(h) {
			all = append(all, h.process)
		}
	}
	return all
}

// forgotten says whether a member was removed while it was away, and everybody
// that it knew has left since: nobody dials it, and nobody it dials answers.
func (s *simulation) forgotten(h *host) bool {
	p := h.process
	if p == nil {
		return false
	}
	for _, m := range p.known() {
		if q := s.hosts[m.ID-1].process; m.ID != h.id && q != nil && !s.outcast(q.host) {
			return false
		}
	}
	return s.outcast(h)
}

// outcast says whether somebody knows that a member was removed.
func (s *simulation) outcast(h *host) bool {
	return slices.ContainsFunc(s.hosts, func(other *host) bool {
		return other.process != nil && slices.Contains(other.process.removed, h.id)
	})
}

// agreed says whether every survivor has applied all that is committed, and no
// client waits any more.
func (s *simulation) agreed() bool {
	var index uint64
	for i, p := range s.survivors() {
		if p == nil || p.core == nil {
			return false
		}
		if !p.serves() {
			return false // it is to be promoted
		}
		st := p.core.Status()
		if i == 0 {
			index = st.Applied
		}
		if st.Applied != index || st.Commit != index || st.Leader == 0 || len(p.calls) > 0 || p.host.watcher.seen < p.state.Revision() {
			return false
		}
	}
	for _, op := range s.history.ops {
		if op.Outcome == linear.Pending {
			return false
		}
	}
	return s.sessionsSettled() && len(s.leases.gone) == len(s.leases.until) // nobody renews them any more
}

func (s *simulation) positions() string {
	var b strings.Builder
	for _, h := range s.hosts {
		switch p := h.process; {
		case h.left:
			fmt.Fprintf(&b, "%d left; ", h.id)
		case h.refused:
			fmt.Fprintf(&b, "%d refused; ", h.id)
		case p == nil || p.core == nil:
			fmt.Fprintf(&b, "%d down; ", h.id)
		default:
			fmt.Fprintf(&b, "%+v; ", p.core.Status())
		}
	}
	return b.String()
}

// conclude checks the run as a whole.
func (s *simulation) conclude() {
	s.count()
	s.concluded = true
	s.report.FinalRevision = s.record.last()
	for _, p := range s.survivors() {
		if s.violation != nil {
			return
		}
		s.compare(p)
	}
	s.replay()
	s.acknowledged()
	s.exactlyOnce()
	if s.violation != nil {
		return
	}
	switch result := s.history.linearizable(porcupineLimit); result {
	case porcupine.Ok:
	case porcupine.Unknown:
		s.fail("Porcupine could not decide the history within %s", porcupineLimit)
	default:
		s.fail("the history is not linearizable (%s)", result)
	}
}

func (s *simulation) count() {
	for _, op := range s.history.ops {
		switch {
		case op.Outcome == linear.Unknown:
			s.report.Unknown++
		case op.Outcome != linear.Done:
		case op.Kind == linear.Read:
			s.report.Reads++
		default:
			s.report.Acknowledged++
		}
	}
}

// compare checks one member's state against the first one's.
func (s *simulation) compare(p *process) {
	first := s.survivors()[0]
	want, err := first.state.StateHash()
	if err != nil {
		s.fail("member %d: hash: %v", first.host.id, err)
		return
	}
	if got, err := p.state.StateHash(); err != nil || got != want {
		s.fail("member %d ends with state %x, member %d with %x (%v)", p.host.id, got, first.host.id, want, err)
		return
	}
	if p.state.Revision() != s.record.last() {
		s.fail("member %d ends at revision %d, the watchers were told of %d", p.host.id, p.state.Revision(), s.record.last())
	}
}

// replay compares what the watchers were told with the state of the first
// member: what it holds now and what it has kept of its history. All others
// have the same.
func (s *simulation) replay() {
	m := s.survivors()[0].state
	held := map[string]change{}
	for revision := int64(firstRevision); revision <= s.record.last(); revision++ {
		for _, c := range s.record.at(revision) {
			if held[c.key] = c; c.deleted {
				delete(held, c.key)
			}
		}
	}
	resp, err := m.Range(context.Background(), &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}})
	if err != nil || len(resp.GetKvs()) != len(held) {
		s.fail("the state has %d keys, from what the watchers were told there are %d (%v)", len(resp.GetKvs()), len(held), err)
		return
	}
	for _, kv := range resp.GetKvs() {
		got := change{key: string(kv.GetKey()), value: string(kv.GetValue()), create: kv.GetCreateRevision(), version: kv.GetVersion(), lease: kv.GetLease()}
		if held[got.key] != got {
			s.fail("the state has %+v, the watchers were told %+v", got, held[got.key])
			return
		}
	}
	again := watcher{host: s.survivors()[0].host, rng: rand.New(rand.NewPCG(s.opts.Seed, 3)), next: firstRevision, seen: firstRevision - 1}
	again.catchUp(s.survivors()[0])
}

// acknowledged checks that what clients were told to be written is what the
// watchers were told.
func (s *simulation) acknowledged() {
	for _, op := range s.history.ops {
		if op.Outcome != linear.Done || !op.Wrote() {
			continue
		}
		changes := s.record.at(op.Revision)
		if len(changes) != 1 || changes[0].key != op.Key || changes[0].deleted || !strings.HasSuffix(changes[0].value, op.Value) {
			s.fail("the cluster lost an acknowledged write: %v: revision %d is %.80v", op, op.Revision, fmt.Sprint(changes))
			return
		}
	}
}

// exactlyOnce checks that each revision is the write of one operation that can
// have happened, and none of two: values are unique.
func (s *simulation) exactlyOnce() {
	type name struct{ key, value string }
	ops := map[name]*operation{}
	for _, op := range s.history.ops {
		if op.Kind != linear.Read {
			ops[name{op.Key, lastPiece(op.Value)}] = op
		}
	}
	seen := map[*operation]int64{}
	written, attached, last := map[string]bool{}, map[string]int64{}, map[string]int64{}
	for rev := int64(firstRevision); rev <= s.record.last(); rev++ {
		changes := s.record.at(rev)
		if ofLease(changes) {
			s.leaseWrite(rev, changes, written, attached)
			continue
		}
		if ofSession(changes) {
			s.sessionWrite(rev, changes, last)
			continue
		}
		if len(changes) != 1 {
			s.fail("revision %d has %d changes", rev, len(changes))
			return
		}
		c := changes[0]
		op := ops[name{c.key, lastPiece(c.value)}]
		switch before, twice := seen[op]; {
		case op == nil:
			s.fail("revision %d wrote %s = %.40q, which nobody asked for", rev, c.key, c.value)
		case twice:
			s.fail("%v was applied twice, at revisions %d and %d", op, before, rev)
		case op.Outcome == linear.NotApplied:
			s.fail("%v was applied at revision %d, the client was told that it was not", op, rev)
		case op.Outcome == linear.Done && op.Revision != rev:
			s.fail("%v was applied at revision %d", op, rev)
		}
		seen[op] = rev
	}
	s.sessionsEnd(last)
	if len(attached) > 0 {
		s.fail("all leases are gone, their keys are not: %v", attached)
	}
}

// lastPiece is the name of the operation that wrote a value last. Values are
// names, "client.number;" each, one behind the other as they were appended, and
// a put pads its own.
func lastPiece(value string) string {
	pieces := strings.Split(strings.TrimRight(value, padding), ";")
	if len(pieces) < 2 {
		return ""
	}
	return strings.TrimLeft(pieces[len(pieces)-2], padding)
}
