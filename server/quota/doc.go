// Package quota refuses writes that there is no room for, by the replicated
// NOSPACE alarm.
//
// There is no room when the live data, with what the write adds, would reach
// the quota, or when the disk has less free space than the reserve. The quota
// counts live data, before compression, and not files: what is deleted and
// compacted counts no more as soon as it is swept, whatever the disk does with
// it later. The reserve is for what must go on: deletions, compactions, raft's
// log and the flushes and compactions of the state. It is a part of the disk,
// and never less than those need, whatever the size of the disk. A disk that is
// too full is made to give back what was deleted (Rewrite), now and then.
//
// Like in etcd the first write that does not fit activates the alarm of its
// member, and while any member has it, Apply refuses on all members alike what
// would grow. Unlike in etcd the member takes its alarm back by itself, through
// the log as well, once there is room; an alarm that an operator activated stays
// until an operator deactivates it.
//
// It does not measure: live bytes, free space and alarms are functions it is
// given.
//
// # Guarantees
//
//  1. A write that does not fit is refused before it is proposed, and the alarm
//     has been proposed by then, as far as the request's context allowed.
//  2. The alarm is taken back only when there is room for the largest write
//     that was refused, and some more, so that it does not flap, and
//     there has been for a few seconds (roomTime), so that whoever makes room and
//     ends the alarm by hand, as etcd wants it, is not overtaken.
//
// # Goroutines and locks
//
// Run is the one goroutine; its caller waits for it. Admit may be called at any
// time; of many writes that are refused at once, one proposes and the others
// wait for it. A proposal that fails is logged and made again by the next write,
// or by Run.
package quota
