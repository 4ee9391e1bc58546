package statemachine

import (
	"fmt"
	"math"

	"github.com/coreos/go-semver/semver"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/membershippb"

	"raftkv/statemachine/envelope"
	"raftkv/statemachine/keys"
)

// Version is a cluster version as envelopes carry it: major<<16 | minor<<8 |
// patch. 0 is none.
type Version uint32

// NewestVersion is the cluster version that this binary makes, and the newest
// one that it knows.
const NewestVersion Version = 0<<16 | 2<<8

func (v Version) String() string {
	if v == 0 {
		return "none"
	}
	return fmt.Sprintf("%d.%d.%d", v>>16, v>>8&0xff, v&0xff)
}

// parseVersion reads the text that the log and the meta table hold.
func parseVersion(text string) (Version, error) {
	v, err := semver.NewVersion(text)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%w %q: %w", ErrClusterVersion, text, err)
	case v.PreRelease != "" || v.Metadata != "" || v.Major < 0 || v.Minor < 0 || v.Patch < 0 ||
		v.Major > math.MaxUint16 || v.Minor > math.MaxUint8 || v.Patch > math.MaxUint8,
		*v == (semver.Version{}):
		return 0, fmt.Errorf("%w %q: it does not fit major.minor.patch of 16, 8 and 8 bits", ErrClusterVersion, text)
	}
	return Version(v.Major<<16 | v.Minor<<8 | v.Patch), nil
}

// since is the one table of what the cluster version gates: the first version
// whose log may hold a kind. 0 is for what the log may hold while there is no
// version yet.
func since(k envelope.Kind) Version {
	switch k {
	case envelope.KindSessionOpen, envelope.KindSessionClose, envelope.KindDowngrade, envelope.KindFrame:
		return 0<<16 | 1<<8
	case envelope.KindLeaseReads:
		return 0<<16 | 2<<8
	}
	return 0
}

// gate tells whether the cluster version keeps a command out. Every member
// that knows the kind decides alike; one that does not cannot get here, since
// the version never rises above what every member knows.
func (a *application) gate(k envelope.Kind) error {
	if need := since(k); need > a.next.clusterVersion {
		return fmt.Errorf("%w: kind %d needs %s, it is %s", ErrNotYet, k, need, a.next.clusterVersion)
	}
	return nil
}

// checkKnown refuses what a newer binary wrote, for a cluster that has left
// this one behind. It is fatal: what follows may mean what this binary cannot
// know.
func checkKnown(v Version) error {
	if v > NewestVersion {
		return fmt.Errorf("%w: the cluster is at version %s, this binary knows %s at most; start this member with a newer binary",
			ErrNewerCluster, v, NewestVersion)
	}
	return nil
}

// setClusterVersion records the version that gates new commands. It only
// rises: two leaders that decide one after another must not take it back.
func (a *application) setClusterVersion(c *envelope.Command) (any, error) {
	req := &membershippb.ClusterVersionSetRequest{}
	if err := decodeBody(c, req); err != nil {
		return nil, err
	}
	version, refusal := parseVersion(req.GetVer())
	if refusal != nil {
		return refusal, nil
	}
	if version < a.next.clusterVersion {
		return fmt.Errorf("%w: it is %s, %s was asked for", ErrClusterVersionLowers, a.next.clusterVersion, version), nil
	}
	if err := checkKnown(version); err != nil {
		return nil, err
	}
	a.next.clusterVersion = version
	a.m.effects.clusterVersion(version.String())
	err := a.batch.Set(keys.Named(keys.Meta, metaClusterVersion), []byte(version.String()))
	return &pb.EmptyResponse{}, err
}

// decodeClusterVersion reads the record of the meta table.
func decodeClusterVersion(b []byte) (Version, error) {
	v, err := parseVersion(string(b))
	if err != nil {
		return 0, fmt.Errorf("%w: record %q: %w", ErrForeignState, metaClusterVersion, err)
	}
	return v, checkKnown(v)
}

// ClusterVersion returns the replicated cluster version, 0 if none was set.
func (m *Machine) ClusterVersion() Version { return m.view.Load().clusterVersion }
