package statemachine

import (
	"cmp"
	"fmt"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/encoding/protowire"

	"raftkv/statemachine/engine"
	"raftkv/statemachine/keys"
)

// Member is a record of the members table.
type Member struct {
	ID         uint64
	Name       string // empty until the member has started once
	PeerURLs   []string
	ClientURLs []string
	IsLearner  bool
	// Incarnation names the life of the member's data directory, 0 until the
	// member has published it. It never changes.
	Incarnation uint64
}

// Field numbers of a member record on disk, part of the format.
const (
	memberName        = 1
	memberPeerURL     = 2
	memberClientURL   = 3
	memberIsLearner   = 4
	memberIncarnation = 5
)

func (m *Member) encode() []byte {
	var b []byte
	text := func(num protowire.Number, s string) {
		b = protowire.AppendTag(b, num, protowire.BytesType)
		b = protowire.AppendString(b, s)
	}
	text(memberName, m.Name)
	for _, u := range m.PeerURLs {
		text(memberPeerURL, u)
	}
	for _, u := range m.ClientURLs {
		text(memberClientURL, u)
	}
	if m.IsLearner {
		b = protowire.AppendTag(b, memberIsLearner, protowire.VarintType)
		b = protowire.AppendVarint(b, 1)
	}
	if m.Incarnation != 0 {
		b = protowire.AppendTag(b, memberIncarnation, protowire.VarintType)
		b = protowire.AppendVarint(b, m.Incarnation)
	}
	return b
}

func decodeMember(id uint64, b []byte) (Member, error) {
	m := Member{ID: id}
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return m, fmt.Errorf("%w: record of member %x: %w", ErrForeignState, id, protowire.ParseError(n))
		}
		b = b[n:]
		switch num {
		case memberIsLearner:
			m.IsLearner = true
			n = protowire.ConsumeFieldValue(num, typ, b)
		case memberIncarnation:
			m.Incarnation, n = protowire.ConsumeVarint(b)
		default:
			var s string
			s, n = protowire.ConsumeString(b)
			switch num {
			case memberName:
				m.Name = s
			case memberPeerURL:
				m.PeerURLs = append(m.PeerURLs, s)
			case memberClientURL:
				m.ClientURLs = append(m.ClientURLs, s)
			}
		}
		if n < 0 {
			return m, fmt.Errorf("%w: record of member %x: %w", ErrForeignState, id, protowire.ParseError(n))
		}
		b = b[n:]
	}
	return m, nil
}

func (m *Member) toProto() *pb.Member {
	return &pb.Member{ID: m.ID, Name: m.Name, PeerURLs: slices.Clone(m.PeerURLs),
		ClientURLs: slices.Clone(m.ClientURLs), IsLearner: m.IsLearner}
}

// roster is the members table and the ids of removed members, each sorted by
// id. It is immutable: changes make a new one.
type roster struct {
	members []Member
	removed []uint64
}

func (r *roster) find(id uint64) (i int, found bool) {
	return slices.BinarySearchFunc(r.members, id, func(m Member, id uint64) int { return cmp.Compare(m.ID, id) })
}

func (r *roster) wasRemoved(id uint64) bool {
	_, found := slices.BinarySearch(r.removed, id)
	return found
}

// with returns the roster with m added, or put in the place of the member with
// its id.
func (r *roster) with(m Member) roster {
	i, found := r.find(m.ID)
	members := slices.Clone(r.members)
	if found {
		members[i] = m
	} else {
		members = slices.Insert(members, i, m)
	}
	return roster{members: members, removed: r.removed}
}

// without returns the roster with a member moved to the removed ids.
func (r *roster) without(id uint64) roster {
	members := slices.DeleteFunc(slices.Clone(r.members), func(m Member) bool { return m.ID == id })
	i, _ := slices.BinarySearch(r.removed, id)
	return roster{members: members, removed: slices.Insert(slices.Clone(r.removed), i, id)}
}

// usesPeerURL tells that a member other than id is reached at one of urls.
func (r *roster) usesPeerURL(id uint64, urls []string) bool {
	for _, m := range r.members {
		if m.ID != id && slices.ContainsFunc(m.PeerURLs, func(u string) bool { return slices.Contains(urls, u) }) {
			return true
		}
	}
	return false
}

func (r *roster) toProto() []*pb.Member {
	out := make([]*pb.Member, len(r.members))
	for i := range r.members {
		out[i] = r.members[i].toProto()
	}
	return out
}

func setMember(b *engine.Batch, m *Member) error {
	return b.Set(keys.Numbered(keys.Members, m.ID), m.encode())
}
