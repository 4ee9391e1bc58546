package kvstream_test

import (
	"maps"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"raftkv/node"
	"raftkv/rpc/kvstream"
	"raftkv/rpc/kvstream/frames"
	"raftkv/rpc/kvstream/kvpb"
	"raftkv/rpc/listen"
	"raftkv/rpc/request"
	"raftkv/rpc/rpctest"
)

// TestFrameMetrics: every frame is counted once, by what became of it.
func TestFrameMetrics(t *testing.T) {
	m := rpctest.New()
	service := kvstream.New(rpctest.Gate(t, m, request.AllowAll{}, request.Config{}), m)
	client := kvpb.NewNativeClient(rpctest.Serve(t, listen.GRPCConfig{}, func(r grpc.ServiceRegistrar) { kvstream.Register(r, service) }))
	session := openSession(t, client)
	s := stream(t, client)
	put := writes(frames.Write{Op: frames.Put, Key: []byte("k")})
	for _, f := range []*kvpb.Frame{
		{SessionId: session, Sequence: 1, Writes: put},
		{SessionId: session, Sequence: 1, Writes: put},
		{Writes: put},
		{Reads: reads("k")},
		{SessionId: session, Sequence: 7, Writes: put},
		{SessionId: 99, Sequence: 1, Writes: put},
		{},
	} {
		exchange(t, s, f)
	}
	m.Switch(rpctest.Switches{ProposeErr: node.ErrBusy})
	exchange(t, s, &kvpb.Frame{Writes: put})

	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(service.Metrics()); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, v := range f.GetMetric() {
			name := f.GetName()
			for _, l := range v.GetLabel() {
				name += " " + l.GetValue()
			}
			got[name] = v.GetCounter().GetValue() + float64(v.GetHistogram().GetSampleCount())
		}
	}
	want := map[string]float64{
		"raftkv_frames_answered_total applied": 2, "raftkv_frames_answered_total recorded": 1, "raftkv_frames_answered_total read": 1,
		"raftkv_frames_refused_total gap": 1, "raftkv_frames_refused_total session unknown": 1,
		"raftkv_frames_refused_total malformed or too large": 1, "raftkv_frames_refused_total busy": 1,
		"raftkv_frame_write_bytes": 6,
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
