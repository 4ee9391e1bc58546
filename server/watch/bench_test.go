package watch

import (
	"bytes"
	"context"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"raftkv/rpc/feed"
)

const benchWatchers = 1000

// BenchmarkFanOut is the cost of one event of 256 bytes for a thousand watchers of
// one range, each on a stream of its own, up to the bytes that gRPC sends; beside
// it what encoding the message for each of them would cost instead.
func BenchmarkFanOut(b *testing.B) {
	header := &pb.ResponseHeader{ClusterId: 1 << 60, MemberId: 1 << 61, Revision: 1 << 30, RaftTerm: 7}
	b.Run("shared", func(b *testing.B) {
		h, store := idleHub(b, Config{})
		var streams []*Stream
		for range benchWatchers {
			s := open(b, h)
			create(b, s, everything)
			if _, err := s.Next(context.Background()); err != nil {
				b.Fatal(err)
			}
			streams = append(streams, s)
		}
		value := bytes.Repeat([]byte("v"), 256)
		b.ReportAllocs()
		for b.Loop() {
			h.take(store.write(true, []op{{"key", value}}))
			for _, s := range streams {
				m, err := s.Next(context.Background())
				if err != nil {
					b.Fatal(err)
				}
				if f := m.Encode(header); len(f.Buffers()) != 2 {
					b.Fatalf("%d buffers", len(f.Buffers()))
				}
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchWatchers, "ns/watcher")
	})
	b.Run("encoded for each", func(b *testing.B) {
		m := &feed.Message{WatchID: 1, Events: nil}
		resp, err := m.Response(header)
		if err != nil {
			b.Fatal(err)
		}
		_, store := idleHub(b, Config{})
		c := store.write(true, []op{{"key", bytes.Repeat([]byte("v"), 256)}}).Changes[0]
		one, err := (&feed.Message{Events: []*feed.Event{feed.NewEvent(&c, nil)}}).Response(header)
		if err != nil {
			b.Fatal(err)
		}
		resp.Events = one.Events
		b.ReportAllocs()
		for b.Loop() {
			for range benchWatchers {
				if _, err := proto.Marshal(resp); err != nil {
					b.Fatal(err)
				}
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchWatchers, "ns/watcher")
	})
}
