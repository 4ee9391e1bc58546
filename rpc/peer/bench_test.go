package peer

import (
	"testing"

	"go.etcd.io/raft/v3/raftpb"
)

// BenchmarkAppends measures both ends of a lane together: 16 KiB appends, a
// window of 64 in flight.
func BenchmarkAppends(b *testing.B) {
	from, to := pair(b, nil)
	data := string(make([]byte, 16<<10))
	b.SetBytes(16 << 10)
	b.ReportAllocs()
	inFlight := 0
	for i := range uint64(b.N) {
		send(from, message(raftpb.MessageType_MsgApp, 1, 2, i, data))
		if inFlight++; inFlight >= 64 {
			<-to.messages
			inFlight--
		}
	}
	for range inFlight {
		<-to.messages
	}
}
