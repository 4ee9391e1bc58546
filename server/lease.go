package server

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"raftkv/node"
	"raftkv/rpc/peer"
	"raftkv/rpc/peer/peerpb"
	"raftkv/server/lessor"
	"raftkv/statemachine"
	"raftkv/statemachine/envelope"
)

// leasing is what a member does for leases: look after them while it leads,
// and ask the leader otherwise.
type leasing struct {
	s        *Server
	lessor   *lessor.Lessor
	renewals *renewals
}

func (s *Server) newLeasing() (*leasing, error) {
	l := &leasing{s: s}
	var err error
	l.lessor, err = lessor.New(leaseMember{s}, lessor.Config{
		ElectionTimeout: s.cfg.ElectionTimeout, RequestTimeout: s.cfg.requestTimeout(),
		Logger: s.cfg.Logger.Named("lease"),
	})
	if err != nil {
		return nil, err
	}
	l.renewals = newRenewals(l.ask)
	return l, s.cfg.Registry.Register(l.lessor)
}

// start runs it until the member stops.
func (l *leasing) start() {
	l.s.background.Go(func() { l.lessor.Run(l.s.ctx) })
	for range renewalWorkers {
		l.s.background.Go(func() { l.renewals.run(l.s.ctx) })
	}
}

// leaseMember is the member as its lessor sees it.
type leaseMember struct{ s *Server }

func (m leaseMember) Leads() (term uint64, leads bool) {
	status := m.s.status()
	return status.Term, status.Role == node.Leader
}

func (m leaseMember) AwaitLeadership(ctx context.Context) error {
	return m.s.node.Load().WaitFor(ctx, func(status node.Status) bool { return status.Role == node.Leader })
}

func (m leaseMember) Confirm(ctx context.Context) error { return backend(m).ReadIndex(ctx) }

func (m leaseMember) EachLease(visit func(statemachine.Lease) error) error {
	return m.s.rooms.machine.EachLease(visit)
}

// Revoke counts one that a client has revoked meanwhile as revoked.
func (m leaseMember) Revoke(ctx context.Context, id int64, term uint64) error {
	err := m.propose(ctx, envelope.KindLeaseRevoke, envelope.LeaseRevoke{ID: id, Term: term}.Encode())
	if errors.Is(err, statemachine.ErrLeaseNotFound) {
		return nil
	}
	return err
}

func (m leaseMember) Record(ctx context.Context, r envelope.LeaseRemaining) error {
	return m.propose(ctx, envelope.KindLeaseRemaining, r.Encode())
}

func (m leaseMember) propose(ctx context.Context, kind envelope.Kind, body []byte) error {
	result, _, err := backend(m).Propose(ctx, envelope.EncodeCommand(envelope.Command{Kind: kind, Body: body}))
	if refusal, ok := result.(error); ok {
		return refusal
	}
	return err
}

// AnswerLeases answers other members. See peer.Leases.
func (l *leasing) AnswerLeases(ctx context.Context, renew bool, ids []int64) ([]*peerpb.LeaseAnswer, error) {
	if ttls := make([]int64, len(ids)); renew && l.renewNow(ids, ttls) {
		out := make([]*peerpb.LeaseAnswer, len(ids))
		for i, ttl := range ttls {
			out[i] = &peerpb.LeaseAnswer{State: peerpb.LeaseAnswer_STATE_LIVE, TtlSeconds: ttl}
		}
		return out, nil
	}
	ask := l.lessor.Left
	if renew {
		ask = l.lessor.Renew
	}
	answers, err := ask(ctx, ids)
	if err != nil {
		return nil, err
	}
	out := make([]*peerpb.LeaseAnswer, len(answers))
	for i, a := range answers {
		out[i] = &peerpb.LeaseAnswer{State: stateOnWire(a.State), TtlSeconds: a.TTLSeconds, LeftMs: a.Left.Milliseconds()}
	}
	return out, nil
}

func stateOnWire(s lessor.State) peerpb.LeaseAnswer_State {
	switch s {
	case lessor.Live:
		return peerpb.LeaseAnswer_STATE_LIVE
	case lessor.Unknown:
		return peerpb.LeaseAnswer_STATE_UNKNOWN
	}
	return peerpb.LeaseAnswer_STATE_EXPIRING
}

func stateOffWire(s peerpb.LeaseAnswer_State) lessor.State {
	switch s {
	case peerpb.LeaseAnswer_STATE_LIVE:
		return lessor.Live
	case peerpb.LeaseAnswer_STATE_UNKNOWN:
		return lessor.Unknown
	}
	return lessor.Expiring
}

// ask asks whoever leads, once.
func (l *leasing) ask(ctx context.Context, renew bool, ids []int64) ([]lessor.Answer, error) {
	status := l.s.status()
	switch {
	case status.Role == node.Leader && renew:
		return l.lessor.Renew(ctx, ids)
	case status.Role == node.Leader:
		return l.lessor.Left(ctx, ids)
	case status.Leader == 0:
		return nil, node.ErrNoLeader
	}
	// A leader that is paused must not hold those up who will ask the next one.
	ctx, cancel := context.WithTimeout(ctx, l.s.cfg.ElectionTimeout)
	defer cancel()
	wire, err := l.s.transport.AskLeases(ctx, status.Leader, renew, ids)
	if err != nil {
		return nil, err
	}
	answers := make([]lessor.Answer, len(wire))
	for i, a := range wire {
		left := time.Duration(math.MaxInt64)
		if a.GetLeftMs() < int64(left/time.Millisecond) {
			left = time.Duration(a.GetLeftMs()) * time.Millisecond
		}
		answers[i] = lessor.Answer{State: stateOffWire(a.GetState()), TTLSeconds: a.GetTtlSeconds(), Left: left}
	}
	return answers, nil
}

// askPause is the time between two questions that were not answered, or about
// a lease that is about to go.
const askPause = 50 * time.Millisecond

// insist calls ask until done or ctx ends; then it says why.
func (l *leasing) insist(ctx context.Context, ask func() (done bool, err error)) error {
	for {
		done, err := ask()
		if done {
			return nil
		}
		if pause(ctx, askPause) == nil {
			continue
		}
		if errors.Is(err, node.ErrNoLeader) {
			return fmt.Errorf("ask the leader about a lease: %w", node.ErrNoLeader)
		}
		return fmt.Errorf("ask the leader about a lease: %w", context.Cause(ctx))
	}
}

// RenewLeaseNow implements etcdv3.Leases.
func (b backend) RenewLeaseNow(id int64) (ttlSeconds int64, ok bool) {
	ids, ttls := [1]int64{id}, [1]int64{}
	ok = b.s.leasing.renewNow(ids[:], ttls[:])
	return ttls[0], ok
}

// renewNow renews without waiting for anybody, if that is possible. What is
// committed and not applied may be the end of one of the leases.
func (l *leasing) renewNow(ids, ttlsSeconds []int64) bool {
	status := l.s.status()
	return status.Role == node.Leader && status.Applied >= status.Commit && l.lessor.RenewNow(ids, ttlsSeconds)
}

// RenewLeases implements etcdv3.Leases.
func (b backend) RenewLeases(ctx context.Context, ids []int64) ([]int64, error) {
	l := b.s.leasing
	ttls := make([]int64, len(ids))
	open, places := ids, make([]int, len(ids)) // those not answered yet
	for i := range places {
		places[i] = i
	}
	err := l.insist(ctx, func() (bool, error) {
		answers, err := l.renew(ctx, open)
		if err != nil {
			return false, err
		}
		var nextIDs []int64
		var nextPlaces []int
		for i, a := range answers {
			if a.State == lessor.Expiring {
				nextIDs, nextPlaces = append(nextIDs, open[i]), append(nextPlaces, places[i])
				continue
			}
			ttls[places[i]] = a.TTLSeconds
		}
		open, places = nextIDs, nextPlaces
		return len(open) == 0, nil
	})
	return ttls, err
}

// renew asks once: itself, or the leader together with others who wait.
func (l *leasing) renew(ctx context.Context, ids []int64) ([]lessor.Answer, error) {
	if l.s.status().Role == node.Leader {
		return l.lessor.Renew(ctx, ids)
	}
	return l.renewals.ask(ctx, ids)
}

// LeaseLeft implements etcdv3.Leases.
func (b backend) LeaseLeft(ctx context.Context, id int64) (left time.Duration, ttlSeconds int64, err error) {
	l := b.s.leasing
	var answer lessor.Answer
	err = l.insist(ctx, func() (bool, error) {
		answers, err := l.ask(ctx, false, []int64{id})
		if err != nil {
			return false, err
		}
		answer = answers[0]
		return true, nil
	})
	if err == nil && answer.State == lessor.Unknown {
		err = statemachine.ErrLeaseNotFound
	}
	return answer.Left, answer.TTLSeconds, err
}

// LeaseKeys implements etcdv3.Leases.
func (b backend) LeaseKeys(id int64) ([][]byte, error) { return b.s.rooms.machine.LeaseKeys(id) }

// LeaseIDs implements etcdv3.Leases.
func (b backend) LeaseIDs() (ids []int64, err error) {
	err = b.s.rooms.machine.EachLease(func(l statemachine.Lease) error {
		ids = append(ids, l.ID)
		return nil
	})
	b.s.leasing.lessor.Order(ids)
	return ids, err
}

// LeaseTTLSecondsMin implements etcdv3.Leases: as in etcd one and a half
// election timeouts, so that a lease outlives an election.
func (b backend) LeaseTTLSecondsMin() int64 {
	min := time.Duration(3*b.s.cfg.electionTicks()/2) * b.s.cfg.HeartbeatInterval
	return int64(math.Ceil(min.Seconds()))
}

var _ peer.Leases = (*leasing)(nil)
