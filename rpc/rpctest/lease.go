package rpctest

import (
	"context"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"raftkv/statemachine"
	"raftkv/statemachine/lease"
)

// leases are those of a Member: time stands still for them.
type leases struct {
	ttls map[int64]int64
	// renewals lists what was renewed together.
	renewals [][]int64
}

// LeaseTTLSecondsMin is etcd's with its default election timeout.
func (m *Member) LeaseTTLSecondsMin() int64 { return 2 }

func (m *Member) grantLocked(r *pb.LeaseGrantRequest) any {
	if m.mu.leases.ttls == nil {
		m.mu.leases.ttls = make(map[int64]int64)
	}
	if r.GetTTL() > lease.TTLSecondsMax {
		return statemachine.ErrLeaseTTLTooLarge
	}
	if _, ok := m.mu.leases.ttls[r.GetID()]; ok {
		return statemachine.ErrLeaseExists
	}
	m.mu.leases.ttls[r.GetID()] = r.GetTTL()
	return &pb.LeaseGrantResponse{Header: m.headerLocked(), ID: r.GetID(), TTL: r.GetTTL()}
}

func (m *Member) revokeLocked(r *pb.LeaseRevokeRequest) any {
	if _, ok := m.mu.leases.ttls[r.GetID()]; !ok {
		return statemachine.ErrLeaseNotFound
	}
	delete(m.mu.leases.ttls, r.GetID())
	for key, kv := range m.mu.keys {
		if kv.GetLease() == r.GetID() {
			delete(m.mu.keys, key)
		}
	}
	return &pb.LeaseRevokeResponse{Header: m.headerLocked()}
}

// RenewLeaseNow answers what was granted while Switches.RenewNow is set.
func (m *Member) RenewLeaseNow(id int64) (int64, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ttl, ok := m.mu.leases.ttls[id]
	return ttl, ok && m.mu.switches.RenewNow
}

// RenewLeases answers what was granted.
func (m *Member) RenewLeases(ctx context.Context, ids []int64) ([]int64, error) {
	s := m.switches()
	if s.BlockReadIndex {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	if s.ReadIndexErr != nil {
		return nil, s.ReadIndexErr
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.leases.renewals = append(m.mu.leases.renewals, slices.Clone(ids))
	ttls := make([]int64, len(ids))
	for i, id := range ids {
		ttls[i] = m.mu.leases.ttls[id]
	}
	return ttls, nil
}

// Renewals returns what was renewed together.
func (m *Member) Renewals() [][]int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.mu.leases.renewals)
}

// LeaseLeft answers what was granted, half a second less.
func (m *Member) LeaseLeft(ctx context.Context, id int64) (time.Duration, int64, error) {
	s := m.switches()
	if s.BlockReadIndex {
		<-ctx.Done()
		return 0, 0, context.Cause(ctx)
	}
	if s.ReadIndexErr != nil {
		return 0, 0, s.ReadIndexErr
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	ttl, ok := m.mu.leases.ttls[id]
	if !ok {
		return 0, 0, statemachine.ErrLeaseNotFound
	}
	return time.Duration(ttl)*time.Second - time.Second/2, ttl, nil
}

// LeaseKeys lists the keys of a lease.
func (m *Member) LeaseKeys(id int64) (attached [][]byte, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, kv := range m.mu.keys {
		if kv.GetLease() == id {
			attached = append(attached, []byte(key))
		}
	}
	slices.SortFunc(attached, slices.Compare)
	return attached, nil
}

// LeaseIDs lists the leases.
func (m *Member) LeaseIDs() (ids []int64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id := range m.mu.leases.ttls {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids, nil
}
