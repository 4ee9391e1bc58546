package listen_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"raftkv/rpc/listen"
	"raftkv/rpc/rpctest"
)

// TestSlowRequestsAreTold takes a threshold that every request exceeds, and one
// that none does.
func TestSlowRequestsAreTold(t *testing.T) {
	for _, tc := range []struct {
		threshold time.Duration
		want      int
	}{{time.Nanosecond, 1}, {time.Hour, 0}, {0, 0}} {
		core, logs := observer.New(zap.WarnLevel)
		conn := rpctest.Serve(t, listen.GRPCConfig{Slow: listen.SlowRequests{Threshold: tc.threshold, Logger: zap.New(core)}}, func(grpc.ServiceRegistrar) {})
		if _, err := healthpb.NewHealthClient(conn).Check(context.Background(), &healthpb.HealthCheckRequest{}); err != nil {
			t.Fatal(err)
		}
		told := logs.FilterMessage("request stats").All()
		if len(told) != tc.want {
			t.Fatalf("threshold %v: %d warnings, want %d", tc.threshold, len(told), tc.want)
		}
		if tc.want == 1 && told[0].ContextMap()["method"] != "/grpc.health.v1.Health/Check" {
			t.Errorf("told %v", told[0].ContextMap())
		}
	}
	if _, _, err := listen.NewGRPCServer(listen.GRPCConfig{Slow: listen.SlowRequests{Threshold: 1}}, func(grpc.ServiceRegistrar) {}); err == nil {
		t.Error("a threshold without a logger was taken")
	}
}

func TestDurationsAreObservedIfWanted(t *testing.T) {
	for _, wanted := range []bool{true, false} {
		stats := listen.NewRPCStats()
		if wanted {
			stats.ObserveDurations()
		}
		conn := rpctest.Serve(t, listen.GRPCConfig{Stats: stats}, func(grpc.ServiceRegistrar) {})
		if _, err := healthpb.NewHealthClient(conn).Check(context.Background(), &healthpb.HealthCheckRequest{}); err != nil {
			t.Fatal(err)
		}
		line := `grpc_server_handling_seconds_count{grpc_method="Check",grpc_service="grpc.health.v1.Health",grpc_type="unary"} 1`
		if got := strings.Contains(rpctest.Metrics(t, stats), line); got != wanted {
			t.Errorf("durations observed: %v, wanted: %v", got, wanted)
		}
	}
}
