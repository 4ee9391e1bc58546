package oracle

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
)

// Oracle is a pair of members with the same history.
type Oracle struct {
	etcd, raftKV Member
	dir          string
	// sweeping: a compaction may still be removing versions in the background.
	sweeping bool
	// streams are the watch streams that may be open.
	streams map[int]bool
	// short is the lease that will run out, and late that it may have done so
	// while something else was asked.
	short countdown
	late  bool
}

// Start starts a fresh pair.
func Start(ctx context.Context) (*Oracle, error) {
	return startBeside(ctx, func(string) (Member, error) { return StartRaftKV(ctx) })
}

// startBeside starts an etcd and another member beside it, in a directory of
// its own.
func startBeside(ctx context.Context, other func(dir string) (Member, error)) (*Oracle, error) {
	dir, err := os.MkdirTemp("", "raft-kv-oracle-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for etcd: %w", err)
	}
	o := &Oracle{dir: dir, streams: map[int]bool{}}
	var etcdErr, raftKVErr error
	var starting sync.WaitGroup
	starting.Go(func() { o.etcd, etcdErr = StartEtcd(ctx, filepath.Join(dir, "etcd")) })
	starting.Go(func() { o.raftKV, raftKVErr = other(filepath.Join(dir, "other")) })
	starting.Wait()
	if err := errors.Join(etcdErr, raftKVErr); err != nil {
		return nil, errors.Join(err, o.Close())
	}
	return o, nil
}

// Close ends both members and removes their data.
func (o *Oracle) Close() error {
	var errs []error
	for _, m := range []Member{o.etcd, o.raftKV} {
		if m != nil {
			errs = append(errs, m.Close())
		}
	}
	return errors.Join(append(errs, os.RemoveAll(o.dir))...)
}

// Wrap puts something in front of the raft-kv, which is how the tests plant
// faults.
func (o *Oracle) Wrap(wrap func(Member) Member) { o.raftKV = wrap(o.raftKV) }

// Ask sends one operation to both and returns etcd's answer, unmasked. The
// difference is nil if they agree. Operations that a compaction in the
// background has a say in are asked when it is done.
func (o *Oracle) Ask(ctx context.Context, op Operation) (Answer, *Difference) {
	if o.sweeping && waitsForSweep(op) {
		if a, d := o.compare(ctx, sweepBarrier()); d != nil {
			return a, d
		}
		o.sweeping = false
	}
	if op.Method == Compact {
		// Events that were not sent yet may lose their previous key values.
		for _, stream := range slices.Sorted(maps.Keys(o.streams)) {
			if a, d := o.compare(ctx, watchProgress(stream)); d != nil {
				return a, d
			}
		}
	}
	switch base, stream, _ := op.Method.watches(); base {
	case Watch:
		o.streams[stream] = true
	case WatchClose:
		delete(o.streams, stream)
	}
	a, d := o.compare(ctx, op)
	if r, ok := op.Request.(*pb.CompactionRequest); ok && a.Code == codes.OK {
		o.sweeping = !r.GetPhysical()
	}
	return a, d
}

// waitsForSweep tells which operations those are: HashKV, which etcd answers
// from what the compaction stored at its end; the next compaction, whose hash
// is stored only if this one is done; and alarms, because while one refuses
// compactions nothing waits.
func waitsForSweep(op Operation) bool {
	return op.Method == HashKV || op.Method == Compact || op.Method == Alarm
}

// sweepBarrier is a compaction that is always refused, but not before the last
// one is done with the versions it removes.
func sweepBarrier() Operation {
	return Operation{Compact, &pb.CompactionRequest{Revision: -1, Physical: true}}
}

// watchProgress collects what a watch stream has received.
func watchProgress(stream int) Operation {
	return Operation{Watch.on(stream), &pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{
		ProgressRequest: &pb.WatchProgressRequest{}}}}
}

// Overtaken tells whether a lease may have run out while something else was
// asked. Nothing is compared from then on.
func (o *Oracle) Overtaken() bool { return o.late }

func (o *Oracle) compare(ctx context.Context, op Operation) (Answer, *Difference) {
	var want, got Answer
	var asking sync.WaitGroup
	began := time.Now()
	asking.Go(func() { want = o.etcd.Do(ctx, op); want.at = time.Now() })
	got = o.raftKV.Do(ctx, op)
	got.at = time.Now()
	asking.Wait()
	if op.Method == LeaseExpiry {
		if d := o.short.end(op, want, got); d != nil {
			return want, d
		}
	}
	o.short.note(op, want, began)
	if o.late = o.late || o.short.overtaken(); o.late {
		return want, nil
	}
	maskedWant, maskedGot := Mask(want), Mask(got)
	if equal(maskedWant, maskedGot) || excludedAnswer(op, want) {
		return want, nil
	}
	return want, &Difference{Operation: op, Etcd: maskedWant, RaftKV: maskedGot}
}

// Run asks up to count operations of the generator and stops at the first
// difference, or when it is overtaken. asked is what was asked, the operation that differs last.
func (o *Oracle) Run(ctx context.Context, g *Generator, count int, tally *Tally) (asked []Operation, d *Difference) {
	for range count {
		op := g.Next()
		asked = append(asked, op)
		answer, d := o.Ask(ctx, op)
		if d != nil {
			return asked, d
		}
		if o.late {
			break
		}
		tally.add(op, answer)
		g.Observe(answer)
	}
	return asked, nil
}

// Replay asks the operations of a program and stops at the first difference;
// index is its place in the program.
func (o *Oracle) Replay(ctx context.Context, program []Operation) (index int, d *Difference) {
	for i, op := range program {
		if _, d := o.Ask(ctx, op); d != nil {
			return i, d
		}
		if o.late {
			return i, nil
		}
	}
	return len(program), nil
}
