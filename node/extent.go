package node

import "slices"

// extent knows how many bytes of log lie beyond an index, for the newest part of the
// log.
type extent struct {
	grain int // appends that are small together count as one, up to so many bytes
	base  int // bytes before ends
	ends  []end
}

// end is the last index of one or a few appends, and how many bytes were written up
// to it.
type end struct {
	last  uint64
	bytes int
}

func (e *extent) total() int {
	return e.before(len(e.ends))
}

// before returns the bytes before the piece with that number.
func (e *extent) before(n int) int {
	if n == 0 {
		return e.base
	}
	return e.ends[n-1].bytes
}

// append counts entries from index first to last. What they replace counts no more.
func (e *extent) append(first, last uint64, bytes int) {
	n, _ := e.find(first - 1)
	e.ends = e.ends[:n]
	total := e.total() + bytes
	if n > 0 && total-e.before(n-1) <= e.grain {
		n--
	}
	e.ends = append(e.ends[:n], end{last, total})
}

// find returns how many appends lie before the first that goes beyond index, and
// the bytes of them.
func (e *extent) find(index uint64) (n, bytes int) {
	n, _ = slices.BinarySearchFunc(e.ends, index+1, func(x end, next uint64) int { return int(int64(x.last) - int64(next)) })
	return n, e.before(n)
}

// beyond returns the bytes of the appends that go beyond index, those that count as
// one with them included.
func (e *extent) beyond(index uint64) int {
	_, before := e.find(index)
	return e.total() - before
}

// forget drops what lies up to index and further back than so many bytes.
func (e *extent) forget(index uint64, bytes int) {
	n, _ := e.find(index)
	for n > 0 && e.total()-e.ends[n-1].bytes < bytes {
		n--
	}
	if n > 0 {
		e.base = e.ends[n-1].bytes
		e.ends = slices.Delete(e.ends, 0, n)
	}
}
