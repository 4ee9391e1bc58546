package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	gateway "github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"go.etcd.io/etcd/api/v3/etcdserverpb/gw"
	electiongw "go.etcd.io/etcd/server/v3/etcdserver/api/v3election/v3electionpb/gw"
	lockgw "go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb/gw"
	"google.golang.org/protobuf/encoding/protojson"

	"raftkv/rpc/concurrency"
	"raftkv/rpc/etcdv3"
	"raftkv/rpc/inprocess"
)

// newGateway translates JSON to calls of the services, in process. Streams need
// a client to go through.
func newGateway(s *etcdv3.Services, c *concurrency.Services, requestBytesMax int64) (http.Handler, error) {
	// As etcd: field names of the proto files, zero values left out.
	mux := gateway.NewServeMux(gateway.WithMarshalerOption(gateway.MIMEWildcard, &gateway.HTTPBodyMarshaler{
		Marshaler: &gateway.JSONPb{
			MarshalOptions:   protojson.MarshalOptions{UseProtoNames: true},
			UnmarshalOptions: protojson.UnmarshalOptions{DiscardUnknown: true},
		},
	}))
	// The context only matters to handlers that dial.
	ctx := context.Background()
	err := errors.Join(
		gw.RegisterKVHandlerServer(ctx, mux, s.KV),
		gw.RegisterClusterHandlerServer(ctx, mux, s.Cluster),
		gw.RegisterMaintenanceHandlerServer(ctx, mux, s.Maintenance),
		gw.RegisterWatchHandlerClient(ctx, mux, inprocess.WatchClient{Service: s.Watch}),
		gw.RegisterLeaseHandlerClient(ctx, mux, inprocess.LeaseClient{Service: s.Lease}),
		gw.RegisterAuthHandlerServer(ctx, mux, s.Auth),
		lockgw.RegisterLockHandlerServer(ctx, mux, c.Lock),
		electiongw.RegisterElectionHandlerClient(ctx, mux, inprocess.ElectionClient{Service: c.Election}),
	)
	if err != nil {
		return nil, fmt.Errorf("web: registering the JSON gateway: %w", err)
	}
	// base64 makes 4 bytes of 3; the rest is for the JSON around it.
	return http.MaxBytesHandler(mux, requestBytesMax/3*4+64<<10), nil
}
