package statemachine

import (
	"errors"
	"slices"

	"raftkv/statemachine/keys"
	"raftkv/statemachine/mvcc"
)

// Record is one of a table.
type Record struct{ Key, Value []byte }

// Records returns all records of a table.
func (m *Machine) Records(t keys.Table) (out []Record, err error) {
	h, err := m.store.Acquire()
	if err != nil {
		return nil, err
	}
	defer h.Release()
	err = scanTable(h.DB(), t, false, func(key, value []byte) error {
		out = append(out, Record{slices.Clone(key), slices.Clone(value)})
		return nil
	})
	return out, err
}

// Changes returns what the revisions table records, each change as if it had a
// record of its own, and how many records those are.
func (m *Machine) Changes() (changes []Record, records int, err error) {
	all, err := m.Records(keys.Revisions)
	for _, r := range all {
		err = errors.Join(err, mvcc.VisitChanges(r.Key, r.Value, func(rev keys.Revision, key []byte) error {
			changes = append(changes, Record{keys.AppendRevision(nil, rev), slices.Clone(key)})
			return nil
		}))
	}
	return changes, len(all), err
}

// Attribute returns what the reference to the newest value of key tells of it, and
// whether the value lies apart from its key.
func (m *Machine) Attribute(key string) (attribute int, apart bool, err error) {
	h, err := m.store.Acquire()
	if err != nil {
		return 0, false, err
	}
	defer h.Release()
	it, err := h.DB().NewIter(nil)
	if err != nil {
		return 0, false, err
	}
	if it.SeekGE(keys.AppendSeek(nil, []byte(key), m.Revision())) {
		value := it.LazyValue()
		short, ok := value.TryGetShortAttribute()
		attribute, apart = int(short), ok
	}
	return attribute, apart, it.Close()
}

// SetSessionsMax changes how many sessions there may be, until the next Open
// or Replace.
func (m *Machine) SetSessionsMax(n int) { m.sessions.max = n }

// SetSessionsBytesMax changes how many bytes of results there may be, until the
// next Open or Replace.
func (m *Machine) SetSessionsBytesMax(n int) { m.sessions.bytesMax = n }

// SessionBytes returns what is accounted for of the results of all sessions.
func (m *Machine) SessionBytes() int { return m.sessions.bytes }

// Refused tells whether a session records a refusal as such.
func Refused(err error) bool {
	r, recordErr := recordResult(err)
	return recordErr == nil && r.form == resultRefusal
}
