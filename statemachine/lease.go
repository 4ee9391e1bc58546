package statemachine

import (
	"errors"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"raftkv/statemachine/envelope"
	"raftkv/statemachine/keys"
	"raftkv/statemachine/kv"
	"raftkv/statemachine/lease"
)

// Lease is a lease without its keys.
type Lease struct {
	ID int64
	// TTLSeconds is the time to live that was granted, RemainingSeconds what
	// was recorded to be left of it; 0: all.
	TTLSeconds, RemainingSeconds int64
}

// LeaseChange is what Apply tells of a lease: that it was granted or its
// remaining time recorded, or that it has gone.
type LeaseChange struct {
	Lease
	Granted, Gone bool
}

// leaseLiveBytes is what a lease counts in LiveBytes, its keys apart.
const leaseLiveBytes = 64

// grantLease makes a lease. The checks have etcd's order.
func (a *application) grantLease(c *envelope.Command) (any, error) {
	req := &pb.LeaseGrantRequest{}
	if err := decodeBody(c, req); err != nil {
		return nil, err
	}
	if err := a.refusal(c.Kind, always); err != nil {
		return err, nil
	}
	switch {
	case req.GetID() == 0:
		return fmt.Errorf("%w: a lease has an id", ErrLeaseNotFound), nil
	case req.GetTTL() > lease.TTLSecondsMax:
		return fmt.Errorf("%w: %d s", ErrLeaseTTLTooLarge, req.GetTTL()), nil
	}
	exists, err := a.m.leases.Exists(req.GetID())
	switch {
	case err != nil:
		return nil, err
	case exists:
		return fmt.Errorf("%w: %x", ErrLeaseExists, uint64(req.GetID())), nil
	}
	// The handlers raise it to the least that the cluster can watch.
	granted := Lease{ID: req.GetID(), TTLSeconds: max(1, req.GetTTL())}
	a.next.written += leaseLiveBytes
	if err := a.setLease(granted); err != nil {
		return nil, err
	}
	a.leaseChanges = append(a.leaseChanges, LeaseChange{Lease: granted, Granted: true})
	return &pb.LeaseGrantResponse{Header: a.header(), ID: granted.ID, TTL: granted.TTLSeconds}, nil
}

// revokeLease ends a lease and deletes its keys, in their order and in one
// revision, as etcd does.
func (a *application) revokeLease(c *envelope.Command) (any, error) {
	req, err := envelope.DecodeLeaseRevoke(c.Body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformedEntry, err)
	}
	if err := a.refusal(c.Kind, never); err != nil {
		return err, nil
	}
	if err := a.sameTerm(req.Term); err != nil {
		return err, nil
	}
	exists, err := a.m.leases.Exists(req.ID)
	switch {
	case err != nil:
		return nil, err
	case !exists:
		return fmt.Errorf("%w: %x", ErrLeaseNotFound, uint64(req.ID)), nil
	}
	attached, err := a.m.leases.Keys(req.ID)
	if err != nil {
		return nil, err
	}
	revision, err := kv.DeleteAttached(&a.m.writer, req.ID, attached)
	if err != nil {
		return nil, err
	}
	a.next.written -= leaseLiveBytes
	a.m.effects.leaseEnd(req.ID)
	a.leaseChanges = append(a.leaseChanges, LeaseChange{Lease: Lease{ID: req.ID}, Gone: true})
	return &pb.LeaseRevokeResponse{Header: &pb.ResponseHeader{Revision: revision}}, a.m.leases.End(req.ID)
}

// recordRemaining records what is left of leases, those that exist.
func (a *application) recordRemaining(c *envelope.Command) (any, error) {
	req, err := envelope.DecodeLeaseRemaining(c.Body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformedEntry, err)
	}
	if err := a.sameTerm(req.Term); err != nil {
		return err, nil
	}
	for _, l := range req.Leases {
		r, found, err := a.m.leases.Lookup(l.ID)
		if err != nil {
			return nil, err
		}
		if !found || l.Seconds < 0 || l.Seconds > r.TTLSeconds {
			continue
		}
		changed := Lease{ID: l.ID, TTLSeconds: r.TTLSeconds, RemainingSeconds: l.Seconds}
		if err := a.setLease(changed); err != nil {
			return nil, err
		}
		a.leaseChanges = append(a.leaseChanges, LeaseChange{Lease: changed})
	}
	return &pb.LeaseCheckpointResponse{Header: a.header()}, nil
}

// sameTerm refuses what a leader decided about time in another term: a later
// leader may have renewed the lease. Term 0 is no such decision.
func (a *application) sameTerm(term uint64) error {
	if term != 0 && term != a.next.term {
		return fmt.Errorf("%w: term %d, applied in term %d", ErrLeaseTerm, term, a.next.term)
	}
	return nil
}

func (a *application) setLease(l Lease) error {
	a.m.effects.lease(l)
	return a.m.leases.Set(l.ID, lease.Record{TTLSeconds: l.TTLSeconds, RemainingSeconds: l.RemainingSeconds})
}

func (a *application) header() *pb.ResponseHeader {
	return &pb.ResponseHeader{Revision: a.m.writer.Revision()}
}

// Lease returns a lease as it is now.
func (m *Machine) Lease(id int64) (l Lease, found bool, err error) {
	v, err := m.acquireView()
	if err != nil {
		return Lease{}, false, err
	}
	defer v.handle.Release()
	r, found, err := lease.Read(v.handle.DB(), id)
	return Lease{ID: id, TTLSeconds: r.TTLSeconds, RemainingSeconds: r.RemainingSeconds}, found, err
}

// EachLeaseKey calls visit with the keys attached to a lease, sorted; a key is
// valid during the call. A lease that does not exist has none.
func (m *Machine) EachLeaseKey(id int64, visit func(key []byte) error) error {
	v, err := m.acquireView()
	if err != nil {
		return err
	}
	defer v.handle.Release()
	return lease.EachKey(v.handle.DB(), id, visit)
}

// LeaseKeys returns the keys attached to a lease, sorted.
func (m *Machine) LeaseKeys(id int64) (attached [][]byte, err error) {
	err = m.EachLeaseKey(id, func(key []byte) error {
		attached = append(attached, append([]byte(nil), key...))
		return nil
	})
	return attached, err
}

// EachLease calls visit with all leases of one moment, by their ids as
// unsigned numbers. Whoever follows Options.OnLeases and is told of a change
// from then on misses none: one that was not seen here is told later.
func (m *Machine) EachLease(visit func(Lease) error) error {
	v, err := m.acquireView()
	if err != nil {
		return err
	}
	defer v.handle.Release()
	return scanTable(v.handle.DB(), keys.Leases, false, func(key, value []byte) error {
		id, err := keys.Number(key)
		r, decodeErr := lease.DecodeRecord(value)
		if err = errors.Join(err, decodeErr); err != nil {
			return err
		}
		return visit(Lease{ID: int64(id), TTLSeconds: r.TTLSeconds, RemainingSeconds: r.RemainingSeconds})
	})
}
