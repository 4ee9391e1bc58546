package oracle

import (
	"math"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Bounds of what the generator remembers of maintenance.
const (
	// More compactions than etcd keeps hashes of.
	compactionsMax = 14
	armedOpsMax    = 12 // operations until alarms are deactivated again
)

// maintenanceOp is a request of etcd's maintenance service.
func (g *Generator) maintenanceOp() Operation {
	switch g.pick(66, 22, 4, 8) {
	case 0:
		return Operation{HashKV, &pb.HashKVRequest{Revision: g.hashRevision()}}
	case 1:
		return g.alarmOp()
	case 2:
		return Operation{Defragment, &pb.DefragmentRequest{}}
	default:
		return Operation{Status, &pb.StatusRequest{}}
	}
}

// hashRevision is mostly one that can be hashed: also that of a compaction some
// compactions ago, which etcd remembers for a while.
func (g *Generator) hashRevision() int64 {
	switch g.pick(25, 30, 35, 10) {
	case 0:
		return 0
	case 1:
		return g.pastRevision()
	case 2:
		if len(g.compactions) > 0 {
			return g.compactions[g.rng.IntN(len(g.compactions))]
		}
		return g.compacted
	default:
		return g.anyRevision()
	}
}

func (g *Generator) alarmOp() Operation {
	request := &pb.AlarmRequest{
		Action:   pb.AlarmRequest_AlarmAction(g.pick(30, 50, 17, 3)),
		MemberID: []uint64{0, 1, 2, math.MaxUint64}[g.rng.IntN(4)],
		Alarm:    pb.AlarmType(g.pick(10, 50, 40)),
	}
	return Operation{Alarm, request}
}

// whileArmed is what is asked because of active alarms, if anything is: whether
// they show, and their end after a few operations, because writes say little
// as long as they are refused.
func (g *Generator) whileArmed() (Operation, bool) {
	if len(g.armed) == 0 {
		return Operation{}, false
	}
	if g.armedOps++; g.armedOps >= g.armedOpsMax {
		return Operation{Alarm, &pb.AlarmRequest{
			Action: pb.AlarmRequest_DEACTIVATE, MemberID: g.armed[0].MemberID, Alarm: g.armed[0].Alarm,
		}}, true
	}
	switch g.pick(80, 10, 10) {
	case 1:
		return Operation{Alarm, &pb.AlarmRequest{}}, true
	case 2:
		return Operation{Status, &pb.StatusRequest{}}, true
	}
	return Operation{}, false
}

// noteAlarm keeps track of the alarms that are active.
func (g *Generator) noteAlarm(r *pb.AlarmRequest) {
	at := slices.IndexFunc(g.armed, func(a *pb.AlarmMember) bool {
		return a.MemberID == r.MemberID && a.Alarm == r.Alarm
	})
	switch {
	case r.Action == pb.AlarmRequest_DEACTIVATE && at >= 0:
		g.armed = slices.Delete(g.armed, at, at+1)
	case r.Action == pb.AlarmRequest_ACTIVATE && at < 0 && r.Alarm != pb.AlarmType_NONE:
		if len(g.armed) == 0 {
			g.armedOps, g.armedOpsMax = 0, 1+g.rng.IntN(armedOpsMax)
		}
		g.armed = append(g.armed, &pb.AlarmMember{MemberID: r.MemberID, Alarm: r.Alarm})
	}
}

// noteCompaction remembers the newest compactions.
func (g *Generator) noteCompaction(revision int64) {
	g.compactions = append(g.compactions, revision)
	g.compactions = g.compactions[max(0, len(g.compactions)-compactionsMax):]
}
