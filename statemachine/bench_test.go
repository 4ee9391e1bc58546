package statemachine_test

import (
	"encoding/binary"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"raftkv/statemachine"
	"raftkv/statemachine/envelope"
)

// BenchmarkPut applies 1000 puts of 256 bytes a call, as four entries of 250.
// It reports the CPU time of the whole process, flushes and compactions
// included, which is what a loaded machine pays.
func BenchmarkPut(b *testing.B) {
	const putsPerApply, putsPerEntry = 1000, 250
	for name, keyCount := range map[string]uint64{"random keys": 1 << 40, "repeated keys": 10_000} {
		b.Run(name, func(b *testing.B) {
			m := openBench(b)
			r := rand.New(rand.NewPCG(1, 0))
			index, _ := m.Applied()
			batch := uint64(0)
			value := make([]byte, 256)
			cpu := time.Duration(0)
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				var entries []*raftpb.Entry
				for range putsPerApply / putsPerEntry {
					index++
					batch++
					entries = append(entries, benchEntry(b, r, index, batch, putsPerEntry, keyCount, value))
				}
				start := processCPU(b)
				b.StartTimer()
				if _, err := m.Apply(entries, func(_, _, _, _ uint64, _ []any) {}); err != nil {
					b.Fatal(err)
				}
				cpu += processCPU(b) - start
			}
			start := processCPU(b)
			if err := m.Flush(); err != nil {
				b.Fatal(err)
			}
			cpu += processCPU(b) - start
			puts := float64(b.N) * putsPerApply
			b.ReportMetric(float64(cpu.Microseconds())/puts, "cpu-us/put")
			b.ReportMetric(float64(b.Elapsed().Microseconds())/puts, "us/put")
		})
	}
}

// BenchmarkPointRange reads random ones of 200,000 keys, most of them from
// tables.
func BenchmarkPointRange(b *testing.B) {
	const keyCount = 200_000
	m := openBench(b)
	r := rand.New(rand.NewPCG(1, 0))
	index, _ := m.Applied()
	for batch := uint64(1); batch <= 4*keyCount/250; batch++ {
		index++
		entry := benchEntry(b, r, index, batch, 250, keyCount, make([]byte, 256))
		if _, err := m.Apply([]*raftpb.Entry{entry}, func(_, _, _, _ uint64, _ []any) {}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		key := binary.BigEndian.AppendUint64([]byte("key-----"), r.Uint64N(keyCount))
		if _, err := m.Range(b.Context(), &pb.RangeRequest{Key: key}); err != nil {
			b.Fatal(err)
		}
	}
}

func openBench(b *testing.B) *statemachine.Machine {
	m, err := statemachine.Open(statemachine.Options{Dir: b.TempDir(), OnFatal: func(err error) { b.Error(err) }})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := m.Close(); err != nil {
			b.Error(err)
		}
	})
	if err := m.Bootstrap(seed()); err != nil {
		b.Fatal(err)
	}
	return m
}

func benchEntry(b *testing.B, r *rand.Rand, index, batch uint64, puts int, keyCount uint64, value []byte) *raftpb.Entry {
	commands := make([][]byte, puts)
	for i := range commands {
		key := binary.BigEndian.AppendUint64([]byte("key-----"), r.Uint64N(keyCount))
		binary.BigEndian.PutUint64(value, r.Uint64())
		body, err := proto.Marshal(&pb.PutRequest{Key: key, Value: value})
		if err != nil {
			b.Fatal(err)
		}
		commands[i] = envelope.EncodeCommand(envelope.Command{Kind: envelope.KindPut, Body: body})
	}
	return &raftpb.Entry{Index: &index, Term: new(uint64(1)),
		Data: envelope.Pack(envelope.Envelope{Proposer: 1, Boot: 1, Batch: batch}, commands)}
}

func processCPU(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkPagedListing lists a million keys in pages of 500 at one revision.
func BenchmarkPagedListing(b *testing.B) {
	const keyCount, putsPerEntry, limit = 1_000_000, 1000, 500
	m := openBench(b)
	index, _ := m.Applied()
	for batch := uint64(1); batch <= keyCount/putsPerEntry; batch++ {
		index++
		commands := make([][]byte, putsPerEntry)
		for i := range commands {
			key := binary.BigEndian.AppendUint64([]byte("key-----"), (batch-1)*putsPerEntry+uint64(i))
			commands[i] = request(b, &pb.PutRequest{Key: key, Value: make([]byte, 256)})
		}
		entry := &raftpb.Entry{Index: &index, Term: new(uint64(1)),
			Data: envelope.Pack(envelope.Envelope{Proposer: 1, Boot: 1, Batch: batch}, commands)}
		if _, err := m.Apply([]*raftpb.Entry{entry}, func(_, _, _, _ uint64, _ []any) {}); err != nil {
			b.Fatal(err)
		}
	}
	if err := m.Flush(); err != nil {
		b.Fatal(err)
	}
	for revision := m.Revision(); b.Loop(); revision-- { // another one, so that it counts again
		req := &pb.RangeRequest{Key: []byte("key"), RangeEnd: []byte("kez"), Limit: limit, Revision: revision}
		start, listed := time.Now(), 0
		for more := true; more; {
			resp, err := m.Range(b.Context(), req)
			if err != nil {
				b.Fatal(err)
			}
			if listed += len(resp.Kvs); listed == limit {
				b.ReportMetric(float64(time.Since(start).Milliseconds()), "first-page-ms")
			}
			req.Key, more = append(resp.Kvs[len(resp.Kvs)-1].Key, 0), resp.More
		}
		b.ReportMetric(float64(time.Since(start).Milliseconds()), "listing-ms")
		if listed < keyCount/2 {
			b.Fatalf("%d keys listed", listed)
		}
	}
}
