package statemachine

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/encoding/protowire"

	"raftkv/statemachine/envelope"
	"raftkv/statemachine/keys"
	"raftkv/statemachine/kv"
)

// alarm is one of a member.
type alarm struct {
	member uint64
	typ    pb.AlarmType
	// own: the member activated it itself and may take it back. One that an
	// operator activated stays until an operator deactivates it.
	own bool
}

func (a alarm) compare(b alarm) int {
	return cmp.Or(cmp.Compare(a.member, b.member), cmp.Compare(a.typ, b.typ))
}

func (a alarm) toProto() *pb.AlarmMember { return &pb.AlarmMember{MemberID: a.member, Alarm: a.typ} }

// alarms are all active ones, sorted by member and type. It is immutable.
type alarms []alarm

func (l alarms) find(a alarm) (i int, found bool) {
	return slices.BinarySearchFunc(l, a, alarm.compare)
}

func (l alarms) active(typ pb.AlarmType) bool {
	return slices.ContainsFunc(l, func(a alarm) bool { return a.typ == typ })
}

func (l alarms) of(member uint64) (own []alarm) {
	for _, a := range l {
		if a.member == member {
			own = append(own, a)
		}
	}
	return own
}

// A record of the alarms table holds those of one member: for each its type,
// and whether the member activated it itself, as varints.

func encodeAlarms(list []alarm) []byte {
	var b []byte
	for _, a := range list {
		b = protowire.AppendVarint(b, uint64(a.typ))
		b = protowire.AppendVarint(b, protowire.EncodeBool(a.own))
	}
	return b
}

func decodeAlarms(member uint64, b []byte) (list []alarm, err error) {
	for len(b) > 0 {
		typ, n := protowire.ConsumeVarint(b)
		own, m := uint64(0), -1
		if n > 0 {
			own, m = protowire.ConsumeVarint(b[n:])
		}
		if m < 0 {
			return nil, fmt.Errorf("%w: record of the alarms of member %x", ErrForeignState, member)
		}
		list = append(list, alarm{member: member, typ: pb.AlarmType(typ), own: protowire.DecodeBool(own)})
		b = b[n+m:]
	}
	return list, nil
}

func loadAlarms(db pebble.Reader) (all alarms, err error) {
	err = scanTable(db, keys.Alarms, false, func(key, value []byte) error {
		member, err := keys.Number(key)
		if err != nil {
			return err
		}
		list, err := decodeAlarms(member, value)
		all = append(all, list...)
		return err
	})
	return all, err
}

// changeAlarm activates or deactivates an alarm. Like etcd it answers with the
// alarm if it is active then, or was active before; asked for no particular
// type, it changes nothing.
func (a *application) changeAlarm(c *envelope.Command) (any, error) {
	req := &pb.AlarmRequest{}
	if err := decodeBody(c, req); err != nil {
		return nil, err
	}
	asked := alarm{member: req.GetMemberID(), typ: req.GetAlarm(), own: c.Kind == envelope.KindOwnAlarm}
	i, found := a.next.alarms.find(asked)
	resp := &pb.AlarmResponse{}
	var next alarms
	switch {
	case asked.typ == pb.AlarmType_NONE && !found:
		return resp, nil
	case req.GetAction() == pb.AlarmRequest_ACTIVATE && found, req.GetAction() == pb.AlarmRequest_GET && found:
		resp.Alarms = []*pb.AlarmMember{asked.toProto()}
		return resp, nil
	case req.GetAction() == pb.AlarmRequest_ACTIVATE:
		next = slices.Insert(slices.Clone(a.next.alarms), i, asked)
	case req.GetAction() == pb.AlarmRequest_DEACTIVATE && found && (!asked.own || a.next.alarms[i].own):
		next = slices.Delete(slices.Clone(a.next.alarms), i, i+1)
	default:
		return resp, nil
	}
	resp.Alarms = []*pb.AlarmMember{asked.toProto()}
	return resp, a.setAlarms(next, asked.member)
}

// setAlarms replaces the alarms by list, which differs in those of one member.
func (a *application) setAlarms(list alarms, member uint64) error {
	a.next.alarms = list
	own := list.of(member)
	a.m.effects.alarms(member, own)
	key := keys.Numbered(keys.Alarms, member)
	if len(own) == 0 {
		return a.batch.Delete(key)
	}
	return a.batch.Set(key, encodeAlarms(own))
}

// dropAlarms removes the alarms of a member that was removed: it cannot take
// them back itself.
func (a *application) dropAlarms(member uint64) error {
	if len(a.next.alarms.of(member)) == 0 {
		return nil
	}
	rest := slices.DeleteFunc(slices.Clone(a.next.alarms), func(l alarm) bool { return l.member == member })
	return a.setAlarms(rest, member)
}

// refusal tells whether an active alarm forbids a key-value command. Without
// space nothing may grow: deletions and compactions make space. What is
// corrupt is not changed at all.
func (a *application) refusal(kind envelope.Kind, grows func() bool) error {
	if len(a.next.alarms) == 0 {
		return nil
	}
	if a.next.alarms.active(pb.AlarmType_CORRUPT) {
		return fmt.Errorf("%w: command of kind %d", ErrCorruptAlarm, kind)
	}
	if a.next.alarms.active(pb.AlarmType_NOSPACE) && grows() {
		return ErrNoSpace
	}
	return nil
}

func always() bool { return true }
func never() bool  { return false }

func growing(req *pb.TxnRequest) func() bool {
	return func() bool { return kv.Grows(req) }
}

// Alarms returns the active alarms of a type, those of all types for NONE.
func (m *Machine) Alarms(typ pb.AlarmType) []*pb.AlarmMember {
	var out []*pb.AlarmMember
	for _, a := range m.view.Load().alarms {
		if typ == pb.AlarmType_NONE || a.typ == typ {
			out = append(out, a.toProto())
		}
	}
	return out
}

// AlarmActive tells whether any member has an alarm of a type.
func (m *Machine) AlarmActive(typ pb.AlarmType) bool { return m.view.Load().alarms.active(typ) }

// HasOwnAlarm tells whether a member has activated an alarm by itself.
func (m *Machine) HasOwnAlarm(member uint64, typ pb.AlarmType) bool {
	list := m.view.Load().alarms
	i, found := list.find(alarm{member: member, typ: typ})
	return found && list[i].own
}
