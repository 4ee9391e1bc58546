package watch

import (
	"fmt"
	"slices"
	"sync"

	"raftkv/statemachine"
	"raftkv/statemachine/keys"
)

// store is a history in memory. Its writes are told to a Hub as Apply does.
type store struct {
	hub *Hub

	mu        sync.Mutex
	revision  int64
	compacted int64
	changes   []statemachine.Change
	current   map[string]*statemachine.KeyValue
	// reads counts calls of History; failure is returned by it.
	reads   int
	failure error
}

func newStore(h *Hub) *store {
	s := &store{hub: h, revision: 1, compacted: -1, current: make(map[string]*statemachine.KeyValue)}
	h.Attach(s)
	return s
}

// op is one change to be made; a nil value deletes.
type op struct {
	key   string
	value []byte
}

// commit makes each list of ops a revision, and tells all of them as one batch.
func (s *store) commit(revisions ...[]op) { s.hub.Advance(s.write(s.hub.Wants(), revisions...)) }

func put(key, value string) []op { return []op{{key, []byte(value)}} }

func (s *store) write(collect bool, revisions ...[]op) statemachine.Progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := statemachine.Progress{From: s.revision + 1, Collected: collect}
	for _, ops := range revisions {
		s.revision++
		for sub, o := range ops {
			c := statemachine.Change{Deleted: o.value == nil}
			c.Key, c.Value, c.Revision = []byte(o.key), o.value, keys.Revision{Main: s.revision, Sub: uint32(sub)}
			if c.Deleted {
				delete(s.current, o.key)
			} else {
				c.CreateRevision, c.Version = s.revision, 1
				if old := s.current[o.key]; old != nil {
					c.CreateRevision, c.Version = old.CreateRevision, old.Version+1
				}
				kv := c.KeyValue
				s.current[o.key] = &kv
			}
			s.changes = append(s.changes, c)
			if collect {
				p.Changes = append(p.Changes, c)
			}
		}
	}
	p.To = s.revision
	return p
}

func (s *store) compact(revision int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.compacted = revision
	s.changes = slices.DeleteFunc(s.changes, func(c statemachine.Change) bool { return c.Revision.Main < revision })
}

func (s *store) Revision() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.revision
}

func (s *store) History(from int64, limits statemachine.HistoryLimits, want func([]byte) bool) (h statemachine.History, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	h.Revision, h.Compacted, h.Next = s.revision, s.compacted, s.revision+1
	if s.failure != nil {
		return h, s.failure
	}
	if from < s.compacted {
		return h, statemachine.ErrCompacted
	}
	scanned, size, at := 0, 0, int64(0)
	for _, c := range s.changes {
		if c.Revision.Main < from {
			continue
		}
		if c.Revision.Main != at && (scanned >= limits.ScanMax || size >= limits.BytesMax) {
			h.Next = c.Revision.Main
			break
		}
		at = c.Revision.Main
		scanned++
		if want == nil || want(c.Key) {
			h.Changes = append(h.Changes, c)
			size += len(c.Key) + len(c.Value)
		}
	}
	h.Next = max(h.Next, from)
	return h, nil
}

func (s *store) Previous(changes []statemachine.Change) ([]*statemachine.KeyValue, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*statemachine.KeyValue, len(changes))
	for i := range changes {
		if changes[i].Creates() || changes[i].Revision.Main-1 < s.compacted {
			continue
		}
		for j := len(s.changes) - 1; j >= 0; j-- {
			if c := &s.changes[j]; string(c.Key) == string(changes[i].Key) && c.Revision.Main < changes[i].Revision.Main {
				if !c.Deleted {
					list[i] = &c.KeyValue
				}
				break
			}
		}
	}
	return list, nil
}

func (s *store) String() string {
	return fmt.Sprintf("revision %d, compacted %d", s.revision, s.compacted)
}
