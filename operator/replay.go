package operator

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"

	"raftkv/statemachine"
	"raftkv/statemachine/envelope"
)

// An append and an increment say what they add, not what they add it to. What a
// key held then follows from all that was applied before, so it is known only of a
// log that goes back to the beginning of its cluster: such a log is applied once
// more, to an empty state in memory. That the log does, and that nothing else
// went into the state, is proven by comparing the two states where the member's
// own one stands.

// outcome is the value that a write led to.
type outcome struct {
	value []byte
	lease int64
}

// place names a write: a command of an entry, and a write of that if it is a frame.
type place struct {
	index          uint64
	command, write int
}

// growing tells whether a log has writes whose requests are not in it.
func growing(entries []*raftpb.Entry) bool {
	for _, e := range entries {
		env, err := envelope.Decode(e.GetData())
		if e.GetType() != raftpb.EntryNormal || len(e.GetData()) == 0 || err != nil {
			continue
		}
		for i := range env.Commands {
			for _, w := range writesOf(&env.Commands[i]) {
				if w.grows() {
					return true
				}
			}
		}
	}
	return false
}

// write is a command, or a write of a frame, as far as it grows a key.
type write struct {
	op  envelope.WriteOp // 0: another command
	key []byte
}

func (w write) grows() bool { return w.op == envelope.WriteAppend || w.op == envelope.WriteIncrement }

// writesOf are those of a command, in the order of what translate returns.
func writesOf(c *envelope.Command) (all []write) {
	switch c.Kind {
	case envelope.KindAppend:
		req := &pb.PutRequest{}
		if err := unmarshal(c.Body, req); err != nil {
			return []write{{}}
		}
		return []write{{envelope.WriteAppend, req.GetKey()}}
	case envelope.KindFrame:
		f, err := envelope.DecodeFrame(c.Body)
		if err != nil {
			return []write{{}}
		}
		var w envelope.Write
		for rest := f.Writes; len(rest) > 0; {
			if rest, err = envelope.NextWrite(rest, &w); err != nil {
				return append(all, write{})
			}
			all = append(all, write{w.Op, w.Key})
		}
		return all
	}
	return []write{{}}
}

// replay is a state that a log is applied to once more.
type replay struct {
	fs      vfs.FS
	machine *statemachine.Machine
	found   map[place]outcome
	// live and hash are the member's own state and its HashKV.
	live statemachine.Summary
	hash uint32
}

// replayLog returns what the growing writes of a log came to. Those that were not
// carried out, since they were refused or repeated, are missing. An error says
// why none can be told.
func replayLog(ctx context.Context, root string, l *rawLog) (found map[place]outcome, err error) {
	if l.anchor.GetIndex() != 1 || len(l.entries) == 0 || l.entries[0].GetIndex() != 2 {
		return nil, errors.New("the log does not go back to the beginning of its cluster")
	}
	r := replay{fs: vfs.NewMem(), found: map[place]outcome{}}
	dir, err := statemachine.LiveDatabase(vfs.Default, filepath.Join(root, "member", "state"))
	if err == nil {
		err = statemachine.Examine(vfs.Default, dir, func(e *statemachine.Examined) (err error) {
			r.live = e.Summary
			r.hash, err = e.HashKV(ctx)
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("the state that the log led to cannot be read (does the member run?): %w", err)
	}
	failed := make(chan error, 1)
	r.machine, err = statemachine.Open(statemachine.Options{Dir: "state", FS: r.fs, MemTableBytes: 8 << 20, OnFatal: func(err error) {
		select {
		case failed <- err:
		default:
		}
	}})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.machine.Close()) }()
	seed := statemachine.Seed{ClusterID: r.live.ClusterID, Index: l.anchor.GetIndex(), Term: l.anchor.GetTerm(), ConfState: l.anchor.GetConfState()}
	for _, id := range l.anchor.GetConfState().GetVoters() {
		seed.Members = append(seed.Members, statemachine.Member{ID: id})
	}
	if err := r.machine.Bootstrap(seed); err != nil {
		return nil, err
	}
	if err := r.run(ctx, l); err != nil {
		return nil, err
	}
	return r.found, nil
}

func (r *replay) run(ctx context.Context, l *rawLog) error {
	proven, err := r.prove(ctx)
	for i := 0; i < len(l.entries) && err == nil && l.entries[i].GetIndex() <= l.commit; i++ {
		if err = ctx.Err(); err == nil {
			err = r.apply(l.entries[i : i+1])
		}
		if err == nil && !proven {
			proven, err = r.prove(ctx)
		}
	}
	if err == nil && !proven {
		err = errors.New("the state is ahead of the log")
	}
	return err
}

// prove compares the two states, when the one in memory is where the other is.
func (r *replay) prove(ctx context.Context) (bool, error) {
	now := r.machine.Summarize()
	if now.Index != r.live.Index {
		return false, nil
	}
	const proof = "proof"
	var hash uint32
	_, err := r.machine.Checkpoint(proof)
	if err == nil {
		err = statemachine.Examine(r.fs, proof, func(e *statemachine.Examined) (err error) {
			hash, err = e.HashKV(ctx)
			return err
		})
	}
	if err == nil && (now.Revision != r.live.Revision || now.CompactedRevision != r.live.CompactedRevision || hash != r.hash) {
		err = errors.New("the cluster began with data that are not in the log: it was restored or imported")
	}
	return true, err
}

// apply applies one entry, and reads what its growing writes came to.
func (r *replay) apply(one []*raftpb.Entry) error {
	var results []any
	_, err := r.machine.Apply(one, func(_, _, _, _ uint64, all []any) { results = all })
	if err != nil || results == nil {
		return err // or a batch that was applied before
	}
	env, err := envelope.Decode(one[0].GetData())
	if err != nil {
		return err
	}
	for i := range env.Commands {
		revisions, err := revisionsOf(results[i])
		if err != nil {
			return err
		}
		for n, w := range writesOf(&env.Commands[i]) {
			if !w.grows() || n >= len(revisions) || revisions[n] == 0 {
				continue
			}
			resp, err := r.machine.Range(context.Background(), &pb.RangeRequest{Key: w.key, Revision: revisions[n]})
			if errors.Is(err, statemachine.ErrCompacted) {
				continue // by a later command of the same entry
			}
			if err != nil {
				return err
			}
			for _, kv := range resp.GetKvs() {
				r.found[place{one[0].GetIndex(), i, n}] = outcome{kv.GetValue(), kv.GetLease()}
			}
		}
	}
	return nil
}

// revisionsOf are those of the writes of a command, as far as they can be told.
func revisionsOf(result any) ([]int64, error) {
	switch r := result.(type) {
	case *pb.PutResponse:
		return []int64{r.GetHeader().GetRevision()}, nil
	case *statemachine.FrameResult:
		return r.Revisions()
	}
	return nil, nil
}
