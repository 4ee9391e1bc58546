package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftkv/rpc/kvstream/kvpb"
)

// Members lists the members of the cluster. A list that is not linearizable is
// what the answering member knows; it needs no quorum.
func (c *Client) Members(ctx context.Context, linearizable bool) (*pb.MemberListResponse, Answer, error) {
	var resp *pb.MemberListResponse
	e, err := c.do(ctx, false, func(ctx context.Context, e *endpoint) (err error) {
		resp, err = pb.NewClusterClient(e.conn).MemberList(ctx, &pb.MemberListRequest{Linearizable: linearizable})
		return err
	})
	if err != nil {
		return nil, Answer{}, err
	}
	return resp, c.answer(e, resp.GetHeader()), nil
}

// StatusAt asks the member behind one endpoint, which need not be one of the
// configuration, to describe itself. Of a server without the native service,
// the last index is taken to be the commit index, and a candidate cannot be
// told from a follower.
func (c *Client) StatusAt(ctx context.Context, address string) (*kvpb.StatusResponse, error) {
	e, done, err := c.at(address)
	if err != nil {
		return nil, err
	}
	defer done()
	resp, failure := e.status(ctx)
	if failure != nil {
		return nil, failure
	}
	return resp, nil
}

// at finds the endpoint of an address, or makes one for as long as done is not
// called.
func (c *Client) at(address string) (e *endpoint, done func(), err error) {
	host, err := ParseEndpoint(address)
	if err != nil {
		return nil, nil, err
	}
	all := slices.Concat(c.primary, c.fallback)
	if i := slices.IndexFunc(all, func(e *endpoint) bool { return e.address == host }); i >= 0 {
		return all[i], func() {}, nil
	}
	if e, err = newEndpoint(address, c.dialTimeout, c.tls); err != nil {
		return nil, nil, err
	}
	// Close only says that a connection was closed before.
	return e, func() { _ = e.conn.Close() }, nil
}

func (e *endpoint) status(ctx context.Context) (*kvpb.StatusResponse, *EndpointError) {
	resp, err := kvpb.NewNativeClient(e.conn).Status(ctx, &kvpb.StatusRequest{})
	if status.Code(err) == codes.Unimplemented {
		resp, err = e.statusEtcd(ctx)
	}
	if err != nil {
		return nil, &EndpointError{Endpoint: e.address, Err: err}
	}
	return resp, nil
}

func (e *endpoint) statusEtcd(ctx context.Context) (*kvpb.StatusResponse, error) {
	s, err := pb.NewMaintenanceClient(e.conn).Status(ctx, &pb.StatusRequest{})
	if err != nil {
		return nil, err
	}
	list, err := pb.NewClusterClient(e.conn).MemberList(ctx, &pb.MemberListRequest{})
	if err != nil {
		return nil, err
	}
	resp := &kvpb.StatusResponse{
		ClusterId:    s.GetHeader().GetClusterId(),
		MemberId:     s.GetHeader().GetMemberId(),
		Term:         s.GetRaftTerm(),
		LeaderId:     s.GetLeader(),
		LastIndex:    s.GetRaftIndex(),
		CommitIndex:  s.GetRaftIndex(),
		AppliedIndex: s.GetRaftAppliedIndex(),
		Revision:     s.GetHeader().GetRevision(),
		DbSizeBytes:  s.GetDbSize(),
		Version:      s.GetVersion(),
	}
	switch {
	case s.GetIsLearner():
		resp.Role = kvpb.StatusResponse_LEARNER
	case s.GetLeader() == resp.MemberId:
		resp.Role = kvpb.StatusResponse_LEADER
	}
	for _, m := range list.GetMembers() {
		resp.Members = append(resp.Members, &kvpb.Member{
			Id: m.GetID(), Name: m.GetName(), PeerUrls: m.GetPeerURLs(), ClientUrls: m.GetClientURLs(), Learner: m.GetIsLearner(),
		})
		if m.GetID() == resp.MemberId {
			resp.Name = m.GetName()
		}
	}
	return resp, nil
}

// MemberName is the name of the member that gave an answer, or "" if it has
// none or cannot be asked any more.
func (c *Client) MemberName(ctx context.Context, a Answer) string {
	s, err := c.StatusAt(ctx, a.Endpoint)
	if err != nil {
		return ""
	}
	for _, m := range s.GetMembers() {
		if m.GetId() == a.MemberID {
			return m.GetName()
		}
	}
	return ""
}

// MemberStatus is one member and what it says of itself.
type MemberStatus struct {
	Member *kvpb.Member
	// Status is nil if the member cannot be reached; Err then says why.
	Status *kvpb.StatusResponse
	Err    error
}

// ClusterStatus describes all members of a cluster.
type ClusterStatus struct {
	ClusterID uint64
	// Members are in the order of their names, numbers by value.
	Members []MemberStatus
	// Strangers are endpoints that answered for another cluster.
	Strangers []string
}

// Leader returns the member that leads, or nil if none says so. Of two that do,
// the one of the lower term has not heard yet that it was deposed.
func (s *ClusterStatus) Leader() *kvpb.StatusResponse {
	var leader *kvpb.StatusResponse
	for _, m := range s.Members {
		if m.Status.GetRole() == kvpb.StatusResponse_LEADER && m.Status.GetTerm() >= leader.GetTerm() {
			leader = m.Status
		}
	}
	return leader
}

// ClusterStatus asks every member for its status. The list of members comes
// from the endpoint that has applied most; a member that none of the endpoints
// leads to is asked at its client URLs.
func (c *Client) ClusterStatus(ctx context.Context) (*ClusterStatus, error) {
	found, failures := c.askEndpoints(ctx, c.primary)
	if len(found) == 0 && len(c.fallback) > 0 {
		var more []*EndpointError
		found, more = c.askEndpoints(ctx, c.fallback)
		failures = append(failures, more...)
	}
	if len(found) == 0 {
		return nil, &UnavailableError{Endpoints: failures}
	}

	s := &ClusterStatus{ClusterID: found[0].status.GetClusterId()}
	known := map[uint64]*kvpb.StatusResponse{}
	var newest *kvpb.StatusResponse
	for _, f := range found {
		if f.status.GetClusterId() != s.ClusterID {
			s.Strangers = append(s.Strangers, f.address)
			continue
		}
		known[f.status.GetMemberId()] = f.status
		if newest == nil || f.status.GetAppliedIndex() > newest.GetAppliedIndex() {
			newest = f.status
		}
	}

	s.Members = make([]MemberStatus, len(newest.GetMembers()))
	var all sync.WaitGroup
	for i, m := range newest.GetMembers() {
		if st, ok := known[m.GetId()]; ok {
			s.Members[i] = MemberStatus{Member: m, Status: st}
			continue
		}
		all.Go(func() { s.Members[i] = c.askMember(ctx, s.ClusterID, m) })
	}
	all.Wait()
	slices.SortFunc(s.Members, func(a, b MemberStatus) int { return compareMembers(a.Member, b.Member) })
	return s, nil
}

// found is the status that one endpoint gave.
type found struct {
	address string
	status  *kvpb.StatusResponse
}

// askEndpoints asks all of them at once and returns the answers and failures in
// their order. Half of the time is left for what has to be asked afterwards.
func (c *Client) askEndpoints(ctx context.Context, list []*endpoint) ([]found, []*EndpointError) {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/2)
		defer cancel()
	}
	results := make([]*kvpb.StatusResponse, len(list))
	faults := make([]*EndpointError, len(list))
	var all sync.WaitGroup
	for i, e := range list {
		all.Go(func() { results[i], faults[i] = e.status(ctx) })
	}
	all.Wait()

	var answers []found
	var failures []*EndpointError
	for i, e := range list {
		if faults[i] != nil {
			failures = append(failures, faults[i])
			continue
		}
		answers = append(answers, found{e.address, results[i]})
	}
	return answers, failures
}

// askMember asks a member at its client URLs, one after the other.
func (c *Client) askMember(ctx context.Context, clusterID uint64, m *kvpb.Member) MemberStatus {
	var faults []error
	for _, url := range m.GetClientUrls() {
		st, err := c.StatusAt(ctx, url)
		switch {
		case err != nil:
			faults = append(faults, err)
		case st.GetMemberId() != m.GetId() || st.GetClusterId() != clusterID:
			faults = append(faults, fmt.Errorf("%s: another member answers there (%x of cluster %x)", url, st.GetMemberId(), st.GetClusterId()))
		default:
			return MemberStatus{Member: m, Status: st}
		}
	}
	if len(faults) == 0 {
		faults = append(faults, errors.New("it has not published client URLs"))
	}
	return MemberStatus{Member: m, Err: errors.Join(faults...)}
}

// compareMembers orders names that are numbers by value, before all others.
func compareMembers(a, b *kvpb.Member) int {
	x, errX := strconv.ParseUint(a.GetName(), 10, 64)
	y, errY := strconv.ParseUint(b.GetName(), 10, 64)
	switch {
	case errX == nil && errY != nil:
		return -1
	case errX != nil && errY == nil:
		return 1
	}
	// ParseUint returns the largest number for one out of range and 0 for what
	// is none, so equal values are told apart by the name itself.
	return cmp.Or(cmp.Compare(x, y), cmp.Compare(a.GetName(), b.GetName()), cmp.Compare(a.GetId(), b.GetId()))
}
