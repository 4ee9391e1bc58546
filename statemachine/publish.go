package statemachine

import (
	"fmt"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"raftkv/statemachine/envelope"
)

// publishMember records what a started member says of itself. The first
// incarnation it names is its only one: whoever names another runs on another
// data directory under the same id (invariant 11 of the design).
func (a *application) publishMember(c *envelope.Command) (any, error) {
	req, err := envelope.DecodePublishMember(c.Body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformedEntry, err)
	}
	i, found := a.next.find(req.ID)
	if !found {
		return fmt.Errorf("%w: %x", ErrMemberNotFound, req.ID), nil
	}
	member := a.next.members[i]
	if member.Incarnation != 0 && member.Incarnation != req.Incarnation {
		return fmt.Errorf("%w: member %x is %x, not %x", ErrOtherIncarnation, req.ID, member.Incarnation, req.Incarnation), nil
	}
	member.Name, member.ClientURLs, member.Incarnation = req.Name, slices.Clone(req.ClientURLs), req.Incarnation
	if err := a.setMember(member); err != nil {
		return nil, err
	}
	return &pb.MemberListResponse{Header: &pb.ResponseHeader{}, Members: a.next.toProto()}, nil
}
