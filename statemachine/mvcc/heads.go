package mvcc

// head is what a put needs of the newest version of its key.
type head struct {
	createRevision int64
	version        int64 // 0: the key does not exist
	lease          int64
	// generation is that of heads when the head was used last; 0: it is not
	// remembered.
	generation uint64
}

const (
	// headBytes is what a head takes in memory beside its key, roughly.
	headBytes = 96
	// headKeyBytesMax keeps a few large keys from displacing many small ones.
	headKeyBytesMax = 256
)

// heads remembers the heads of keys that were written lately, so that a put of
// one of them does not search the database: that search is half of what a put
// costs. It only repeats what the database holds, and decides nothing.
//
// Two generations make it a bounded cache that forgets what was not used for
// long: what is used in the old one moves to the young one, and a full young one
// takes the place of the old one.
type heads struct {
	young, old map[string]*head
	generation uint64 // of young
	// youngBytes is what young takes, generationBytes what it may.
	youngBytes, generationBytes int64
}

// reset forgets everything; both generations may take bytesMax from now on.
func (h *heads) reset(bytesMax int64) {
	*h = heads{young: make(map[string]*head), generation: 1, generationBytes: bytesMax / 2}
}

// get returns the head of key, or nil. Whoever writes the key changes it.
func (h *heads) get(key []byte) *head {
	if found := h.young[string(key)]; found != nil {
		return found
	}
	return h.old[string(key)]
}

// put remembers a head, or only that it was used.
func (h *heads) put(key string, newest *head) {
	if newest.generation == h.generation {
		return
	}
	size := int64(len(key)) + headBytes
	if len(key) > headKeyBytesMax || size > h.generationBytes {
		return
	}
	if h.youngBytes+size > h.generationBytes {
		h.young, h.old, h.youngBytes = make(map[string]*head, len(h.young)), h.young, 0
		h.generation++
	}
	h.youngBytes += size
	newest.generation = h.generation
	h.young[key] = newest
}
