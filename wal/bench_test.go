package wal_test

import (
	"fmt"
	"path/filepath"
	"testing"

	etcdwal "go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/raft/v3/raftpb"

	"raftkv/wal"
)

// BenchmarkAppend measures one Append with its fsync, on real files.
func BenchmarkAppend(b *testing.B) {
	defer func(size int64) { etcdwal.SegmentSizeBytes = size }(etcdwal.SegmentSizeBytes)
	etcdwal.SegmentSizeBytes = int64(wal.SegmentBytes)
	for _, c := range []struct{ entries, bytes int }{{1, 300}, {16, 4800}, {1, 64 << 10}} {
		b.Run(fmt.Sprintf("entries=%d/bytes=%d", c.entries, c.bytes), func(b *testing.B) {
			opts := wal.Options{Dir: filepath.Join(b.TempDir(), "wal"), Metadata: wal.Metadata{ClusterID: 1, MemberID: 2}}
			start := position{1, 1}
			if err := wal.Create(opts, start.meta()); err != nil {
				b.Fatal(err)
			}
			l, err := wal.Open(opts, start.meta())
			if err != nil {
				b.Fatal(err)
			}
			defer func() {
				if err := l.Close(); err != nil {
					b.Error(err)
				}
			}()
			b.SetBytes(int64(c.entries * c.bytes))
			b.ReportAllocs()
			last, data := uint64(1), make([]byte, c.bytes)
			for b.Loop() {
				batch := make([]*raftpb.Entry, c.entries)
				for i := range batch {
					last++
					batch[i] = &raftpb.Entry{Index: new(last), Term: new(uint64(1)), Data: data}
				}
				if err := l.Append(hardState(1, 0, last), batch); err != nil {
					b.Fatal(err)
				}
				if err := l.Release(position{last, 1}.meta(), last); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
