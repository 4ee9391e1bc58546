package oracle

import (
	"context"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// LeaseExpiry waits until a lease is over and answers what is known of it then.
const LeaseExpiry Method = "LeaseExpiry"

// expiryPoll is how often it looks.
const expiryPoll = 20 * time.Millisecond

// awaitExpiry waits until the member knows no such lease.
func awaitExpiry(ctx context.Context, kv pb.KVClient, lease pb.LeaseClient, request *pb.LeaseTimeToLiveRequest) (*pb.LeaseTimeToLiveResponse, error) {
	looks := time.NewTicker(expiryPoll)
	defer looks.Stop()
	for {
		r, err := lease.LeaseTimeToLive(ctx, request)
		if err != nil {
			return nil, err
		}
		if r.TTL < 0 && r.GrantedTTL == 0 {
			break
		}
		select {
		case <-looks.C:
		case <-ctx.Done():
			return nil, status.FromContextError(ctx.Err()).Err()
		}
	}
	// etcd forgets the lease a moment before its keys are gone; whatever is
	// read linearizably now comes after both.
	if _, err := kv.Range(ctx, &pb.RangeRequest{Key: []byte{0}, CountOnly: true}); err != nil {
		return nil, err
	}
	return lease.LeaseTimeToLive(ctx, request)
}

// countdown is the short lease of a run, of which there is one at a time.
type countdown struct {
	id  int64
	ttl time.Duration
	// asked is when the grant was, renewed when the last renewal that succeeded
	// was asked for: before that and ttl it cannot be over.
	asked, renewed time.Time
}

// note follows the short lease. etcd is its answer to the operation that was
// asked at began.
func (c *countdown) note(op Operation, etcd Answer, began time.Time) {
	if etcd.Code != codes.OK {
		return
	}
	switch r := op.Request.(type) {
	case *pb.LeaseGrantRequest:
		if r.GetTTL() < leaseSecondsMin {
			*c = countdown{id: r.GetID(), ttl: time.Duration(r.GetTTL()) * time.Second, asked: began, renewed: began}
		}
	case *pb.LeaseKeepAliveRequest:
		if r.GetID() == c.id && etcd.Response.(*pb.LeaseKeepAliveResponse).GetTTL() > 0 {
			c.renewed = began
		}
	case *pb.LeaseRevokeRequest:
		if r.GetID() == c.id {
			*c = countdown{}
		}
	}
}

// overtaken tells whether an operation that has been answered now may have met
// a lease that was over on one member and not yet on the other.
func (c *countdown) overtaken() bool { return c.id != 0 && time.Since(c.asked) >= c.ttl }

// end tells of a member for which the lease ended before its time. The answers
// are those to a LeaseExpiry.
func (c *countdown) end(op Operation, etcd, raftKV Answer) *Difference {
	ends := c.renewed.Add(c.ttl)
	early := func(name string, a *Answer) bool {
		if a.Code != codes.OK || !a.at.Before(ends) {
			return false
		}
		a.Code, a.Text = codes.DataLoss, fmt.Sprintf("oracle: on %s the lease ended %v before its time", name, ends.Sub(a.at))
		return true
	}
	atEtcd, atRaftKV := early("etcd", &etcd), early("raft-kv", &raftKV)
	known := c.id != 0 && op.Request.(*pb.LeaseTimeToLiveRequest).GetID() == c.id
	*c = countdown{}
	if known && (atEtcd || atRaftKV) {
		return &Difference{Operation: op, Etcd: etcd, RaftKV: raftKV}
	}
	return nil
}
