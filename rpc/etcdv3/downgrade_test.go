package etcdv3_test

import (
	"errors"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/status"

	"raftkv/node"
	"raftkv/rpc/etcdv3"
	"raftkv/rpc/request"
	"raftkv/rpc/rpctest"
)

func TestDowngrade(t *testing.T) {
	m := rpctest.New()
	s := etcdv3.New(rpctest.Gate(t, m, request.AllowAll{}, request.Config{}), m).Maintenance
	unknown := errors.New("etcdserver: unknown method")
	for _, step := range []struct {
		action  pb.DowngradeRequest_DowngradeAction
		version string
		want    error
		target  string // then
	}{
		{pb.DowngradeRequest_VALIDATE, "", rpctypes.ErrGRPCWrongDowngradeVersionFormat, ""},
		{pb.DowngradeRequest_ENABLE, "three", rpctypes.ErrGRPCWrongDowngradeVersionFormat, ""},
		{pb.DowngradeRequest_VALIDATE, "3.7", rpctypes.ErrGRPCInvalidDowngradeTargetVersion, ""},
		{pb.DowngradeRequest_ENABLE, "3.5.0", rpctypes.ErrGRPCInvalidDowngradeTargetVersion, ""},
		{pb.DowngradeRequest_ENABLE, "2.6", rpctypes.ErrGRPCInvalidDowngradeTargetVersion, ""},
		{pb.DowngradeRequest_VALIDATE, "3.6", nil, ""},
		{pb.DowngradeRequest_CANCEL, "", nil, ""},
		{pb.DowngradeRequest_ENABLE, "3.6.9", nil, "3.6.0"},
		{pb.DowngradeRequest_VALIDATE, "3.6", rpctypes.ErrGRPCDowngradeInProcess, "3.6.0"},
		{pb.DowngradeRequest_ENABLE, "3.6.0", rpctypes.ErrGRPCDowngradeInProcess, "3.6.0"},
		{pb.DowngradeRequest_CANCEL, "", nil, ""},
		{7, "", unknown, ""},
	} {
		resp, err := s.Downgrade(t.Context(), &pb.DowngradeRequest{Action: step.action, Version: step.version})
		if step.want == unknown && status.Convert(err).Message() == unknown.Error() {
			continue
		}
		if !errors.Is(err, step.want) || m.DowngradeTarget() != step.target {
			t.Errorf("%v %q: %v, then target %q", step.action, step.version, err, m.DowngradeTarget())
		}
		if err != nil {
			continue
		}
		if resp.GetVersion() != "3.7" {
			t.Errorf("%v: version %q", step.action, resp.GetVersion())
		}
		checkHeader(t, step.action.String(), resp.GetHeader(), 1)
		st, err := s.Status(t.Context(), &pb.StatusRequest{})
		if err != nil || st.GetDowngradeInfo().GetEnabled() != (step.target != "") || st.GetDowngradeInfo().GetTargetVersion() != step.target {
			t.Errorf("%v: status says %v, %v", step.action, st.GetDowngradeInfo(), err)
		}
	}
}

// TestDowngradeNeedsAQuorum: nothing is said of a cluster that cannot be asked.
func TestDowngradeNeedsAQuorum(t *testing.T) {
	m := rpctest.New()
	s := etcdv3.New(rpctest.Gate(t, m, request.AllowAll{}, request.Config{}), m).Maintenance
	m.Switch(rpctest.Switches{ReadIndexErr: node.ErrNoLeader, DowngradeTarget: "3.6.0"})
	for _, action := range []pb.DowngradeRequest_DowngradeAction{
		pb.DowngradeRequest_VALIDATE, pb.DowngradeRequest_ENABLE, pb.DowngradeRequest_CANCEL,
	} {
		if _, err := s.Downgrade(t.Context(), &pb.DowngradeRequest{Action: action, Version: "3.6"}); !errors.Is(err, rpctypes.ErrGRPCNoLeader) {
			t.Errorf("%v: %v", action, err)
		}
	}
	m.Switch(rpctest.Switches{Learner: true})
	if _, err := s.Downgrade(t.Context(), &pb.DowngradeRequest{Version: "3.6"}); !errors.Is(err, rpctypes.ErrGRPCNotSupportedForLearner) {
		t.Errorf("learner: %v", err)
	}
}
