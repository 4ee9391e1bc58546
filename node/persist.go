package node

import (
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
)

// Persist makes a group of writes durable, in order, merging consecutive
// appends into one call of Log.Append and so into one fsync (group commit).
// It returns the responses that may leave now and the bytes to report to
// WriteDone. Entries that go back in the log start a new call, so that the
// log sees only runs of rising indexes.
func Persist(log Log, group []Write) (responses []*raftpb.Message, bytes int, err error) {
	var merged Write
	pending := false
	flush := func() error {
		if !pending {
			return nil
		}
		pending = false
		if err := log.Append(merged.HardState, merged.Entries); err != nil {
			return fmt.Errorf("append to the log: %w", err)
		}
		merged = Write{}
		return nil
	}
	for i := range group {
		w := &group[i]
		bytes += w.Bytes()
		responses = append(responses, w.Responses...)
		if w.Reset == nil && w.Release == nil && follows(merged.Entries, w.Entries) {
			merged.Entries = append(merged.Entries, w.Entries...)
			if w.HardState != nil {
				merged.HardState = w.HardState
			}
			pending = pending || w.HardState != nil || len(w.Entries) > 0
			continue
		}
		if err := flush(); err != nil {
			return nil, 0, err
		}
		switch {
		case w.Reset != nil:
			if err := log.Reset(w.Reset, w.HardState, w.Entries); err != nil {
				return nil, 0, fmt.Errorf("restart the log behind snapshot %d: %w", w.Reset.GetIndex(), err)
			}
		case w.Release != nil:
			if err := log.Release(w.Release, w.Unneeded); err != nil {
				return nil, 0, fmt.Errorf("release the log up to %d: %w", w.Release.GetIndex(), err)
			}
		default:
			merged, pending = Write{HardState: w.HardState, Entries: append([]*raftpb.Entry(nil), w.Entries...)}, true
		}
	}
	return responses, bytes, flush()
}

// follows says whether b continues a without going back.
func follows(a, b []*raftpb.Entry) bool {
	return len(a) == 0 || len(b) == 0 || b[0].GetIndex() == a[len(a)-1].GetIndex()+1
}

// Applied is a finished task of the applier.
type Applied struct {
	Task Apply
	Conf *raftpb.ConfState
}

// Execute runs tasks of the applier in order, merging consecutive ones up to a
// configuration change into one call of StateMachine.Apply, and reports those of
// each call.
func Execute(state StateMachine, snapshots Snapshots, tasks []Apply, answer func(index, proposer, boot, batch uint64, results []any), report func([]Applied)) error {
	for len(tasks) > 0 {
		if s := tasks[0].Install; s != nil {
			if err := snapshots.Install(s); err != nil {
				return fmt.Errorf("install snapshot %d: %w", s.GetMetadata().GetIndex(), err)
			}
			report([]Applied{{Task: tasks[0]}})
			tasks = tasks[1:]
			continue
		}
		n, entries := mergeable(tasks)
		conf, err := state.Apply(entries, answer)
		if err != nil {
			return fmt.Errorf("apply entries %d to %d: %w", entries[0].GetIndex(), entries[len(entries)-1].GetIndex(), err)
		}
		done := make([]Applied, n)
		for i, task := range tasks[:n] {
			done[i].Task = task
		}
		done[n-1].Conf = conf
		report(done)
		tasks = tasks[n:]
	}
	return nil
}

// mergeable returns how many tasks can share one Apply, and their entries.
func mergeable(tasks []Apply) (n int, entries []*raftpb.Entry) {
	entries = tasks[0].Entries
	for n = 1; n < len(tasks); n++ {
		if isConfChange(entries[len(entries)-1]) || tasks[n].Install != nil {
			break
		}
		// A copy on the first merge: the entries of a task belong to raft.
		entries = append(entries[:len(entries):len(entries)], tasks[n].Entries...)
	}
	return n, entries
}
