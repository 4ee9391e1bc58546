package mvcc

import (
	"bytes"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"raftkv/statemachine/keys"
)

// stepsMax is how many versions of a key are stepped over before the cursor
// seeks: a step is an order of magnitude cheaper, but a key may have thousands
// of versions.
const stepsMax = 4

// checkEvery is how many keys are counted between two looks at whether anybody
// still waits.
const checkEvery = 4096

// cursor reads versions from an iterator over the keys table. The zero value
// is ready; its buffers are reused.
type cursor struct {
	it       *pebble.Iterator
	revision int64
	end      []byte // user key; nil: none
	bare     bool   // kv has nothing but its key and revision
	kv       KeyValue
	key      []byte // backs kv.Key
	seekKey  []byte
}

// get finds the version of key that was current at revision.
func (c *cursor) get(it *pebble.Iterator, key []byte, revision int64) (KeyValue, bool, error) {
	c.seekKey = keys.AppendSeek(c.seekKey[:0], key, revision)
	if !it.SeekPrefixGE(c.seekKey) {
		return KeyValue{}, false, wrapRead(it.Error())
	}
	kv := KeyValue{Key: key}
	var err error
	if _, kv.Revision, err = decodeKey(it.Key()); err != nil {
		return KeyValue{}, false, err
	}
	found, err := decodeValue(it, &kv)
	return kv, found, err
}

// head finds what a put needs of the newest version of key at or below revision;
// the zero head if the key does not exist.
func (c *cursor) head(it *pebble.Iterator, key []byte, revision int64) (head, error) {
	c.seekKey = keys.AppendSeek(c.seekKey[:0], key, revision)
	if !it.SeekPrefixGE(c.seekKey) {
		return head{}, wrapRead(it.Error())
	}
	_, rev, err := decodeKey(it.Key())
	if err != nil {
		return head{}, err
	}
	value := it.LazyValue()
	if attribute, apart := value.TryGetShortAttribute(); apart && attribute == attributeFirst {
		return head{createRevision: rev.Main, version: 1}, nil
	}
	var kv KeyValue
	found, err := decodeValue(it, &kv)
	if err != nil || !found {
		return head{}, err
	}
	return head{createRevision: kv.CreateRevision, version: kv.Version, lease: kv.Lease}, nil
}

// seek positions the cursor at the first key of span.
func (c *cursor) seek(it *pebble.Iterator, span Span, revision int64) (bool, error) {
	c.it, c.end, c.revision, c.bare = it, span.End, revision, false
	return c.first(span)
}

// count counts the keys of span, and calls check from time to time.
func (c *cursor) count(it *pebble.Iterator, span Span, revision int64, check func() error) (n int64, err error) {
	c.it, c.end, c.revision, c.bare = it, span.End, revision, true
	for ok, err := c.first(span); ; ok, err = c.next() {
		if err != nil || !ok {
			return n, err
		}
		if n++; n%checkEvery == 0 {
			if err := check(); err != nil {
				return n, err
			}
		}
	}
}

func (c *cursor) first(span Span) (bool, error) {
	c.seekKey = keys.AppendPrefix(c.seekKey[:0], span.Start)
	return c.settle(c.it.SeekGE(c.seekKey))
}

// next positions the cursor at the next key.
func (c *cursor) next() (bool, error) {
	valid, err := c.skipVersions()
	if err != nil {
		return false, err
	}
	return c.settle(valid)
}

// skipVersions leaves the versions of the current key behind.
func (c *cursor) skipVersions() (valid bool, err error) {
	for range stepsMax {
		if !c.it.Next() {
			return false, nil
		}
		key, _, err := decodeKey(c.it.Key())
		if err != nil {
			return false, err
		}
		if !bytes.Equal(key, c.key) {
			return true, nil
		}
	}
	return c.it.NextPrefix(), nil
}

// settle moves on from wherever the iterator stands to the first version that
// is to be emitted.
func (c *cursor) settle(valid bool) (bool, error) {
	steps := 0
	for valid {
		key, rev, err := decodeKey(c.it.Key())
		if err != nil {
			return false, err
		}
		if c.end != nil && bytes.Compare(key, c.end) >= 0 {
			return false, nil
		}
		if rev.Main > c.revision {
			// Too new; the next version of the key, or the next key, may do.
			if steps++; steps <= stepsMax {
				valid = c.it.Next()
				continue
			}
			steps = 0
			c.seekKey = keys.AppendSeek(c.seekKey[:0], key, c.revision)
			valid = c.it.SeekGE(c.seekKey)
			continue
		}
		c.key = append(c.key[:0], key...)
		c.kv = KeyValue{Key: c.key, Revision: rev}
		found, err := c.value()
		if err != nil || found {
			return found, err
		}
		steps = 0
		if valid, err = c.skipVersions(); err != nil {
			return false, err
		}
	}
	return false, wrapRead(c.it.Error())
}

// value reads the value the iterator stands at into kv, or only tells whether
// there is one.
func (c *cursor) value() (found bool, err error) {
	if !c.bare {
		return decodeValue(c.it, &c.kv)
	}
	if valueLen(c.it) != tombstoneLen {
		return true, nil
	}
	data, err := c.it.ValueAndErr()
	return err == nil && !isTombstone(data), wrapRead(err)
}

func decodeKey(key []byte) ([]byte, keys.Revision, error) {
	userKey, rev, err := keys.DecodeVersion(key)
	if err != nil {
		return nil, rev, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return userKey, rev, nil
}

func decodeValue(it *pebble.Iterator, kv *KeyValue) (bool, error) {
	data, err := it.ValueAndErr()
	if err != nil {
		return false, wrapRead(err)
	}
	return kv.decode(data)
}

func wrapRead(err error) error {
	if err != nil {
		return fmt.Errorf("reading the key space: %w", err)
	}
	return nil
}
