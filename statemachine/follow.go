package statemachine

import (
	"errors"
	"slices"

	"raftkv/statemachine/keys"
	"raftkv/statemachine/mvcc"
)

// Change is one change of the key space.
type Change = mvcc.Change

// KeyValue is one version of a key.
type KeyValue = mvcc.KeyValue

// HistoryLimits bound one call of History.
type HistoryLimits = mvcc.HistoryLimits

// Progress says that the key space has moved on: revisions From to To are
// visible now.
type Progress struct {
	From, To int64
	// Changes are those of the revisions, in order, if Collected; else they have
	// to be looked up by History. The receiver owns the list; keys and values
	// may alias log entries, which never change.
	Changes   []Change
	Collected bool
}

// Follower is told how the key space moves on. Its methods are called inside
// Apply and Replace, and must not block.
type Follower interface {
	// Wants tells whether the changes of the next batch are to be collected.
	Wants() bool
	// Advance is called once the revisions are visible. Each follows those
	// before, without gap; an installed snapshot skips what it holds.
	Advance(Progress)
}

// collector is a recorder that keeps the changes for a Follower.
type collector struct {
	effects *effects
	changes []Change
}

// RecordPut implements mvcc.Recorder. Key and value are those of the command,
// which are part of a log entry, or were made for it: they stay as they are.
func (c *collector) RecordPut(kv *mvcc.KeyValue) {
	c.effects.RecordPut(kv)
	c.changes = append(c.changes, Change{KeyValue: *kv})
}

// RecordDelete implements mvcc.Recorder.
func (c *collector) RecordDelete(key []byte, rev keys.Revision) {
	c.effects.RecordDelete(key, rev)
	c.changes = append(c.changes, Change{KeyValue: KeyValue{Key: slices.Clone(key), Revision: rev}, Deleted: true})
}

// recorder returns what the writer tells its changes, and the collector if the
// follower wants them.
func (m *Machine) recorder() (mvcc.Recorder, *collector) {
	if m.opts.Follower == nil || !m.opts.Follower.Wants() {
		return &m.effects, nil
	}
	c := &collector{effects: &m.effects}
	return c, c
}

// advance tells the follower that the key space has moved from one revision to
// another, and what was collected.
func (m *Machine) advance(from, to int64, collected *collector) {
	if m.opts.Follower == nil || to <= from {
		return
	}
	p := Progress{From: from + 1, To: to}
	if collected != nil {
		p.Changes, p.Collected = collected.changes, true
	}
	m.opts.Follower.Advance(p)
}

// History is a piece of what happened to the key space.
type History struct {
	Changes []Change
	// Next is the first revision that was not looked at, Revision the newest
	// there was: behind the last piece Next is Revision+1.
	Next, Revision int64
	// Compacted is the oldest revision that can be read, or -1.
	Compacted int64
}

// History returns the changes, from a revision on, of the keys that want names
// (nil: of all), as far as the limits allow. If from is compacted it returns
// ErrCompacted, with Compacted set.
func (m *Machine) History(from int64, limits HistoryLimits, want func(key []byte) bool) (h History, err error) {
	v, err := m.acquireView()
	if err != nil {
		return h, err
	}
	defer v.handle.Release()
	h.Revision = v.revision
	h.Changes, h.Next, err = mvcc.ReadHistory(v.handle.DB(), from, v.revision, limits, want)
	// Loaded after the read, so that it covers whatever the read misses: what a
	// sweep took away while the read went on is no damage.
	if h.Compacted = m.view.Load().compacted; from < h.Compacted {
		h.Changes = nil
		return h, ErrCompacted
	}
	return h, err
}

// Previous returns, for each change, the version of its key before that
// revision; nil where there was none, or where it is compacted.
func (m *Machine) Previous(changes []Change) (_ []*KeyValue, err error) {
	v, err := m.acquireView()
	if err != nil {
		return nil, err
	}
	defer v.handle.Release()
	s, err := mvcc.NewSnapshot(v.handle.DB(), v.revision)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	compacted := m.view.Load().compacted
	list := make([]*KeyValue, len(changes))
	for i := range changes {
		c := &changes[i]
		before := c.Revision.Main - 1
		if c.Creates() || before < compacted {
			continue
		}
		kv, found, err := s.Get(c.Key, before)
		if err != nil {
			return nil, err
		}
		if found {
			kv.Value = slices.Clone(kv.Value)
			list[i] = &kv
		}
	}
	return list, nil
}
