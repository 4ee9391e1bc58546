package statemachine_test

import (
	"math/rand/v2"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"
)

// BenchmarkSweep removes the old ones of six versions of 100,000 keys, the
// hash of the compaction included.
func BenchmarkSweep(b *testing.B) {
	const keyCount, versions, putsPerEntry, limit = 100_000, 6, 250, 1000
	for b.Loop() {
		b.StopTimer()
		m := openBench(b)
		r := rand.New(rand.NewPCG(1, 0))
		index, _ := m.Applied()
		for batch := uint64(1); batch <= versions*keyCount/putsPerEntry; batch++ {
			index++
			entry := benchEntry(b, r, index, batch, putsPerEntry, keyCount, make([]byte, 256))
			if _, err := m.Apply([]*raftpb.Entry{entry}, func(_, _, _, _ uint64, _ []any) {}); err != nil {
				b.Fatal(err)
			}
		}
		if err := m.Flush(); err != nil {
			b.Fatal(err)
		}
		l := &logWriter{t: b, index: index, batch: index}
		apply(b, m, l.entry(request(b, &pb.CompactionRequest{Revision: m.Revision()})))
		b.StartTimer()
		cpu := processCPU(b)
		began := time.Now()
		steps := 0
		for more := true; more; steps++ {
			var err error
			if more, _, err = m.SweepStep(limit); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64((processCPU(b)-cpu).Microseconds())/float64(versions*keyCount), "cpu-us/version")
		b.ReportMetric(float64(time.Since(began).Milliseconds())/float64(steps), "ms/step")
		b.ReportMetric(float64(steps), "steps")
	}
}
