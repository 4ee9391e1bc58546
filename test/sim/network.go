package sim

import (
	"math/rand/v2"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// network carries messages between hosts. Messages are lost, duplicated, and
// overtake each other; a cut is one way.
type network struct {
	s   *simulation
	rng *rand.Rand
	cut map[[2]uint64]bool // [from, to]

	loss, duplicate float64
	// delay is the mean of a message's way. Delays are exponential, so that
	// messages overtake each other.
	delay time.Duration
}

const (
	baseLoss      = 0.002
	baseDuplicate = 0.005
	baseDelay     = 800 * time.Microsecond
)

func newNetwork(s *simulation, rng *rand.Rand) *network {
	n := &network{s: s, rng: rng, cut: map[[2]uint64]bool{}}
	n.calm()
	return n
}

// calm ends bursts of loss and delay; cuts stay.
func (n *network) calm() { n.loss, n.duplicate, n.delay = baseLoss, baseDuplicate, baseDelay }

func (n *network) heal() { clear(n.cut) }

// reset tells every other member that can be reached that a member closed its
// connections.
func (n *network) reset(from uint64) {
	for _, h := range n.s.hosts {
		if h.id != from && !n.cut[[2]uint64{from, h.id}] {
			n.resetAt(h, from)
		}
	}
}

// resetAt tells one member that its connection to another broke.
func (n *network) resetAt(h *host, from uint64) {
	n.s.report.Resets++
	n.s.clock.after(n.way(), func() {
		if p := h.process; p != nil {
			p.now(func() { p.loop(func() { p.core.PeerDown(from) }) })
		}
	})
}

func (n *network) way() time.Duration {
	return 50*time.Microsecond + time.Duration(n.rng.ExpFloat64()*float64(n.delay))
}

// carry brings something from one host to another, or not: arrive runs at the
// receiver's running process, once or twice, or never. An end-to-end loss is
// reported to lost, now and then.
func (n *network) carry(from, to uint64, arrive func(*process), lost func()) {
	if to > uint64(len(n.s.hosts)) || n.cut[[2]uint64{from, to}] || n.rng.Float64() < n.loss {
		if n.rng.IntN(2) == 0 {
			n.s.clock.after(n.way(), lost)
		}
		return
	}
	copies := 1
	if n.rng.Float64() < n.duplicate {
		copies = 2
	}
	for range copies {
		n.s.clock.after(n.way(), func() {
			p := n.s.hosts[to-1].process
			if p == nil || n.cut[[2]uint64{from, to}] {
				n.s.clock.after(n.way(), lost)
				return
			}
			p.now(func() { arrive(p) })
		})
	}
}

// message carries a raft message. Every copy is decoded afresh, as from a wire.
func (n *network) message(from *process, m *raftpb.Message) {
	s, to := n.s, m.GetTo()
	s.trace.note(s.clock.now, "send", uint64(m.GetType()), m.GetFrom(), to, m.GetTerm(), m.GetIndex(), m.GetCommit(), uint64(len(m.GetEntries())))
	data, err := proto.Marshal(m)
	if err != nil {
		s.fail("encode a message: %v", err)
		return
	}
	n.carry(from.host.id, to, func(p *process) {
		if !p.admits(from) {
			return
		}
		received := new(raftpb.Message)
		if err := proto.Unmarshal(data, received); err != nil {
			s.fail("decode a message: %v", err)
			return
		}
		s.trace.note(s.clock.now, "receive", uint64(m.GetType()), m.GetFrom(), to, m.GetTerm(), m.GetIndex())
		p.loop(func() { p.core.Step(received) })
	}, func() { from.now(func() { from.loop(func() { from.core.ReportUnreachable(to) }) }) })
}

// forward carries a batch of proposals to the leader. The network duplicates it
// like anything else, which a stream would not: Apply has to cope.
func (n *network) forward(from *process, to uint64, batch []byte) {
	data := append([]byte(nil), batch...)
	n.s.trace.note(n.s.clock.now, "forward", from.host.id, to, uint64(len(data)))
	n.carry(from.host.id, to, func(p *process) {
		if p.admits(from) {
			p.loop(func() { p.core.StepForwarded(from.host.id, append([]byte(nil), data...)) })
		}
	}, func() {})
}

// clientWay is the way between a client and a member.
func (n *network) clientWay(rng *rand.Rand) time.Duration {
	return 50*time.Microsecond + time.Duration(rng.ExpFloat64()*float64(baseDelay))
}
