package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"raftkv/node"
	"raftkv/statemachine"
	"raftkv/statemachine/envelope"
)

const (
	sessionClients  = 3
	sessionPrefix   = "session-"
	sessionWindow   = 4 // frames that are open at a time
	sessionThink    = 150 * time.Millisecond
	sessionPatience = 1500 * time.Millisecond
)

// sessionClient increments a key of its own in frames of a session: several are
// open at a time, and each is sent again and again, to whichever member, until
// it is answered, and sometimes once more. Since nobody else writes the key, the
// answer to every increment is known beforehand, however often it was sent.
type sessionClient struct {
	s        *simulation
	id       int
	rng      *rand.Rand
	session  uint64
	sequence uint64
	open     []*sessionFrame // not answered, in order
	old      []*sessionFrame // answered, the newest few
	issued   int64           // increments in all frames so far
}

type sessionFrame struct {
	sequence uint64
	before   int64 // what the key must hold before it
	writes   int64
	answered bool
}

func (c *sessionClient) key() string { return fmt.Sprint(sessionPrefix, c.id) }

func (c *sessionClient) rest() {
	c.s.clock.after(time.Duration(c.rng.ExpFloat64()*float64(sessionThink)), c.next)
}

// next opens the session, or sends what is open, with another frame if there may
// be one. Once clients stop no other is begun.
func (c *sessionClient) next() {
	if c.s.stopClients && len(c.open) == 0 {
		return
	}
	defer c.rest()
	if c.session == 0 {
		if !c.s.stopClients {
			c.begin()
		}
		return
	}
	if !c.s.stopClients && len(c.open) < sessionWindow {
		c.sequence++
		f := &sessionFrame{sequence: c.sequence, before: c.issued, writes: 1 + c.rng.Int64N(3)}
		c.issued += f.writes
		c.open = append(c.open, f)
		c.s.report.SessionFrames++
	}
	for _, f := range c.open {
		c.send(f)
	}
	if len(c.old) > 0 && !c.s.stopClients && c.rng.IntN(5) == 0 {
		c.send(c.old[c.rng.IntN(len(c.old))])
	}
}

// begin raises the cluster version, which sessions need, and opens one. A
// session that is opened without the client learning of it is never used.
func (c *sessionClient) begin() {
	version := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "0.1.0")
	c.propose(envelope.Command{Kind: envelope.KindClusterVersion, Body: version}, nil, func(node.Result) {})
	c.propose(envelope.Command{Kind: envelope.KindSessionOpen}, nil, func(r node.Result) {
		if opened, ok := r.Value.(*statemachine.SessionOpened); ok && c.session == 0 {
			c.session = opened.ID
		}
	})
}

func (c *sessionClient) send(f *sessionFrame) {
	var body []byte
	for range f.writes {
		body = envelope.AppendWrite(body, &envelope.Write{Op: envelope.WriteIncrement, Key: []byte(c.key()), Delta: 1})
	}
	acknowledged := c.sequence
	if len(c.open) > 0 {
		acknowledged = c.open[0].sequence - 1
	}
	c.s.report.SessionSends++
	command := envelope.Command{Session: c.session, Sequence: f.sequence}
	if c.s.opts.Planted == WithoutSession {
		command = envelope.Command{}
	}
	c.propose(command, &envelope.Frame{Acknowledged: acknowledged, Writes: body}, func(r node.Result) { c.answer(f, r) })
}

// propose has some member propose a command, or a frame.
func (c *sessionClient) propose(command envelope.Command, frame *envelope.Frame, done func(node.Result)) {
	encoded := envelope.EncodeCommand(command)
	if frame != nil {
		encoded = envelope.EncodeFrame(command, *frame)
	}
	target := c.s.anyone(c.rng)
	c.s.clock.after(c.s.net.clientWay(c.rng), func() {
		if p := target.process; p != nil {
			p.now(func() {
				if p.serves() {
					p.proposeCommand(encoded, sessionPatience, done)
				}
			})
		}
	})
}

// answer checks what a member says of a frame.
func (c *sessionClient) answer(f *sessionFrame, r node.Result) {
	switch {
	case errors.Is(r.Err, node.ErrNotApplied), errors.Is(r.Err, node.ErrUnknownOutcome), errors.Is(r.Err, node.ErrStopped),
		errors.Is(r.Err, statemachine.ErrSequenceGap):
		return // it is sent again
	case errors.Is(r.Err, statemachine.ErrSequencePast) && f.answered:
		c.s.report.SessionPast++
		return
	case r.Err != nil:
		c.s.check.fail("session %x, frame %d: %v", c.session, f.sequence, r.Err)
		return
	}
	values, err := incremented(r.Value)
	if err != nil {
		c.s.check.fail("session %x, frame %d: %v", c.session, f.sequence, err)
		return
	}
	for i, v := range values {
		if len(values) != int(f.writes) || v != f.before+int64(i)+1 {
			c.s.check.fail("session %x: the %d increments of frame %d behind %d led to %v", c.session, f.writes, f.sequence, f.before, values)
			return
		}
	}
	if f.answered {
		c.s.report.SessionReplays++
		return
	}
	f.answered = true
	for len(c.open) > 0 && c.open[0].answered {
		c.old = append(c.old, c.open[0])
		c.open = c.open[1:]
	}
	if extra := len(c.old) - sessionWindow; extra > 0 {
		c.old = c.old[extra:]
	}
}

// incremented returns the values in the result of a frame of increments.
func incremented(result any) (values []int64, err error) {
	frame, ok := result.(*statemachine.FrameResult)
	if !ok {
		return nil, fmt.Errorf("answered with %v", result)
	}
	for rest := frame.Writes; len(rest) > 0; {
		_, _, tag := protowire.ConsumeTag(rest)
		one, n := protowire.ConsumeBytes(rest[max(tag, 0):])
		if tag < 0 || n < 0 {
			return nil, fmt.Errorf("results %x", frame.Writes)
		}
		rest = rest[tag+n:]
		for len(one) > 0 {
			num, _, tag := protowire.ConsumeTag(one)
			v, n := protowire.ConsumeVarint(one[max(tag, 0):])
			if tag < 0 || n < 0 {
				return nil, fmt.Errorf("results %x", frame.Writes)
			}
			if one = one[tag+n:]; num == 7 {
				values = append(values, protowire.DecodeZigZag(v))
			}
		}
	}
	return values, nil
}

func ofSession(changes []change) bool {
	return len(changes) > 0 && strings.HasPrefix(changes[0].key, sessionPrefix)
}

// sessionWrite checks a revision that concerns the key of a session: it adds one
// to what was there, whatever was sent twice.
func (s *simulation) sessionWrite(revision int64, changes []change, last map[string]int64) {
	c := changes[0]
	n, err := strconv.ParseInt(c.value, 10, 64)
	if len(changes) != 1 || c.deleted || err != nil || n != last[c.key]+1 {
		s.fail("revision %d wrote %+v behind %d", revision, changes, last[c.key])
	}
	last[c.key] = n
}

// sessionsSettled says whether every frame was answered.
func (s *simulation) sessionsSettled() bool {
	for _, c := range s.sessions {
		if len(c.open) > 0 {
			return false
		}
	}
	return true
}

// sessionsEnd compares the keys with what the clients know: what was answered is
// there, and nothing is there that was not asked for.
func (s *simulation) sessionsEnd(last map[string]int64) {
	for _, c := range s.sessions {
		answered := c.issued
		if len(c.open) > 0 {
			answered = c.open[0].before
		}
		if n := last[c.key()]; n < answered || n > c.issued {
			s.fail("%s is %d at the end; %d increments were sent, %d answered", c.key(), n, c.issued, answered)
		}
		s.report.SessionIncrements += int(last[c.key()])
	}
}
