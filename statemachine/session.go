package statemachine

import (
	"cmp"
	"container/list"
	"fmt"
	"maps"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"raftkv/statemachine/envelope"
	"raftkv/statemachine/keys"
)

// Bounds of the table. They decide what Apply does, so they are no options: a
// change of one needs a cluster version.
const (
	// sessionsMax bounds the sessions of a cluster; one more evicts the one that
	// was not used for longest.
	sessionsMax = 8192
	// sessionsBytesMax bounds the results that all sessions keep together; more
	// evict sessions, too.
	sessionsBytesMax = 32 << 20
	// sessionResultsMax and sessionBytesMax bound the results that one session
	// keeps; the oldest are forgotten first.
	sessionResultsMax = 256
	sessionBytesMax   = 128 << 10
)

// session makes the commands of one client take effect once each, in the order
// of their sequence numbers, however often they are sent (Raft thesis, 6.3).
type session struct {
	id       uint64 // the place of the command that opened it
	user     string // who opened it; nobody else may use it
	sequence uint64 // of the last command applied, 0 before the first
	used     uint64 // place of that command, or the id
	// results are those of the newest commands, the last one's at the end. That
	// one is kept in the session's record, those before in records of their own.
	results []sessionResult
	bytes   int  // of the results
	dirty   bool // the batch has to write its record
}

// oldest is the sequence number of the first result that is kept.
func (s *session) oldest() uint64 { return s.sequence - uint64(len(s.results)) + 1 }

// placeOf names a command for ever: places rise along the log, and no two
// commands share one, since an envelope has at most envelope.CommandsMax of
// them and raft's index stays far below 2^48.
func placeOf(index uint64, position int) uint64 { return index<<16 | uint64(position) }

// SessionOpened is the result of opening a session.
type SessionOpened struct{ ID uint64 }

// sessions is the table of all sessions. It belongs to Apply.
type sessions struct {
	max, bytesMax int
	bytes         int // of the results of all
	byID          map[uint64]*list.Element
	// order holds every *session, the least recently used first, that is in
	// the order of used.
	order *list.List
}

func newSessions() *sessions {
	return &sessions{max: sessionsMax, bytesMax: sessionsBytesMax, byID: make(map[uint64]*list.Element), order: list.New()}
}

func (t *sessions) find(id uint64) *session {
	if e := t.byID[id]; e != nil {
		return e.Value.(*session)
	}
	return nil
}

// touch puts a session at the end of the order, adding it if it is new.
func (t *sessions) touch(s *session) {
	if e := t.byID[s.id]; e != nil {
		t.order.MoveToBack(e)
		return
	}
	t.byID[s.id] = t.order.PushBack(s)
}

func (t *sessions) remove(id uint64) {
	t.bytes -= t.find(id).bytes
	t.order.Remove(t.byID[id])
	delete(t.byID, id)
}

func loadSessions(db pebble.Reader) (*sessions, error) {
	t := newSessions()
	all := make(map[uint64]*session)
	err := scanTable(db, keys.Sessions, false, func(key, value []byte) error {
		id, err := keys.Number(key)
		if err != nil {
			return err
		}
		all[id], err = decodeSession(id, value)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := loadResults(db, all); err != nil {
		return nil, err
	}
	for _, s := range slices.SortedFunc(maps.Values(all), func(a, b *session) int { return cmp.Compare(a.used, b.used) }) {
		t.bytes += s.bytes
		t.touch(s)
	}
	return t, nil
}

// loadResults reads the results before the last one of each session. They are
// forgotten from the oldest on, so there is no hole.
func loadResults(db pebble.Reader, all map[uint64]*session) error {
	before, next := make(map[uint64][]sessionResult), make(map[uint64]uint64)
	err := scanTable(db, keys.SessionResults, false, func(key, value []byte) error {
		id, sequence, err := keys.NumberPair(key)
		if err != nil {
			return err
		}
		if len(before[id]) > 0 && sequence != next[id] {
			return fmt.Errorf("%w: results of session %x go from %d to %d", ErrForeignState, id, next[id]-1, sequence)
		}
		r, err := decodeResult(value)
		if err != nil {
			return fmt.Errorf("result %d of session %x: %w", sequence, id, err)
		}
		before[id], next[id] = append(before[id], r), sequence+1
		return nil
	})
	if err != nil {
		return err
	}
	for id, list := range before {
		s := all[id]
		if s == nil || s.sequence != next[id] {
			return fmt.Errorf("%w: results of session %x end at %d", ErrForeignState, id, next[id]-1)
		}
		s.results = append(list, s.results...)
		for _, r := range list {
			s.bytes += len(r.body)
		}
	}
	return nil
}

// sequenced applies a command, once only if it belongs to a session. A refusal
// of the command itself is a result like any other: it is recorded, and the
// client goes on with the next sequence number. What the session refuses
// changes nothing, the order of use included.
func (a *application) sequenced(c *envelope.Command) (any, error) {
	if c.Session == 0 || c.Kind == envelope.KindSessionOpen || c.Kind == envelope.KindSessionClose {
		return a.command(c)
	}
	s := a.m.sessions.find(c.Session)
	switch {
	case s == nil:
		return fmt.Errorf("%w: %x", ErrSessionUnknown, c.Session), nil
	case c.User != s.user:
		return fmt.Errorf("%w: %x", ErrSessionForeign, c.Session), nil
	case c.Sequence > s.sequence+1:
		return fmt.Errorf("%w: %d of session %x, the last is %d", ErrSequenceGap, c.Sequence, s.id, s.sequence), nil
	case c.Sequence == 0 || c.Sequence < s.oldest():
		return fmt.Errorf("%w: %d of session %x, the last is %d", ErrSequencePast, c.Sequence, s.id, s.sequence), nil
	case c.Sequence <= s.sequence:
		return s.results[c.Sequence-s.oldest()].decode()
	}
	result, err := a.command(c)
	if err != nil {
		return nil, err
	}
	recorded, err := recordResult(result)
	if err != nil {
		return nil, err
	}
	acknowledged := s.sequence // whoever sends one by one has all before
	if c.Kind == envelope.KindFrame {
		f, err := envelope.DecodeFrame(c.Body)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMalformedEntry, err)
		}
		acknowledged = min(f.Acknowledged, s.sequence)
	}
	if err := a.record(s, recorded, acknowledged); err != nil {
		return nil, err
	}
	a.useSession(s)
	return result, a.makeRoom(s)
}

// record adds the result of the next command, and forgets those that were
// acknowledged or that there is no room for.
func (a *application) record(s *session, r sessionResult, acknowledged uint64) error {
	t := a.m.sessions
	s.results = append(s.results, r)
	s.sequence, s.used = s.sequence+1, a.place
	s.bytes += len(r.body)
	t.bytes += len(r.body)
	spill := len(s.results) > 1 // what was the last one needs a record of its own
	for len(s.results) > 1 && (s.oldest() <= acknowledged || len(s.results) > sessionResultsMax || s.bytes > sessionBytesMax) {
		if len(s.results) == 2 {
			spill = false
		} else if err := a.batch.Delete(keys.NumberedPair(keys.SessionResults, s.id, s.oldest())); err != nil {
			return err
		}
		n := len(s.results[0].body)
		s.bytes -= n
		t.bytes -= n
		s.results = slices.Delete(s.results, 0, 1)
	}
	if !spill {
		return nil
	}
	before := s.results[len(s.results)-2]
	return a.batch.Set(keys.NumberedPair(keys.SessionResults, s.id, s.sequence-1), before.encode(nil))
}

// makeRoom evicts those that were not used for longest while the results of all
// sessions take too much; never the one in use.
func (a *application) makeRoom(inUse *session) error {
	t := a.m.sessions
	for t.bytes > t.bytesMax {
		oldest := t.order.Front().Value.(*session)
		if oldest == inUse {
			return nil
		}
		if err := a.endSession(oldest); err != nil {
			return err
		}
	}
	return nil
}

// useSession completes a change of a session.
func (a *application) useSession(s *session) {
	a.m.effects.session(s.id, s.sequence)
	a.m.sessions.touch(s)
	if !s.dirty {
		s.dirty = true
		a.used = append(a.used, s)
	}
}

func (a *application) openSession(c *envelope.Command) (any, error) {
	t := a.m.sessions
	for t.order.Len() >= t.max {
		if err := a.endSession(t.order.Front().Value.(*session)); err != nil {
			return nil, err
		}
	}
	a.useSession(&session{id: a.place, user: c.User, used: a.place})
	return &SessionOpened{ID: a.place}, nil
}

// closeSession closes one for its user, or for a leader that found it expired.
func (a *application) closeSession(c *envelope.Command) (any, error) {
	req, err := envelope.DecodeSessionClose(c.Body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformedEntry, err)
	}
	s := a.m.sessions.find(req.Session)
	switch {
	case req.Term != 0 && req.Term != a.next.term:
		return fmt.Errorf("%w: term %d, applied in term %d", ErrSessionTerm, req.Term, a.next.term), nil
	case s == nil:
		return fmt.Errorf("%w: %x", ErrSessionUnknown, req.Session), nil
	case req.Term == 0 && c.User != s.user:
		return fmt.Errorf("%w: %x", ErrSessionForeign, req.Session), nil
	case req.Used != 0 && req.Used < s.used:
		return fmt.Errorf("%w: %x", ErrSessionUsed, req.Session), nil
	}
	return &pb.EmptyResponse{}, a.endSession(s)
}

// endSession removes a session with all its records. The last result is in the
// session's own.
func (a *application) endSession(s *session) error {
	a.m.sessions.remove(s.id)
	a.m.effects.sessionEnd(s.id)
	for sequence := s.oldest(); sequence < s.sequence; sequence++ {
		if err := a.batch.Delete(keys.NumberedPair(keys.SessionResults, s.id, sequence)); err != nil {
			return err
		}
	}
	return a.batch.Delete(keys.Numbered(keys.Sessions, s.id))
}

// writeSessions puts the sessions that were used into the batch, in the order
// of their first use in it. Those that ended since are deleted in it already.
func (a *application) writeSessions() error {
	for _, s := range a.used {
		s.dirty = false
		if a.m.sessions.find(s.id) == nil {
			continue
		}
		if err := a.batch.Set(keys.Numbered(keys.Sessions, s.id), s.encode()); err != nil {
			return err
		}
	}
	return nil
}

// SessionUse is what is known of a session beside its results.
type SessionUse struct {
	ID uint64
	// Used is the place of its last command.
	Used uint64
}

// EachSession calls visit with every session.
func (m *Machine) EachSession(visit func(SessionUse) error) error {
	v, err := m.acquireView()
	if err != nil {
		return err
	}
	defer v.handle.Release()
	return scanTable(v.handle.DB(), keys.Sessions, false, func(key, value []byte) error {
		id, err := keys.Number(key)
		if err != nil {
			return err
		}
		s, err := decodeSession(id, value)
		if err != nil {
			return err
		}
		return visit(SessionUse{ID: id, Used: s.used})
	})
}
