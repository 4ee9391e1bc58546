package peer

import (
	"errors"
	"fmt"

	"raftkv/rpc/peer/peerpb"
)

// Versions of the protocol this binary speaks. Since 2 the receiver of a snapshot
// asks for what it lacks; since 3 lanes are no streams of gRPC. Fields that a receiver can do without come and go within
// a version: absent means that the sender does not say.
const (
	protocolNewest = 3
	protocolOldest = 3
)

func (t *Transport) hello(to uint64, lane peerpb.Lane) *peerpb.Hello {
	h := &peerpb.Hello{
		Protocol: protocolNewest, OldestProtocol: protocolOldest,
		ClusterId: t.opts.ClusterID, From: t.opts.MemberID, To: to, Incarnation: t.opts.Incarnation, Boot: t.opts.Boot, Lane: lane,
		NewestVersion: t.opts.NewestVersion,
	}
	if t.opts.PeerURLs != nil {
		h.PeerUrls = t.opts.PeerURLs()
	}
	return h
}

func callerOf(h *peerpb.Hello) Caller {
	return Caller{
		ID: h.GetFrom(), Incarnation: h.GetIncarnation(), Boot: h.GetBoot(),
		NewestVersion: h.GetNewestVersion(), PeerURLs: h.GetPeerUrls(),
	}
}

// checkHello decides whether we talk to the speaker; nil: yes.
func (t *Transport) checkHello(h *peerpb.Hello) *Refused {
	if refused := t.checkIdentity(h); refused != nil {
		return refused
	}
	if err := t.opts.Membership.Check(callerOf(h)); err != nil {
		return refuse(h, reasonOf(err), "member %x: %v", h.GetFrom(), err)
	}
	return nil
}

// checkIdentity checks everything but membership. The protocol comes first: of
// another one no other field can be trusted.
func (t *Transport) checkIdentity(h *peerpb.Hello) *Refused {
	switch {
	case h == nil:
		return refuse(h, ReasonProtocol, "it opened without a hello")
	case h.GetProtocol() < protocolOldest || h.GetOldestProtocol() > protocolNewest:
		return refuse(h, ReasonProtocol, "member %x speaks peer protocols %d to %d, member %x %d to %d",
			h.GetFrom(), h.GetOldestProtocol(), h.GetProtocol(), t.opts.MemberID, protocolOldest, protocolNewest)
	case h.GetClusterId() != t.opts.ClusterID:
		return refuse(h, ReasonCluster, "member %x belongs to cluster %x, member %x to cluster %x",
			h.GetFrom(), h.GetClusterId(), t.opts.MemberID, t.opts.ClusterID)
	case h.GetTo() != t.opts.MemberID || h.GetFrom() == t.opts.MemberID:
		return refuse(h, ReasonReceiver, "member %x wants member %x, this is member %x: its peer URLs are wrong",
			h.GetFrom(), h.GetTo(), t.opts.MemberID)
	}
	return nil
}

func refuse(h *peerpb.Hello, reason Reason, format string, args ...any) *Refused {
	return &Refused{Peer: h.GetFrom(), Reason: reason, Text: fmt.Sprintf(format, args...)}
}

func reasonOf(err error) Reason {
	switch {
	case errors.Is(err, ErrUnknownMember):
		return ReasonUnknownMember
	case errors.Is(err, ErrRemovedMember):
		return ReasonRemoved
	case errors.Is(err, ErrOtherIncarnation):
		return ReasonIncarnation
	case errors.Is(err, ErrOldDirectory):
		return ReasonOldDirectory
	case errors.Is(err, ErrOldVersion):
		return ReasonVersion
	}
	return ReasonUnavailable
}

// admit checks who calls us and returns what to answer; false: and no more.
func (t *Transport) admit(h *peerpb.Hello) (*peerpb.Answer, bool) {
	refused := t.checkHello(h)
	return t.answer(h, refused), refused == nil
}

// answer tells a refusal (nil: none) and returns the answer to the caller.
func (t *Transport) answer(h *peerpb.Hello, refused *Refused) *peerpb.Answer {
	if refused == nil {
		t.refusals.forget(h.GetFrom(), false)
		return &peerpb.Answer{Answer: &peerpb.Answer_Hello{Hello: t.hello(h.GetFrom(), h.GetLane())}}
	}
	t.counters.refused.Add(1)
	t.refusals.tell(refused)
	return &peerpb.Answer{Answer: &peerpb.Answer_Refusal{Refusal: &peerpb.Refusal{Reason: peerpb.Reason(refused.Reason), Text: refused.Text}}}
}

// checkAnswer decides whether the call to a member may go on, and tells a
// refusal by either side.
func (t *Transport) checkAnswer(id uint64, hello *peerpb.Hello, refusal *peerpb.Refusal) error {
	refused := &Refused{Peer: id, ByPeer: true, Reason: Reason(refusal.GetReason()), Text: refusal.GetText()}
	if refusal == nil {
		if refused = t.checkHello(hello); refused == nil && hello.GetFrom() != id {
			refused = &Refused{Reason: ReasonReceiver, Text: fmt.Sprintf(
				"member %x was dialled, member %x answered: the peer URLs are wrong", id, hello.GetFrom())}
		}
		if refused == nil {
			t.refusals.forget(id, true)
			return nil
		}
		refused.Peer = id
	}
	t.refusals.tell(refused)
	return refused
}
