package sim

import (
	"context"
	"fmt"
	"strings"

	"github.com/anishathalye/porcupine"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"raftkv/statemachine"
)

// survivors are the processes that have to agree in the end: all but members
// that were refused.
func (s *simulation) survivors() []*process {
	var all []*process
	for _, h := range s.hosts {
		if !h.refused {
			all = append(all, h.process)
		}
	}
	return all
}

// agreed says whether every survivor has applied all that is committed, and no
// client waits any more.
func (s *simulation) agreed() bool {
	var index uint64
	for i, p := range s.survivors() {
		if p == nil || p.core == nil {
			return false
		}
		st := p.core.Status()
		if i == 0 {
			index = st.Applied
		}
		if st.Applied != index || st.Commit != index || st.Leader == 0 || len(p.calls) > 0 {
			return false
		}
	}
	for _, op := range s.history.ops {
		if op.outcome == outcomePending {
			return false
		}
	}
	return true
}

func (s *simulation) positions() string {
	var b strings.Builder
	for _, h := range s.hosts {
		switch p := h.process; {
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
	written := s.revisions()
	for _, p := range s.survivors() {
		if s.violation != nil {
			return
		}
		s.compare(p, written)
	}
	s.exactlyOnce(written)
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
		case op.outcome == outcomeUnknown:
			s.report.Unknown++
		case op.outcome != outcomeDone:
		case op.kind == opRead:
			s.report.Reads++
		default:
			s.report.Acknowledged++
		}
	}
}

// revisions reads what each revision wrote from the first survivor. Every
// revision writes one key, none is missing.
func (s *simulation) revisions() []*mvccpb.KeyValue {
	m := s.survivors()[0].state
	last := m.Revision()
	s.report.FinalRevision = last
	written := make([]*mvccpb.KeyValue, last+1)
	for rev := int64(2); rev <= last; rev++ {
		resp, err := m.Range(context.Background(), &pb.RangeRequest{Key: []byte("key-"), RangeEnd: []byte("key."), Revision: rev, MinModRevision: rev})
		if err != nil || len(resp.GetKvs()) != 1 {
			s.fail("revision %d has %d keys (%v): revisions are not contiguous", rev, len(resp.GetKvs()), err)
			return nil
		}
		written[rev] = resp.GetKvs()[0]
	}
	return written
}

// compare checks one member's state against the first one's and against what
// was acknowledged.
func (s *simulation) compare(p *process, written []*mvccpb.KeyValue) {
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
	if p.state.Revision() != int64(len(written))-1 {
		s.fail("member %d ends at revision %d, member %d at %d", p.host.id, p.state.Revision(), first.host.id, len(written)-1)
		return
	}
	for _, op := range s.history.ops {
		if op.outcome != outcomeDone || !op.wrote() {
			continue
		}
		if err := holds(p.state, op); err != nil {
			s.fail("member %d lost an acknowledged write: %v: %v", p.host.id, op, err)
			return
		}
	}
}

func holds(m *statemachine.Machine, op *operation) error {
	resp, err := m.Range(context.Background(), &pb.RangeRequest{Key: []byte(op.key), Revision: op.revision})
	switch {
	case err != nil:
		return err
	case len(resp.GetKvs()) == 0:
		return fmt.Errorf("the key does not exist at revision %d", op.revision)
	}
	kv := resp.GetKvs()[0]
	if kv.GetModRevision() != op.revision || !strings.HasSuffix(string(kv.GetValue()), op.value) {
		return fmt.Errorf("at revision %d the key holds %.40q of revision %d", op.revision, kv.GetValue(), kv.GetModRevision())
	}
	return nil
}

// exactlyOnce checks that each revision is the write of one operation that can
// have happened, and none of two: values are unique.
func (s *simulation) exactlyOnce(written []*mvccpb.KeyValue) {
	type name struct{ key, value string }
	ops := map[name]*operation{}
	for _, op := range s.history.ops {
		if op.kind != opRead {
			ops[name{op.key, lastPiece(op.value)}] = op
		}
	}
	seen := map[*operation]int64{}
	for rev := int64(2); rev < int64(len(written)); rev++ {
		kv := written[rev]
		op := ops[name{string(kv.GetKey()), lastPiece(string(kv.GetValue()))}]
		switch before, twice := seen[op]; {
		case op == nil:
			s.fail("revision %d wrote %s = %.40q, which nobody asked for", rev, kv.GetKey(), kv.GetValue())
		case twice:
			s.fail("%v was applied twice, at revisions %d and %d", op, before, rev)
		case op.outcome == outcomeNotApplied:
			s.fail("%v was applied at revision %d, the client was told that it was not", op, rev)
		case op.outcome == outcomeDone && op.revision != rev:
			s.fail("%v was applied at revision %d", op, rev)
		}
		seen[op] = rev
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
