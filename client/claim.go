package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// errSeen ends a watch that has told what it was for.
var errSeen = errors.New("seen")

// Claim queues for a lock or an election, as etcd's recipes do, and so together
// with their users: under name, behind whoever came before. It returns the key
// that it holds the place by once it is first, or an error; the key lives as
// long as the lease. Claiming again with the same lease is claiming once.
func (c *Client) Claim(ctx context.Context, name, value []byte, lease int64) (*mvccpb.KeyValue, error) {
	prefix := append(bytes.Clone(name), '/')
	key := fmt.Appendf(bytes.Clone(prefix), "%x", lease)
	created, err := c.takePlace(ctx, key, value, lease)
	if err != nil {
		return nil, err
	}
	for {
		before, revision, err := c.placeBefore(ctx, prefix, created)
		if err != nil {
			return nil, err
		}
		if before == nil {
			break
		}
		if err := c.awaitDelete(ctx, before, revision); err != nil {
			return nil, err
		}
	}
	resp, _, err := c.Range(ctx, &pb.RangeRequest{Key: key})
	if err != nil {
		return nil, err
	}
	if kvs := resp.GetKvs(); len(kvs) == 1 && kvs[0].GetCreateRevision() == created {
		return kvs[0], nil
	}
	return nil, fmt.Errorf("claim %q: %w", key, ErrLeaseLost)
}

// takePlace creates the key unless it is there, and returns the revision that
// did. Done twice it has done it once, so an unknown outcome does not matter.
func (c *Client) takePlace(ctx context.Context, key, value []byte, lease int64) (created int64, err error) {
	req := &pb.TxnRequest{
		Compare: []*pb.Compare{{
			Key: key, Target: pb.Compare_CREATE, Result: pb.Compare_EQUAL,
			TargetUnion: &pb.Compare_CreateRevision{CreateRevision: 0},
		}},
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{
			RequestPut: &pb.PutRequest{Key: key, Value: value, Lease: lease},
		}}},
		Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: key}}}},
	}
	for {
		resp, _, err := c.Txn(ctx, req)
		switch {
		case errors.Is(err, ErrUnknownOutcome) && c.pause(ctx, pauseMin) == nil:
			continue
		case err != nil:
			return 0, err
		case resp.GetSucceeded():
			return resp.GetHeader().GetRevision(), nil
		}
		return resp.GetResponses()[0].GetResponseRange().GetKvs()[0].GetCreateRevision(), nil
	}
}

// placeBefore is the last key of the queue that is older, nil if there is none,
// and the revision of which that is true.
func (c *Client) placeBefore(ctx context.Context, prefix []byte, created int64) (key []byte, revision int64, err error) {
	resp, _, err := c.Range(ctx, &pb.RangeRequest{
		Key: prefix, RangeEnd: prefixEnd(prefix), Limit: 1, KeysOnly: true, MaxCreateRevision: created - 1,
		SortOrder: pb.RangeRequest_DESCEND, SortTarget: pb.RangeRequest_CREATE,
	})
	if err != nil || len(resp.GetKvs()) == 0 {
		return nil, 0, err
	}
	return resp.GetKvs()[0].GetKey(), resp.GetHeader().GetRevision(), nil
}

// prefixEnd is the end of the range of a prefix that ends in a slash.
func prefixEnd(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	end[len(end)-1]++
	return end
}

// awaitDelete returns nil once key, which was there at revision, may have gone.
func (c *Client) awaitDelete(ctx context.Context, key []byte, revision int64) error {
	err := c.Watch(ctx, WatchRequest{Key: key, Revision: revision + 1, NoPut: true}, func(u Update) error {
		if len(u.Events) > 0 {
			return errSeen
		}
		return nil
	})
	var compacted *CompactedError
	var unavailable *UnavailableError
	switch {
	case errors.Is(err, errSeen), errors.As(err, &compacted):
		return nil // who asks looks again
	case errors.As(err, &unavailable):
		return c.pause(ctx, pauseMax) // the lease says how long that may go on
	}
	return err
}

// Observe tells who is first in the queue of name now, and then whoever comes
// first and what it proclaims, in order, until ctx ends, first returns an error
// or the watch cannot go on; that is what it returns. Nil stands for nobody.
func (c *Client) Observe(ctx context.Context, name []byte, first func(Answer, *mvccpb.KeyValue) error) error {
	o := &observer{prefix: append(bytes.Clone(name), '/'), first: first, told: -1}
	for {
		err := o.observe(ctx, c)
		var compacted *CompactedError
		if !errors.As(err, &compacted) {
			return err
		}
	}
}

// observer follows a queue.
type observer struct {
	prefix []byte
	first  func(Answer, *mvccpb.KeyValue) error
	queue  map[string]*mvccpb.KeyValue
	told   int64 // revision of what was told last; 0: nobody, -1: nothing yet
}

// observe reads the queue and follows it.
func (o *observer) observe(ctx context.Context, c *Client) error {
	resp, answer, err := c.Range(ctx, &pb.RangeRequest{Key: o.prefix, RangeEnd: prefixEnd(o.prefix)})
	if err != nil {
		return err
	}
	o.queue = map[string]*mvccpb.KeyValue{}
	for _, kv := range resp.GetKvs() {
		o.queue[string(kv.GetKey())] = kv
	}
	if err := o.tell(answer); err != nil {
		return err
	}
	watch := WatchRequest{Key: o.prefix, RangeEnd: prefixEnd(o.prefix), Revision: resp.GetHeader().GetRevision() + 1, Fragment: true}
	return c.Watch(ctx, watch, func(u Update) error {
		for i, e := range u.Events {
			if e.GetType() == mvccpb.Event_DELETE {
				delete(o.queue, string(e.GetKv().GetKey()))
			} else {
				o.queue[string(e.GetKv().GetKey())] = e.GetKv()
			}
			// The events of one revision happened together.
			if i+1 < len(u.Events) && u.Events[i+1].GetKv().GetModRevision() == e.GetKv().GetModRevision() {
				continue
			}
			if err := o.tell(u.Answer); err != nil {
				return err
			}
		}
		return nil
	})
}

// tell tells who is first unless that is known.
func (o *observer) tell(a Answer) error {
	var first *mvccpb.KeyValue
	for _, kv := range o.queue {
		if first == nil || kv.GetCreateRevision() < first.GetCreateRevision() {
			first = kv
		}
	}
	if first.GetModRevision() == o.told {
		return nil
	}
	o.told = first.GetModRevision()
	return o.first(a, first)
}
