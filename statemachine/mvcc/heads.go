package mvcc

// head is what a put needs of the newest version of its key.
type head struct {
	createRevision int64
	version        int64 // 0: the key does not exist
	lease          int64
}

const (
	// headBytes is what a head takes in memory beside its key, roughly.
	headBytes = 64
	// headKeyBytesMax keeps a few large keys from displacing many small ones.
	headKeyBytesMax = 256
)

// heads remembers the heads of keys that were written lately, so that a put of
// one of them does not search the database: that search is half of what a put
// costs. It only repeats what the database holds, and decides nothing.
//
// Two generations make it a bounded cache that forgets what was not used for
// long: what is found in the old one moves to the young one, and a full young
// one takes the place of the old one.
type heads struct {
	young, old map[string]head
	// youngBytes is what young takes, generationBytes what it may.
	youngBytes, generationBytes int64
}

// reset forgets everything; both generations may take bytesMax from now on.
func (h *heads) reset(bytesMax int64) {
	*h = heads{young: make(map[string]head), generationBytes: bytesMax / 2}
}

func (h *heads) get(key []byte) (head, bool) {
	if found, ok := h.young[string(key)]; ok {
		return found, true
	}
	found, ok := h.old[string(key)]
	return found, ok
}

func (h *heads) put(key string, newest head) {
	size := int64(len(key)) + headBytes
	if len(key) > headKeyBytesMax || size > h.generationBytes {
		return
	}
	if _, known := h.young[key]; !known {
		if h.youngBytes+size > h.generationBytes {
			h.young, h.old, h.youngBytes = make(map[string]head, len(h.young)), h.young, 0
		}
		h.youngBytes += size
	}
	h.young[key] = newest
}
