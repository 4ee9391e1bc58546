package oracle

import (
	"maps"
	"math"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// leaseTTLMax is the longest lease in seconds.
const leaseTTLMax = 9_000_000_000

// leaseIDs are those that are granted and asked for.
var leaseIDs = [...]int64{1, 2, 3, 77, 1 << 40, -5, 1234567890, math.MaxInt64, math.MinInt64}

// lease is one that may exist.
func (g *Generator) lease() int64 { return leaseIDs[g.rng.IntN(len(leaseIDs))] }

// liveLease is one that exists, as far as seen, or 0 if there is none.
func (g *Generator) liveLease() int64 {
	ids := slices.Sorted(maps.Keys(g.leases))
	if len(ids) == 0 {
		return 0
	}
	return ids[g.rng.IntN(len(ids))]
}

// leaseOp is a request of etcd's lease service.
func (g *Generator) leaseOp() Operation {
	id := g.lease()
	if live := g.liveLease(); live != 0 && g.percent(50) {
		id = live
	}
	switch g.pick(35, 15, 25, 10, 15) {
	case 0:
		return Operation{LeaseGrant, &pb.LeaseGrantRequest{ID: id, TTL: g.ttl()}}
	case 1:
		return Operation{LeaseRevoke, &pb.LeaseRevokeRequest{ID: id}}
	case 2:
		return Operation{LeaseTimeToLive, &pb.LeaseTimeToLiveRequest{ID: id, Keys: g.percent(80)}}
	case 3:
		return Operation{LeaseLeases, &pb.LeaseLeasesRequest{}}
	default:
		return Operation{LeaseKeepAlive, &pb.LeaseKeepAliveRequest{ID: id}}
	}
}

func (g *Generator) ttl() int64 {
	switch g.pick(80, 10, 5, 5) {
	case 0:
		return leaseSecondsMin + g.rng.Int64N(100_000)
	case 1:
		return leaseTTLMax
	case 2:
		return leaseTTLMax + 1
	default:
		return math.MaxInt64
	}
}
