package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	gateway "github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"go.etcd.io/etcd/api/v3/etcdserverpb/gw"
	"google.golang.org/protobuf/encoding/protojson"

	"raftkv/rpc/etcdv3"
)

// newGateway translates JSON to calls of the services, in process. Streams
// (watch, lease keep-alive) do not work this way and answer 501.
func newGateway(s *etcdv3.Services, requestBytesMax int64) (http.Handler, error) {
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
		gw.RegisterWatchHandlerServer(ctx, mux, s.Watch),
		gw.RegisterLeaseHandlerServer(ctx, mux, s.Lease),
		gw.RegisterAuthHandlerServer(ctx, mux, s.Auth),
	)
	if err != nil {
		return nil, fmt.Errorf("web: registering the JSON gateway: %w", err)
	}
	// base64 makes 4 bytes of 3; the rest is for the JSON around it.
	return http.MaxBytesHandler(mux, requestBytesMax/3*4+64<<10), nil
}
