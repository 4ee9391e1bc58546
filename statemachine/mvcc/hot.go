package mvcc

import (
	"bytes"
	"hash/maphash"
	"sync"
)

// Hot remembers the newest versions of keys that are read often, and which keys
// that are asked for often do not exist, so that reading one does not search the
// database. It only repeats what the database holds, and decides nothing.
//
// What it says of a key is what a view of the database shows, if that view was
// taken before it was asked: whoever changes a key says so (Changed) before any
// view shows the change, which makes Hot forget the key; and what a reader found in
// an older view is refused if a key of the same shard was changed since.
//
// A key is remembered when it is read for the second time within a while, so that a
// walk through all keys displaces none. Two generations make each shard a bounded
// cache, as they do in heads.
//
// A nil one remembers nothing. Any number of goroutines may use it.
type Hot struct {
	seed            maphash.Seed
	generationBytes int64 // what a generation of a shard may take
	shards          []hotShard
}

const (
	hotShards = 64
	// hotSeen is how many keys a shard knows to have been read once.
	hotSeen = 512
	// hotShare bounds an entry: so many have room in a generation of a shard.
	hotShare = 8
	// hotEntryBytes is what an entry takes in memory beside key and value, roughly.
	hotEntryBytes = 208
)

type hotShard struct {
	mu         sync.Mutex
	young, old map[string]hotEntry
	youngBytes int64
	// changed is the newest main revision that changed a key of the shard.
	changed int64
	seen    [hotSeen]uint32 // parts of the hashes of keys that were read
}

// hotEntry is what is known of a key from main revision since on. What it holds
// never changes; kv has no key.
type hotEntry struct {
	kv     KeyValue
	exists bool
	since  int64
}

// NewHot returns one that takes bytesMax of memory at most, roughly.
func NewHot(bytesMax int64) *Hot {
	if bytesMax <= 0 {
		return nil
	}
	return &Hot{seed: maphash.MakeSeed(), generationBytes: bytesMax / hotShards / 2, shards: make([]hotShard, hotShards)}
}

// Get returns the version of key that was current at main revision revision, if the
// key existed, and whether that is known at all. The caller has a view of the
// database at revision or later. The value is not to be changed, the key is the
// caller's.
func (h *Hot) Get(key []byte, revision int64) (kv KeyValue, exists, known bool) {
	if h == nil {
		return kv, false, false
	}
	s, _ := h.shard(maphash.Bytes(h.seed, key))
	s.mu.Lock()
	defer s.mu.Unlock()
	e, known := s.young[string(key)]
	if !known {
		if e, known = s.old[string(key)]; known {
			delete(s.old, string(key))
			h.add(s, string(key), e)
		}
	}
	if !known || e.since > revision {
		return kv, false, false
	}
	e.kv.Key = key
	return e.kv, e.exists, true
}

// Offer tells what a reader found of a key in its view, whose newest main revision
// is revision: kv, if the key exists. What is remembered is copied.
func (h *Hot) Offer(key []byte, kv *KeyValue, exists bool, revision int64) {
	if h == nil || h.size(len(key), len(kv.Value)) > h.generationBytes/hotShare {
		return
	}
	hash := maphash.Bytes(h.seed, key)
	s, seen := h.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	if mark := uint32(hash>>32) | 1; *seen != mark {
		*seen = mark
		return
	}
	if s.changed > revision {
		return
	}
	e := hotEntry{exists: exists, since: revision}
	if exists {
		e.kv, e.since = *kv, kv.Revision.Main
		e.kv.Key, e.kv.Value = nil, bytes.Clone(kv.Value)
	}
	h.add(s, string(key), e)
}

// Changed tells that main revision revision changes a key. No view shows that yet.
func (h *Hot) Changed(key string, revision int64) {
	if h == nil {
		return
	}
	s, _ := h.shard(maphash.String(h.seed, key))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed = revision
	if e, known := s.young[key]; known {
		s.youngBytes -= h.size(len(key), len(e.kv.Value))
		delete(s.young, key)
	}
	delete(s.old, key)
}

// shard returns the shard of a key, and the place where it is noted that it was read.
func (h *Hot) shard(hash uint64) (*hotShard, *uint32) {
	s := &h.shards[hash%hotShards]
	return s, &s.seen[hash/hotShards%hotSeen]
}

// add remembers e in a shard that is locked.
func (h *Hot) add(s *hotShard, key string, e hotEntry) {
	size := h.size(len(key), len(e.kv.Value))
	if known, again := s.young[key]; again {
		s.youngBytes -= h.size(len(key), len(known.kv.Value))
	}
	if s.youngBytes+size > h.generationBytes || s.young == nil {
		s.young, s.old, s.youngBytes = make(map[string]hotEntry), s.young, 0
	}
	s.youngBytes += size
	s.young[key] = e
}

func (h *Hot) size(keyLen, valueLen int) int64 {
	return int64(keyLen + valueLen + hotEntryBytes)
}
