package statemachine

import (
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"raftkv/statemachine/envelope"
	"raftkv/statemachine/keys"
)

// Bounds of the promise of lease reads.
const (
	LeasePromiseMin = 20 * time.Millisecond
	LeasePromiseMax = time.Minute
)

// setLeaseReads switches lease reads on, with the length of the voters' promises,
// or off. What a member does about it is for others to see to (OnLeaseReads).
func (a *application) setLeaseReads(c *envelope.Command) (any, error) {
	req, err := envelope.DecodeLeaseReads(c.Body)
	if err != nil {
		return nil, fmt.Errorf("%w: body of kind %d: %w", ErrMalformedEntry, c.Kind, err)
	}
	promise := req.Promise()
	if promise != 0 && (promise < LeasePromiseMin || promise > LeasePromiseMax) {
		return fmt.Errorf("%w: %v, it takes %v to %v", ErrLeasePromise, promise, LeasePromiseMin, LeasePromiseMax), nil
	}
	a.next.leaseReads = promise
	a.m.effects.leaseReads(promise)
	key := keys.Named(keys.Meta, metaLeaseReads)
	if promise == 0 {
		return &pb.EmptyResponse{}, a.batch.Delete(key)
	}
	return &pb.EmptyResponse{}, a.batch.Set(key, []byte(promise.String()))
}

// decodeLeaseReads reads the record of the meta table.
func decodeLeaseReads(b []byte) (time.Duration, error) {
	promise, err := time.ParseDuration(string(b))
	if err != nil || promise <= 0 {
		return 0, fmt.Errorf("%w: record %q: %q is no length of a promise", ErrForeignState, metaLeaseReads, b)
	}
	return promise, nil
}

// LeaseReads returns for how long voters are to promise leaders not to help
// others to win, so that these may answer reads by themselves; 0: not at all.
func (m *Machine) LeaseReads() time.Duration { return m.view.Load().leaseReads }
