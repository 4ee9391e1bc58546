package peer

import (
	"math/rand/v2"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
)

// The queue behaves like a list with two bounds.
func TestQueueAgainstModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	const countMax, bytesMax = 10, 2000
	q := newQueue(countMax, bytesMax)
	var model []item
	bytes, closed, dropped, next := 0, false, uint64(0), uint64(0)
	for range 20_000 {
		switch rng.IntN(12) {
		case 0:
			closed = rng.IntN(2) == 0
			dropped += uint64(len(model))
			q.discard(closed)
			model, bytes = nil, 0
		case 1:
			q.open()
			closed = false
		case 2, 3:
			limit := rng.IntN(1500)
			f, n := q.take(limit)
			want, wantBytes := 0, 0
			for want < len(model) && (want == 0 || wantBytes+model[want].sizeBytes <= limit) {
				wantBytes += model[want].sizeBytes
				want++
			}
			if len(f.GetMessages()) != want || n != wantBytes {
				t.Fatalf("took %d messages, %d bytes; want %d, %d", len(f.GetMessages()), n, want, wantBytes)
			}
			for i, m := range f.GetMessages() {
				if m != model[i].message {
					t.Fatal("out of order")
				}
			}
			model, bytes = model[want:], bytes-wantBytes
		default:
			next++
			i := messageItem(message(raftpb.MessageType_MsgApp, 1, 2, next, string(make([]byte, rng.IntN(400)))))
			want := !closed && len(model) < countMax && (len(model) == 0 || bytes+i.sizeBytes <= bytesMax)
			if got := q.put(i); got != want {
				t.Fatalf("put said %v, want %v", got, want)
			}
			if want {
				model, bytes = append(model, i), bytes+i.sizeBytes
			} else {
				dropped++
			}
		}
		if n, b, d := q.stats(); n != len(model) || b != bytes || d != dropped {
			t.Fatalf("the queue has %d messages, %d bytes, dropped %d; want %d, %d, %d", n, b, d, len(model), bytes, dropped)
		}
	}
}
