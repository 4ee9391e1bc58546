package client

import (
	"context"
	"slices"
	"time"

	"raftkv/rpc/kvstream/kvpb"
)

// choose returns the endpoint to use: for writes that of the leader, for reads
// the one that answers fastest. The one that failed last is the last choice.
func (l *lane) choose(ctx context.Context) (*endpoint, error) {
	e, err := l.ask(ctx, l.client.primary)
	if e == nil && len(l.client.fallback) > 0 {
		e, err = l.ask(ctx, l.client.fallback)
	}
	if l.kind == laneWrites {
		l.movedAt = time.Now()
	}
	return e, err
}

// told is what an endpoint said of itself.
type told struct {
	e       *endpoint
	status  *kvpb.StatusResponse
	failure *EndpointError
}

// ask asks all endpoints of a list at once and takes the first that will do.
func (l *lane) ask(ctx context.Context, list []*endpoint) (*endpoint, error) {
	if len(list) == 1 {
		return list[0], nil
	}
	ctx, cancel := context.WithTimeout(ctx, l.client.dialTimeout)
	answers := make(chan told, len(list))
	for _, e := range list {
		// It ends with the context; the channel has room for all.
		go func() {
			s, failure := e.status(ctx)
			answers <- told{e, s, failure}
		}()
	}
	defer cancel()
	var second, last *endpoint // in case none is right
	var failures []*EndpointError
	for range list {
		t := <-answers
		if t.failure != nil {
			failures = append(failures, t.failure)
			continue
		}
		if last = t.e; t.e == l.avoid {
			continue
		}
		switch {
		case l.kind == laneStale, l.kind == laneReads && serves(t.status), l.kind == laneWrites && t.status.GetRole() == kvpb.StatusResponse_LEADER:
			return t.e, nil
		case second == nil && serves(t.status):
			second = t.e
		}
	}
	switch {
	case second != nil:
		return second, nil
	case last != nil:
		return last, nil
	}
	return nil, &UnavailableError{Write: l.kind == laneWrites, Endpoints: slices.Clip(failures)}
}

// serves tells whether a member takes requests that need a leader.
func serves(s *kvpb.StatusResponse) bool {
	return s.GetLeaderId() != 0 && s.GetRole() != kvpb.StatusResponse_LEARNER
}
