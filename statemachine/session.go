package statemachine

import (
	"cmp"
	"container/list"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"raftkv/statemachine/envelope"
	"raftkv/statemachine/keys"
)

// sessionsMax bounds the sessions of a cluster; one more evicts the one that
// was not used for longest. It decides what Apply does, so it is no option: a
// change of it needs a cluster version.
const sessionsMax = 8192

// session makes the commands of one client take effect once each, in the order
// of their sequence numbers, however often they are sent (Raft thesis, 6.3).
type session struct {
	id       uint64 // the place of the command that opened it
	sequence uint64 // of the last command applied, 0 before the first
	used     uint64 // place of that command, or the id
	result   sessionResult
	dirty    bool // the batch has to write it
}

// placeOf names a command for ever: places rise along the log, and no two
// commands share one, since an envelope has at most envelope.CommandsMax of
// them and raft's index stays far below 2^48.
func placeOf(index uint64, position int) uint64 { return index<<16 | uint64(position) }

// SessionOpened is the result of opening a session.
type SessionOpened struct{ ID uint64 }

// sessions is the table of all sessions. It belongs to Apply.
type sessions struct {
	max  int
	byID map[uint64]*list.Element
	// order holds every *session, the least recently used first, that is in
	// the order of used.
	order *list.List
}

func newSessions() *sessions {
	return &sessions{max: sessionsMax, byID: make(map[uint64]*list.Element), order: list.New()}
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
	t.order.Remove(t.byID[id])
	delete(t.byID, id)
}

func loadSessions(db pebble.Reader) (*sessions, error) {
	var all []*session
	err := scanTable(db, keys.Sessions, false, func(key, value []byte) error {
		id, err := keys.Number(key)
		if err != nil {
			return err
		}
		s, err := decodeSession(id, value)
		all = append(all, s)
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b *session) int { return cmp.Compare(a.used, b.used) })
	t := newSessions()
	for _, s := range all {
		t.touch(s)
	}
	return t, nil
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
	case c.Sequence == 0 || c.Sequence < s.sequence:
		return fmt.Errorf("%w: %d of session %x, the last is %d", ErrSequencePast, c.Sequence, s.id, s.sequence), nil
	case c.Sequence == s.sequence:
		return s.result.decode()
	case c.Sequence > s.sequence+1:
		return fmt.Errorf("%w: %d of session %x, the last is %d", ErrSequenceGap, c.Sequence, s.id, s.sequence), nil
	}
	result, err := a.command(c)
	if err != nil {
		return nil, err
	}
	s.sequence, s.used = c.Sequence, a.place
	if s.result, err = recordResult(result); err != nil {
		return nil, err
	}
	a.useSession(s)
	return result, nil
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

func (a *application) openSession() (any, error) {
	t := a.m.sessions
	for t.order.Len() >= t.max {
		if err := a.endSession(t.order.Front().Value.(*session)); err != nil {
			return nil, err
		}
	}
	a.useSession(&session{id: a.place, used: a.place})
	return &SessionOpened{ID: a.place}, nil
}

func (a *application) closeSession(c *envelope.Command) (any, error) {
	req, err := envelope.DecodeSessionClose(c.Body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformedEntry, err)
	}
	s := a.m.sessions.find(req.Session)
	switch {
	case s == nil:
		return fmt.Errorf("%w: %x", ErrSessionUnknown, req.Session), nil
	case req.Used != 0 && req.Used < s.used:
		return fmt.Errorf("%w: %x", ErrSessionUsed, req.Session), nil
	}
	return &pb.EmptyResponse{}, a.endSession(s)
}

func (a *application) endSession(s *session) error {
	a.m.sessions.remove(s.id)
	a.m.effects.sessionEnd(s.id)
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
