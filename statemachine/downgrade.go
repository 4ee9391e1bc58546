package statemachine

import (
	"fmt"

	"github.com/coreos/go-semver/semver"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/membershippb"

	"raftkv/statemachine/envelope"
	"raftkv/statemachine/keys"
)

// setDowngrade records the version of etcd's API that an operator announced to
// go down to, or takes the announcement back. It changes nothing but what is
// answered about versions, and is not the version that gates new commands.
func (a *application) setDowngrade(c *envelope.Command) (any, error) {
	req := &membershippb.DowngradeInfoSetRequest{}
	if err := decodeBody(c, req); err != nil {
		return nil, err
	}
	key := keys.Named(keys.Meta, metaDowngrade)
	if !req.GetEnabled() {
		a.next.downgrade = ""
		a.m.effects.downgrade("")
		return &pb.EmptyResponse{}, a.batch.Delete(key)
	}
	target, refusal := semver.NewVersion(req.GetVer())
	if refusal != nil {
		return fmt.Errorf("%w %q: %w", ErrClusterVersion, req.GetVer(), refusal), nil
	}
	a.next.downgrade = target.String()
	a.m.effects.downgrade(a.next.downgrade)
	return &pb.EmptyResponse{}, a.batch.Set(key, []byte(a.next.downgrade))
}

// decodeDowngrade reads the record of the meta table.
func decodeDowngrade(b []byte) (string, error) {
	if _, err := semver.NewVersion(string(b)); err != nil {
		return "", fmt.Errorf("%w: record %q: %w", ErrForeignState, metaDowngrade, err)
	}
	return string(b), nil
}

// DowngradeTarget returns the version of etcd's API that a downgrade under way
// goes to, "" while there is none.
func (m *Machine) DowngradeTarget() string { return m.view.Load().downgrade }
