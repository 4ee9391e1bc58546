package http2

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip" // and registers it
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"

	"raftkv/rpc/h2"
	"raftkv/rpc/listen"
	"raftkv/rpc/listen/certtest"
)

// cases are those of gRPC's interop-test-descriptions.md that need no cloud. One
// that fails ends the process, with its reason.
var cases = map[string]func(context.Context, testgrpc.TestServiceClient, ...grpc.CallOption){
	"empty unary":             interop.DoEmptyUnaryCall,
	"large unary":             interop.DoLargeUnaryCall,
	"client streaming":        interop.DoClientStreaming,
	"server streaming":        interop.DoServerStreaming,
	"ping pong":               interop.DoPingPong,
	"empty stream":            interop.DoEmptyStream,
	"timeout":                 interop.DoTimeoutOnSleepingServer,
	"cancel after begin":      interop.DoCancelAfterBegin,
	"cancel after response":   interop.DoCancelAfterFirstResponse,
	"custom metadata":         interop.DoCustomMetadata,
	"status code and message": interop.DoStatusCodeAndMessage,
	"special status message":  interop.DoSpecialStatusMessage,
}

// TestInterop drives the cases through the entrance that raft-kv has.
func TestInterop(t *testing.T) {
	for _, secure := range []bool{false, true} {
		for name, options := range map[string][]grpc.CallOption{"": nil, "gzip ": {grpc.UseCompressor(gzip.Name)}} {
			if secure {
				name += "tls"
			} else {
				name += "plain"
			}
			t.Run(name, func(t *testing.T) { runInterop(t, secure, options) })
		}
	}
}

func runInterop(t *testing.T, secure bool, options []grpc.CallOption) {
	l, creds := bind(t), insecure.NewCredentials()
	var settings h2.Config
	var door listen.Entrance
	if secure {
		authority := certtest.NewAuthority(t, "interop")
		door.TLS = certificate(t, authority)
		settings.Credentials = listen.FinishedTLS()
		creds = credentials.NewTLS(authority.Client(certtest.Pair{}))
	}
	entrance, err := listen.Split(l, listen.Options{Entrances: []listen.Entrance{door}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = entrance.Close() })
	serve(t, entrance.GRPC(), settings)
	cc, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for name, run := range cases {
		t.Run(name, func(*testing.T) { run(ctx, testgrpc.NewTestServiceClient(cc), options...) })
	}
	t.Run("unimplemented service", func(*testing.T) {
		interop.DoUnimplementedService(ctx, testgrpc.NewUnimplementedServiceClient(cc))
	})
	t.Run("unimplemented method", func(*testing.T) { interop.DoUnimplementedMethod(ctx, cc) })
}
