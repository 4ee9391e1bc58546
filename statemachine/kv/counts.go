package kv

import (
	"encoding/binary"
	"sync"
)

// Counts remembers how many keys a span held at a revision, so that a listing
// in pages counts once: every page leaves the count of what comes after it,
// and the next page finds it. A count never becomes wrong, because the key
// space at a revision never changes. Safe for concurrent use.
type Counts struct {
	mu sync.Mutex
	// recent takes what is added until it is full; then it becomes old, and
	// what old held and nobody asked for since is forgotten.
	recent, old map[string]int64
	recentBytes int
}

const (
	// countsBytesMax bounds each of the two generations.
	countsBytesMax = 256 << 10
	// countOverhead is what an entry takes beside its key, roughly.
	countOverhead = 64
)

// NewCounts returns an empty memory.
func NewCounts() *Counts { return &Counts{recent: make(map[string]int64)} }

// countKey names the keys from start to before end at a revision.
func countKey(start, end []byte, revision int64) string {
	b := make([]byte, 0, 8+binary.MaxVarintLen64+len(start)+len(end))
	b = binary.BigEndian.AppendUint64(b, uint64(revision))
	b = binary.AppendUvarint(b, uint64(len(end)))
	b = append(b, end...)
	return string(append(b, start...))
}

func (c *Counts) get(start, end []byte, revision int64) (n int64, found bool) {
	if c == nil {
		return 0, false
	}
	key := countKey(start, end, revision)
	c.mu.Lock()
	defer c.mu.Unlock()
	if n, found = c.recent[key]; found {
		return n, true
	}
	if n, found = c.old[key]; found {
		c.addLocked(key, n)
	}
	return n, found
}

func (c *Counts) add(start, end []byte, revision, n int64) {
	if c == nil {
		return
	}
	key := countKey(start, end, revision)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.addLocked(key, n)
}

func (c *Counts) addLocked(key string, n int64) {
	size := len(key) + countOverhead
	if size > countsBytesMax/16 {
		return
	}
	if c.recentBytes+size > countsBytesMax {
		c.old, c.recent, c.recentBytes = c.recent, make(map[string]int64), 0
	}
	if _, known := c.recent[key]; !known {
		c.recentBytes += size
	}
	c.recent[key] = n
}
