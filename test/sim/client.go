package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"raftkv/node"
	"raftkv/statemachine/envelope"
	"raftkv/test/linear"
)

// client sends one operation after the other, to a member it likes until that
// one fails it.
type client struct {
	s      *simulation
	id     int
	rng    *rand.Rand
	keys   []string
	known  map[string]string // what it last saw of each key
	member uint64
	ops    int
}

const (
	clients         = 10
	keysPerClient   = 5 // so that five clients share a key
	patienceMin     = 800 * time.Millisecond
	patienceSpread  = 2 * time.Second
	valueBytesExtra = 160
	padding         = "_"
)

func newClients(s *simulation, rng *rand.Rand) []*client {
	var all []*client
	for i := range clients {
		c := &client{s: s, id: i, rng: rand.New(rand.NewPCG(rng.Uint64(), 2)), known: map[string]string{}, member: uint64(1 + i%len(s.hosts))}
		for k := range keysPerClient {
			c.keys = append(c.keys, fmt.Sprintf("key-%d", (i+k)%clients))
		}
		all = append(all, c)
	}
	return all
}

func (c *client) rest() {
	c.s.clock.after(time.Duration(c.rng.ExpFloat64()*float64(c.s.opts.Scenario.thinkTime())), c.next)
}

// next starts an operation.
func (c *client) next() {
	if c.s.stopClients {
		return
	}
	if c.rng.IntN(20) == 0 {
		c.member = c.s.anyone(c.rng).id
	}
	c.ops++
	key := c.keys[c.rng.IntN(len(c.keys))]
	op := c.s.history.begin(c.s.clock.now, c.id, key)
	unique := fmt.Sprintf("%d.%d;", c.id, c.ops)
	n := c.rng.IntN(100)
	if c.s.opts.Scenario.onlyReads(c.id) {
		n = 99
	}
	switch {
	case n < 30:
		op.Kind, op.Value = linear.Put, unique+strings.Repeat(padding, c.rng.IntN(valueBytesExtra))
	case n < 50:
		op.Kind, op.Value, op.Expected = linear.CAS, unique, c.known[key]
	case n < 60:
		op.Kind, op.Value = linear.Append, unique
	default:
		op.Kind = linear.Read
	}
	c.s.trace.note(c.s.clock.now, "call", uint64(c.id), uint64(c.ops), uint64(op.Kind), c.member)
	c.send(op)
}

// send carries the request to the member and gives up after a while.
func (c *client) send(op *operation) {
	s := c.s
	k := &call{client: c, op: op}
	target := s.hosts[c.member-1]
	s.clock.after(s.net.clientWay(c.rng), func() {
		p := target.process
		if p == nil || !p.serves() {
			k.finish(linear.NotApplied) // connection refused
			return
		}
		k.process = p
		p.now(func() { p.submit(k) })
	})
	s.clock.after(patienceMin+time.Duration(c.rng.Int64N(int64(patienceSpread))), k.giveUp)
}

// serves says whether clients are answered: not by a member that does not vote.
func (p *process) serves() bool {
	m, found := find(p.roster, p.host.id)
	return p.core != nil && found && !m.IsLearner
}

// call is one request at the member that serves it.
type call struct {
	client  *client
	op      *operation
	process *process // nil until the request has arrived
	pending *node.Pending
	round   *node.ReadRound
	ended   bool
}

// finish ends the operation for the client, which sees the outcome a little
// later and, unless all went well, tries another member next.
func (k *call) finish(o linear.Outcome) {
	if k.ended {
		return
	}
	k.ended = true
	c := k.client
	if k.op.Kind == linear.Read && o == linear.Unknown {
		o = linear.NotApplied
	}
	c.s.clock.after(c.s.net.clientWay(c.rng), func() {
		c.s.history.end(c.s.clock.now, k.op, o)
		c.s.trace.note(c.s.clock.now, "return", uint64(c.id), uint64(c.ops), uint64(o), uint64(k.op.Revision))
		if o == linear.Done {
			c.known[k.op.Key] = k.op.After()
		} else {
			c.member = c.s.anyone(c.rng).id
		}
		c.rest()
	})
}

// giveUp is the client's deadline. A request that the member holds is withdrawn
// there, if the member is in a state to be asked.
func (k *call) giveUp() {
	switch p := k.process; {
	case k.ended:
	case p == nil || p.dead || p.paused || k.pending == nil:
		k.finish(linear.Unknown)
	default:
		k.answered(p.core.Abandon(k.pending))
	}
}

// submit hands the request to the core. It does so also when the client has
// given up meanwhile: the server may not have noticed.
func (p *process) submit(k *call) {
	var err error
	switch {
	case k.op.Kind != linear.Read:
		k.pending, err = p.core.Propose(k.op.command())
	case p.s.opts.Planted == StaleRead:
		p.read(k)
		return
	default:
		k.round, _, err = p.core.Read()
	}
	if err != nil {
		k.finish(linear.NotApplied)
		return
	}
	p.calls = append(p.calls, k)
	p.loop(func() {})
}

// poll looks which calls have been answered.
func (p *process) poll() {
	waiting := p.calls[:0]
	for _, k := range p.calls {
		if !p.answer(k) {
			waiting = append(waiting, k)
		}
	}
	clear(p.calls[len(waiting):])
	p.calls = waiting
}

func (p *process) answer(k *call) bool {
	if k.pending != nil {
		select {
		case r := <-k.pending.Done():
			k.answered(r)
			return true
		default:
			return k.ended
		}
	}
	select {
	case <-k.round.Done():
		if k.round.Err() != nil {
			k.finish(linear.NotApplied)
		} else {
			p.after(p.some(100*time.Microsecond), func() { p.read(k) })
		}
		return true
	default:
		return false
	}
}

// read runs a confirmed read on the local state.
func (p *process) read(k *call) {
	if k.ended {
		return
	}
	resp, err := p.rangeNow(k.op.Key)
	if err != nil {
		p.s.fail("member %d: range: %v", p.host.id, err)
		return
	}
	k.op.Observe(resp.GetKvs())
	k.finish(linear.Done)
}

// answered ends a write by what the core said.
func (k *call) answered(r node.Result) {
	switch {
	case errors.Is(r.Err, node.ErrNotApplied):
		k.finish(linear.NotApplied)
	case errors.Is(r.Err, node.ErrUnknownOutcome) || errors.Is(r.Err, node.ErrStopped):
		k.finish(linear.Unknown)
	case r.Err != nil:
		k.client.s.fail("the state machine refused %v: %v", k.op, r.Err)
	default:
		if !k.ended {
			k.op.Answer(r.Value)
		}
		k.finish(linear.Done)
	}
}

// breakCalls answers what was under way when the process died: nobody knows.
func (p *process) breakCalls() {
	for _, k := range p.calls {
		k.finish(linear.Unknown)
	}
	p.calls = nil
}

// command encodes a write as a client's handler would.
func (op *operation) command() []byte {
	kind, body := envelope.KindPut, proto.Message(op.PutRequest())
	switch op.Kind {
	case linear.Append:
		kind = envelope.KindAppend
	case linear.CAS:
		kind, body = envelope.KindTxn, op.TxnRequest()
	}
	encoded, err := proto.Marshal(body)
	if err != nil {
		panic(err) // a message of strings always encodes
	}
	return envelope.EncodeCommand(envelope.Command{Kind: kind, Body: encoded})
}
