package kv

import (
	"fmt"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"raftkv/statemachine/keys"
	"raftkv/statemachine/mvcc"
)

// list is a Reader of n keys, all of revision 2, that counts what it is asked.
type list struct {
	n       int
	visited int // by Scan
	counted int // by Count
}

func listKey(i int) []byte { return fmt.Appendf(nil, "%06d", i) }

func (l *list) Revision() int64  { return 2 }
func (l *list) Compacted() int64 { return mvcc.NeverCompacted }
func (l *list) Get([]byte, int64) (mvcc.KeyValue, bool, error) {
	return mvcc.KeyValue{}, false, nil
}

func (l *list) Scan(span mvcc.Span, _ int64, visit func(*mvcc.KeyValue) (bool, error)) error {
	for i := range l.n {
		key := listKey(i)
		if string(key) < string(span.Start) || span.End != nil && string(key) >= string(span.End) {
			continue
		}
		l.visited++
		if more, err := visit(&mvcc.KeyValue{Key: key, Revision: keys.Revision{Main: 2}}); err != nil || !more {
			return err
		}
	}
	return nil
}

func (l *list) Count(span mvcc.Span, revision int64, _ func() error) (n int64, err error) {
	visited := l.visited
	err = l.Scan(span, revision, func(*mvcc.KeyValue) (bool, error) {
		n++
		return true, nil
	})
	l.visited = visited
	l.counted += int(n)
	return n, err
}

// TestPagesCountOnce: a listing in pages reads every key once and counts once,
// however its client names the next page, and every page has the right count.
func TestPagesCountOnce(t *testing.T) {
	const n, limit = 1000, 30
	for name, first := range map[string]*pb.RangeRequest{
		"pinned":  {Key: []byte{0}, RangeEnd: []byte{0}, Limit: limit, Revision: 2},
		"newest":  {Key: []byte("0"), RangeEnd: []byte("1"), Limit: limit},
		"ordered": {Key: []byte("0"), RangeEnd: []byte("1"), Limit: limit, SortOrder: pb.RangeRequest_ASCEND, KeysOnly: true},
	} {
		l, counts := &list{n: n}, NewCounts()
		req := first
		for listed := int64(0); ; {
			resp, err := Range(t.Context(), l, counts, nil, req)
			if err != nil {
				t.Fatal(err)
			}
			if resp.Count != n-listed || resp.More != (listed+limit < n) || len(resp.Kvs) != min(limit, n-int(listed)) {
				t.Fatalf("%s: after %d keys: count %d, more %t, %d keys", name, listed, resp.Count, resp.More, len(resp.Kvs))
			}
			listed += int64(len(resp.Kvs))
			if !resp.More {
				break
			}
			req.Key = append(resp.Kvs[limit-1].Key, 0)
		}
		if l.counted != n-limit || l.visited > n+n/limit {
			t.Errorf("%s: %d keys counted, %d visited", name, l.counted, l.visited)
		}
		count, err := Range(t.Context(), l, counts, nil, &pb.RangeRequest{Key: first.Key, RangeEnd: first.RangeEnd, CountOnly: true, Revision: 2})
		if err != nil || count.Count != n-(n-1)/limit*limit || l.counted != n-limit {
			t.Errorf("%s: count %v, %v; %d keys counted", name, count, err, l.counted)
		}
	}
}

// TestCountsAreBounded: old counts are forgotten, those in use are not, and
// spans are told apart.
func TestCountsAreBounded(t *testing.T) {
	c := NewCounts()
	c.add([]byte("used"), []byte("end"), 1, 7)
	for i := range 100_000 {
		c.add(listKey(i), []byte("end"), 5, int64(i))
		if n, ok := c.get([]byte("used"), []byte("end"), 1); !ok || n != 7 {
			t.Fatalf("after %d more: %d, %t", i, n, ok)
		}
	}
	if size := len(c.recent) + len(c.old); size > 2*countsBytesMax/countOverhead {
		t.Errorf("%d counts are kept", size)
	}
	if _, ok := c.get(listKey(0), []byte("end"), 5); ok {
		t.Error("the oldest count is still there")
	}
	c.add(make([]byte, countsBytesMax), nil, 1, 1)
	if c.recentBytes > countsBytesMax {
		t.Errorf("%d bytes are kept", c.recentBytes)
	}
	for _, other := range []struct{ start, end string }{{"usede", "nd"}, {"use", "dend"}, {"", "usedend"}, {"used", ""}} {
		if n, ok := c.get([]byte(other.start), []byte(other.end), 1); ok {
			t.Errorf("%v: %d", other, n)
		}
	}
	if _, ok := c.get([]byte("used"), []byte("end"), 2); ok {
		t.Error("another revision has the same count")
	}
}
