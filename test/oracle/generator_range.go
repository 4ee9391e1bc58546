package oracle

import (
	"math"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// rangeRequest is a range with any options.
func (g *Generator) rangeRequest() *pb.RangeRequest {
	r := &pb.RangeRequest{Serializable: g.percent(30), KeysOnly: g.percent(12), CountOnly: g.percent(8), Limit: g.limit()}
	r.Key, r.RangeEnd = g.span()
	if g.percent(35) {
		r.Revision = g.anyRevision()
	}
	if g.percent(45) {
		g.sort(r)
	}
	if g.percent(20) {
		g.filter(r)
	}
	return r
}

func (g *Generator) limit() int64 {
	switch g.pick(60, 25, 8, 3, 2, 2) {
	case 0:
		return 0
	case 1:
		return 1 + g.rng.Int64N(4)
	case 2: // about as many as there are keys
		return 5 + g.rng.Int64N(25)
	case 3:
		return -g.rng.Int64N(5)
	case 4:
		return math.MaxInt64
	default:
		return math.MinInt64
	}
}

func (g *Generator) sort(r *pb.RangeRequest) {
	r.SortOrder = pb.RangeRequest_SortOrder(g.rng.IntN(len(pb.RangeRequest_SortOrder_name)))
	r.SortTarget = pb.RangeRequest_SortTarget(g.rng.IntN(len(pb.RangeRequest_SortTarget_name)))
	if g.percent(2) {
		r.SortOrder = 7
	}
	if g.percent(2) {
		r.SortTarget = -3
	}
}

func (g *Generator) filter(r *pb.RangeRequest) {
	for _, bound := range []*int64{&r.MinModRevision, &r.MaxModRevision, &r.MinCreateRevision, &r.MaxCreateRevision} {
		if g.percent(40) {
			*bound = g.anyRevision()
		}
	}
}

// rangeStream is mostly one that may be streamed.
func (g *Generator) rangeStream() *pb.RangeRequest {
	r := g.rangeRequest()
	if g.percent(50) {
		r.Key, r.RangeEnd = []byte{0}, []byte{0}
	}
	if g.percent(80) {
		r.SortOrder, r.SortTarget = pb.RangeRequest_SortOrder(g.rng.IntN(2)), pb.RangeRequest_KEY
		r.MinModRevision, r.MaxModRevision, r.MinCreateRevision, r.MaxCreateRevision = 0, 0, 0, 0
	}
	return r
}
