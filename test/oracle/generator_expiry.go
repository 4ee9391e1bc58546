package oracle

import pb "go.etcd.io/etcd/api/v3/etcdserverpb"

const (
	// expiringLease is the id of every short lease: an id may be granted again.
	expiringLease = 4242
	// shortSeconds is how long one lives, and shortOpsMax bounds what is asked
	// meanwhile.
	shortSeconds = 2
	shortOpsMax  = 8
)

// expiry is a short lease under way.
type expiry struct {
	left int         // operations until its end is awaited
	then []Operation // what is asked next, whatever the chances
}

// expire begins a short lease, with a watch that sees its end.
func (g *Generator) expire() Operation {
	g.expiry.left = 2 + g.rng.IntN(shortOpsMax-1)
	if len(g.streams[0].watches) < sharedWatchesMax {
		g.expiry.then = append(g.expiry.then, Operation{Watch.on(0), &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{
			CreateRequest: &pb.WatchCreateRequest{Key: []byte{0}, RangeEnd: []byte{0}, PrevKv: g.percent(70)}}}})
	}
	return Operation{LeaseGrant, &pb.LeaseGrantRequest{ID: expiringLease, TTL: shortSeconds}}
}

// whileExpiring asks what a short lease is about, waits for its end and looks at
// what it left behind.
func (g *Generator) whileExpiring() (Operation, bool) {
	if len(g.expiry.then) > 0 {
		o := g.expiry.then[0]
		g.expiry.then = g.expiry.then[1:]
		return o, true
	}
	if g.expiry.left == 0 {
		return Operation{}, false
	}
	if g.expiry.left--; g.expiry.left == 0 {
		delete(g.leases, expiringLease)
		late := g.put(g.key())
		late.Lease = expiringLease
		g.expiry.then = []Operation{
			watchProgress(0), watchProgress(1),
			{Range, &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}},
			{LeaseKeepAlive, &pb.LeaseKeepAliveRequest{ID: expiringLease}},
			{LeaseLeases, &pb.LeaseLeasesRequest{}},
			{Put, late},
			{HashKV, &pb.HashKVRequest{}},
		}
		return Operation{LeaseExpiry, &pb.LeaseTimeToLiveRequest{ID: expiringLease, Keys: true}}, true
	}
	attached := func() *pb.PutRequest {
		p := g.put(g.key())
		p.Lease, p.IgnoreLease = expiringLease, false
		return p
	}
	switch g.pick(45, 15, 10, 8, 12, 8, 4) {
	case 0:
		return Operation{Put, attached()}, true
	case 1:
		return Operation{Txn, &pb.TxnRequest{Success: []*pb.RequestOp{putOp(attached()), putOp(g.put(g.key()))}}}, true
	case 2: // often of a key that leaves the lease, or keeps it
		return Operation{Put, g.put(g.key())}, true
	case 3:
		return Operation{DeleteRange, g.deleteRange()}, true
	case 4:
		return Operation{Txn, g.txn()}, true
	case 5:
		return Operation{LeaseKeepAlive, &pb.LeaseKeepAliveRequest{ID: expiringLease}}, true
	default:
		return Operation{LeaseRevoke, &pb.LeaseRevokeRequest{ID: expiringLease}}, true
	}
}
