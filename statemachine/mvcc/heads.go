package mvcc

// head is what a put needs of the newest version of its key.
type head struct {
	createRevision int64
	version        int64 // 0: the key does not exist
}

// headsMax bounds each generation of heads, headKeyBytesMax what one may take.
const (
	headsMax        = 1 << 15
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
}

func (h *heads) reset() { h.young, h.old = make(map[string]head), nil }

func (h *heads) get(key []byte) (head, bool) {
	if found, ok := h.young[string(key)]; ok {
		return found, true
	}
	found, ok := h.old[string(key)]
	return found, ok
}

func (h *heads) put(key string, newest head) {
	if len(key) > headKeyBytesMax {
		return
	}
	if len(h.young) >= headsMax {
		h.young, h.old = make(map[string]head, headsMax), h.young
	}
	h.young[key] = newest
}
