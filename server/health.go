package server

import (
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"raftkv/statemachine"
)

// healthyFor is how long connections to a majority must have lasted before the
// members may be changed; etcd's value.
const healthyFor = 5 * time.Second

// links remembers since when this member is connected to each other one.
type links struct {
	mu    sync.Mutex
	since map[uint64]time.Time
}

func (l *links) up(id uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.since == nil {
		l.since = map[uint64]time.Time{}
	}
	l.since[id] = time.Now()
}

func (l *links) down(id uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.since, id)
}

// connected tells whether there is a connection, and whether it is older than
// healthyFor.
func (l *links) connected(id uint64) (now, long bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	since, now := l.since[id]
	return now, now && time.Since(since) >= healthyFor
}

// healthy counts the voters that this member has been connected to for long,
// itself included.
func (s *Server) healthy(voters []statemachine.Member) (n int) {
	for _, m := range voters {
		if _, long := s.links.connected(m.ID); long || m.ID == s.memberID {
			n++
		}
	}
	return n
}

// mayAdd is etcd's strict check: as long as the new member is down the others
// must still be a majority.
func (s *Server) mayAdd(learner bool) error {
	if s.cfg.LaxReconfigCheck {
		return nil
	}
	v := voters(s.rooms.machine.Members())
	n := started(v)
	switch {
	case !learner && !majority(n, len(v)+1) && (n != 1 || len(v) != 1):
		return rpctypes.ErrGRPCMemberNotEnoughStarted
	case len(v) > 1 && !majority(s.healthy(v), len(v)+1):
		return rpctypes.ErrGRPCUnhealthy
	}
	return nil
}

// mayRemove is etcd's strict check: the rest must be a majority of the rest.
func (s *Server) mayRemove(id uint64) error {
	if s.cfg.LaxReconfigCheck {
		return nil
	}
	members := s.rooms.machine.Members()
	v := voters(members)
	rest := make([]statemachine.Member, 0, len(v))
	for _, m := range v {
		if m.ID != id {
			rest = append(rest, m)
		}
	}
	now, _ := s.links.connected(id)
	switch {
	case len(rest) == len(v): // a learner, or nobody
		return nil
	case !majority(started(rest), len(rest)):
		return rpctypes.ErrGRPCMemberNotEnoughStarted
	case id != s.memberID && !now:
		return nil // it is down already
	case s.healthy(v)-1 < 1+(len(v)-1)/2:
		return rpctypes.ErrGRPCUnhealthy
	}
	return nil
}
