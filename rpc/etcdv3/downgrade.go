package etcdv3

import (
	"context"

	"github.com/coreos/go-semver/semver"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/membershippb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/api/v3/version"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftkv/rpc/request"
	"raftkv/statemachine/envelope"
)

// Downgrade answers as etcd does to a cluster that may go one minor version
// down: it checks, records or takes back the announcement, which Status then
// shows. The servers stay what they are; replacing them is the operator's work.
func (s *maintenance) Downgrade(ctx context.Context, r *pb.DowngradeRequest) (*pb.DowngradeResponse, error) {
	if err := s.gate.Admit(ctx, request.VotersOnly); err != nil {
		return nil, err
	}
	ctx, cancel := s.gate.WithTimeout(ctx)
	defer cancel()
	var at string
	var err error
	switch r.GetAction() {
	case pb.DowngradeRequest_VALIDATE:
		at, _, err = s.checkDowngrade(ctx, r)
	case pb.DowngradeRequest_ENABLE:
		at, err = s.enableDowngrade(ctx, r)
	case pb.DowngradeRequest_CANCEL:
		at, err = s.cancelDowngrade(ctx, r)
	default:
		err = status.Error(codes.Unknown, "etcdserver: unknown method")
	}
	if err != nil {
		return nil, err
	}
	return &pb.DowngradeResponse{Header: s.gate.FillHeader(nil), Version: version.Cluster(at)}, nil
}

// checkDowngrade returns the version that the cluster is at, and the one that
// it may go to, which is the one asked for.
func (s *maintenance) checkDowngrade(ctx context.Context, r *pb.DowngradeRequest) (at, target string, err error) {
	wanted, err := semver.NewVersion(r.GetVersion())
	if err != nil {
		// major.minor will do
		if wanted, err = semver.NewVersion(r.GetVersion() + ".0"); err != nil {
			return "", "", rpctypes.ErrGRPCWrongDowngradeVersionFormat
		}
	}
	if err := s.gate.Barrier(ctx, r, false); err != nil {
		return "", "", err
	}
	at = s.backend.Status().StorageVersion
	current, err := semver.NewVersion(at)
	if err != nil {
		return "", "", status.Errorf(codes.Internal, "raftkv: the version %q of the cluster: %v", at, err)
	}
	below := semver.Version{Major: current.Major, Minor: current.Minor - 1}
	if !below.Equal(semver.Version{Major: wanted.Major, Minor: wanted.Minor}) {
		return "", "", rpctypes.ErrGRPCInvalidDowngradeTargetVersion
	}
	if s.backend.DowngradeTarget() != "" {
		return "", "", rpctypes.ErrGRPCDowngradeInProcess
	}
	return at, below.String(), nil
}

func (s *maintenance) enableDowngrade(ctx context.Context, r *pb.DowngradeRequest) (at string, err error) {
	at, target, err := s.checkDowngrade(ctx, r)
	if err != nil {
		return "", err
	}
	_, _, err = s.gate.Write(ctx, envelope.KindDowngrade, &membershippb.DowngradeInfoSetRequest{Enabled: true, Ver: target})
	return at, err
}

// cancelDowngrade takes a downgrade back. To a cluster without one etcd says
// the same as to one that had one.
func (s *maintenance) cancelDowngrade(ctx context.Context, r *pb.DowngradeRequest) (at string, err error) {
	if err := s.gate.Barrier(ctx, r, false); err != nil {
		return "", err
	}
	at = s.backend.Status().StorageVersion
	if s.backend.DowngradeTarget() == "" {
		return at, nil
	}
	_, _, err = s.gate.Write(ctx, envelope.KindDowngrade, &membershippb.DowngradeInfoSetRequest{Enabled: false})
	return at, err
}
