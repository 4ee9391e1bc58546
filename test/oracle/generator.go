package oracle

import (
	"bytes"
	"math"
	"math/rand/v2"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// Generator makes requests from a seed. It learns from answers which revisions
// and versions there are, so that requests are mostly about something.
type Generator struct {
	// Leases and Watches: requests of these services are among them.
	Leases, Watches bool
	// Expiries: so are short leases that run out, which takes seconds each.
	Expiries bool

	rng  *rand.Rand
	keys []string
	// The newest revision, and the oldest that can be read, as far as seen.
	revision, compacted int64
	// seen is the last version of each key in an answer; it may be outdated.
	seen map[string]*mvccpb.KeyValue
	// last is the operation asked last.
	last Operation
	// rewritten are the revisions that exclude compactions.
	rewritten map[int64]bool
	// compactions are the revisions of the newest compactions.
	compactions []int64
	// leases are those that may exist.
	leases map[int64]bool
	expiry expiry
	// streams are the watch streams, by number.
	streams [watchStreams]watchStreamState
	// armed are the alarms that are active, armedOps how many operations were
	// asked since the first of them and armedOpsMax after how many they end.
	armed                 []*pb.AlarmMember
	armedOps, armedOpsMax int
}

// NewGenerator returns the generator of a seed.
func NewGenerator(seed uint64) *Generator {
	return &Generator{
		Leases: true, Watches: true,
		rng: rand.New(rand.NewPCG(seed, 0)),
		keys: []string{
			"\x00", "\x00\x00", "\x00\xff", "a", "a\x00", "a\x00\x00", "a/", "a/1", "a/10", "a/2", "a0", "ab", "a\xff",
			"b", "b/x", "long/common/prefix/1", "long/common/prefix/2", "é", "\xfe", "\xff", "\xff\x00", "\xff\xff",
		},
		revision: 1,
		seen:     map[string]*mvccpb.KeyValue{},

		rewritten: map[int64]bool{},
		leases:    map[int64]bool{},
	}
}

// Next makes the next request.
func (g *Generator) Next() Operation {
	for {
		o := g.next()
		if excluded(o, g.rewritten) {
			continue
		}
		g.last = o
		if r, ok := o.Request.(*pb.AlarmRequest); ok {
			g.noteAlarm(r)
		}
		return o
	}
}

func (g *Generator) next() Operation {
	if o, ok := g.whileArmed(); ok {
		return o
	}
	if o, ok := g.whileExpiring(); ok {
		return o
	}
	leases, watches, expiries := 80, 110, 60
	if !g.Leases {
		leases = 0
	}
	if !g.Watches {
		watches = 0
	}
	if !g.Expiries {
		expiries = 0
	}
	switch g.pick(320, 255, 60, 60, 235, 25, 5, 60, leases, watches, expiries) {
	case 0:
		return Operation{Put, g.put(g.key())}
	case 1:
		return Operation{Range, g.rangeRequest()}
	case 2:
		return Operation{RangeStream, g.rangeStream()}
	case 3:
		return Operation{DeleteRange, g.deleteRange()}
	case 4:
		return Operation{Txn, g.txn()}
	case 5:
		return Operation{Compact, g.compact()}
	case 6:
		return g.oversized()
	case 7:
		return g.maintenanceOp()
	case 8:
		return g.leaseOp()
	case 9:
		return g.watchOp()
	default:
		return g.expire()
	}
}

// Observe learns from the answer to the last request.
func (g *Generator) Observe(a Answer) {
	g.observeWatch(a)
	switch r := a.Response.(type) {
	case *pb.RangeResponse:
		g.learn(r.GetHeader(), r.GetKvs())
	case *pb.PutResponse:
		g.learn(r.GetHeader(), nil)
	case *pb.LeaseGrantResponse:
		g.leases[r.GetID()] = true
	case *pb.LeaseRevokeResponse:
		g.learn(r.GetHeader(), nil)
		delete(g.leases, g.last.Request.(*pb.LeaseRevokeRequest).GetID())
	case *pb.DeleteRangeResponse:
		g.learn(r.GetHeader(), nil)
	case *pb.CompactionResponse:
		g.learn(r.GetHeader(), nil)
		g.compacted = g.last.Request.(*pb.CompactionRequest).GetRevision()
		g.noteCompaction(g.compacted)
	case *pb.TxnResponse:
		g.learn(r.GetHeader(), nil)
		if rewrites(g.last) {
			g.rewritten[r.GetHeader().GetRevision()] = true
		}
		for _, op := range r.GetResponses() {
			g.learn(nil, op.GetResponseRange().GetKvs())
		}
	}
}

func (g *Generator) learn(h *pb.ResponseHeader, kvs []*mvccpb.KeyValue) {
	g.revision = max(g.revision, h.GetRevision())
	for _, kv := range kvs {
		g.seen[string(kv.GetKey())] = kv
	}
}

// pick returns an index with a chance in proportion to its weight.
func (g *Generator) pick(weights ...int) int {
	total := 0
	for _, w := range weights {
		total += w
	}
	at := g.rng.IntN(total)
	for i, w := range weights {
		if at < w {
			return i
		}
		at -= w
	}
	panic("oracle: unreachable: the weights add up")
}

func (g *Generator) percent(chance int) bool { return g.rng.IntN(100) < chance }

func (g *Generator) bytes(length int) []byte {
	b := make([]byte, length)
	for i := range b {
		b[i] = byte(g.rng.Uint32())
	}
	return b
}

// key is mostly one of the few.
func (g *Generator) key() []byte {
	switch g.pick(970, 5, 20, 4, 1) {
	case 0:
		return []byte(g.keys[g.rng.IntN(len(g.keys))])
	case 1:
		return nil
	case 2:
		return g.bytes(1 + g.rng.IntN(3))
	case 3:
		return bytes.Repeat([]byte("k"), 1+g.rng.IntN(3000))
	default:
		return bytes.Repeat([]byte("K"), 1+g.rng.IntN(100_000))
	}
}

// span is a key and a range end of any form.
func (g *Generator) span() (key, end []byte) {
	if g.percent(15) {
		return []byte{0}, []byte{0} // everything
	}
	key = g.key()
	switch g.pick(40, 15, 8, 8, 18, 5, 6) {
	case 0: // one key
		return key, nil
	case 1:
		return key, prefixEnd(key)
	case 2: // from the key on
		return key, []byte{0}
	case 3: // a range of one key
		return key, append(bytes.Clone(key), 0)
	case 4: // often inverted
		return key, []byte(g.keys[g.rng.IntN(len(g.keys))])
	case 5: // empty
		return key, bytes.Clone(key)
	default:
		return key, g.bytes(1 + g.rng.IntN(3))
	}
}

// prefixEnd is the end of the range of all keys that start with prefix.
func prefixEnd(prefix []byte) []byte {
	end := bytes.TrimRight(prefix, "\xff")
	if len(end) == 0 {
		return []byte{0}
	}
	end = bytes.Clone(end)
	end[len(end)-1]++
	return end
}

// value is often one of very few, so that sorting by value meets equal ones.
func (g *Generator) value() []byte {
	switch g.pick(100, 380, 400, 100, 17, 3) {
	case 0:
		return nil
	case 1:
		return []byte([]string{"v", "w", "va", "\x00", "\xff"}[g.rng.IntN(5)])
	case 2:
		return g.bytes(1 + g.rng.IntN(24))
	case 3:
		return g.bytes(100 + g.rng.IntN(2000))
	case 4:
		return bytes.Repeat([]byte("x"), 40_000+g.rng.IntN(30_000))
	default:
		return bytes.Repeat([]byte("X"), 1<<20)
	}
}

// pastRevision is one that can mostly be read.
func (g *Generator) pastRevision() int64 {
	oldest := max(g.compacted, 1)
	return oldest + g.rng.Int64N(max(g.revision-oldest, 0)+1)
}

// anyRevision may be one that cannot be read.
func (g *Generator) anyRevision() int64 {
	switch g.pick(40, 25, 10, 6, 5, 4, 2, 2, 2, 2, 2) {
	case 0:
		return g.pastRevision()
	case 1:
		return max(g.revision-g.rng.Int64N(20), 0)
	case 2:
		return g.revision
	case 3:
		return g.compacted
	case 4:
		return g.compacted - 1
	case 5:
		return g.revision + 1
	case 6:
		return g.revision + 2 + g.rng.Int64N(100)
	case 7:
		return math.MaxInt64
	case 8:
		return -1
	case 9:
		return math.MinInt64
	default:
		return 1
	}
}

func (g *Generator) put(key []byte) *pb.PutRequest {
	r := &pb.PutRequest{Key: key, Value: g.value(), PrevKv: g.percent(25)}
	if g.percent(6) {
		r.IgnoreValue = true
		if g.percent(90) {
			r.Value = nil
		}
	}
	if g.percent(6) {
		r.IgnoreLease = true
	}
	switch g.pick(73, 25, 2) {
	case 1:
		r.Lease = g.liveLease()
	case 2:
		r.Lease = g.lease()
	}
	return r
}

func (g *Generator) deleteRange() *pb.DeleteRangeRequest {
	r := &pb.DeleteRangeRequest{PrevKv: g.percent(40)}
	switch g.pick(75, 20, 5) {
	case 0:
		r.Key = g.key()
	case 1: // two neighbours, or nothing
		at := g.rng.IntN(len(g.keys) - 2)
		r.Key, r.RangeEnd = []byte(g.keys[at]), []byte(g.keys[at+2])
	default:
		r.Key, r.RangeEnd = g.span()
	}
	return r
}

func (g *Generator) compact() *pb.CompactionRequest {
	r := &pb.CompactionRequest{Physical: g.percent(50)}
	switch g.pick(60, 15, 25) {
	case 0:
		r.Revision = g.pastRevision()
	case 1: // equal or older
		r.Revision = g.compacted - g.rng.Int64N(3)
	default:
		r.Revision = g.anyRevision()
	}
	return r
}

// oversized is a request near or beyond a limit of its size.
func (g *Generator) oversized() Operation {
	size := []int{requestBytesMax - 100_000, requestBytesMax + 100_000, messageBytesMax + 1000}[g.rng.IntN(3)] + g.rng.IntN(1000)
	long := bytes.Repeat([]byte("L"), size)
	switch g.pick(40, 20, 10, 10, 10, 10) {
	case 0:
		return Operation{Put, &pb.PutRequest{Key: g.key(), Value: long}}
	case 1:
		return Operation{Put, &pb.PutRequest{Key: long}}
	case 2:
		return Operation{Range, &pb.RangeRequest{Key: long}}
	case 3:
		return Operation{DeleteRange, &pb.DeleteRangeRequest{Key: []byte("L"), RangeEnd: long}}
	case 4: // a transaction that only reads
		return Operation{Txn, &pb.TxnRequest{Compare: []*pb.Compare{{
			Key: g.key(), Target: pb.Compare_VALUE, TargetUnion: &pb.Compare_Value{Value: long},
		}}}}
	default:
		return Operation{Txn, &pb.TxnRequest{Success: []*pb.RequestOp{
			putOp(&pb.PutRequest{Key: []byte("half/1"), Value: long[:size/2]}),
			putOp(&pb.PutRequest{Key: []byte("half/2"), Value: long[size/2:]}),
		}}}
	}
}
