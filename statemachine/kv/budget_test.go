package kv

import (
	"errors"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// TestBudgetEndsAScan: a range that does not fit ends where it stops fitting,
// not after everything was read.
func TestBudgetEndsAScan(t *testing.T) {
	const n = 1000
	size := int64(len(listKey(0)) + overheadBytes)
	all := func() *pb.RangeRequest { return &pb.RangeRequest{Key: []byte("0"), RangeEnd: []byte{0}} }
	for name, c := range map[string]struct {
		change  func(r *pb.RangeRequest)
		fitting int64 // keys
		refused bool
		visited int // at most
	}{
		"too large":         {func(*pb.RangeRequest) {}, 10, true, 11},
		"exactly":           {func(*pb.RangeRequest) {}, n, false, n},
		"one too large":     {func(*pb.RangeRequest) {}, n - 1, true, n},
		"sorted":            {func(r *pb.RangeRequest) { r.SortOrder, r.Limit = pb.RangeRequest_DESCEND, 5 }, 10, true, 11},
		"a limit":           {func(r *pb.RangeRequest) { r.Limit = 10 }, 10, false, 11},
		"a larger limit":    {func(r *pb.RangeRequest) { r.Limit = 11 }, 10, true, 11},
		"counted":           {func(r *pb.RangeRequest) { r.CountOnly = true }, 0, false, n},
		"nothing passes":    {func(r *pb.RangeRequest) { r.MinModRevision = 3 }, 0, false, n},
		"one, and no space": {func(r *pb.RangeRequest) { r.Limit = 1 }, 0, false, 2},
	} {
		l, req := &list{n: n}, all()
		c.change(req)
		_, err := Range(t.Context(), l, NewCounts(), NewBudget(c.fitting*size), req)
		if errors.Is(err, ErrResponseTooLarge) != c.refused || (err != nil) != c.refused || l.visited > c.visited {
			t.Errorf("%s: %v, %d keys visited", name, err, l.visited)
		}
	}
	if IsRefusal(ErrResponseTooLarge) {
		t.Error("it is never a command's result: that would differ from member to member")
	}
}
