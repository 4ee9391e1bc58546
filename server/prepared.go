package server

import (
	"fmt"

	"raftkv/server/identity"
)

// prepared admits a member whose data directory was made offline: the ids that
// are kept there count, not those that follow from the flags.
func prepared(kept identity.Identity, c *Config) (admission, error) {
	if kept.Name != c.Name {
		return admission{}, fmt.Errorf("%w: %s was made for member %q, this one is called %q; check the name or id and the data directory",
			identity.ErrOther, c.DataDir, kept.Name, c.Name)
	}
	return admission{owner: owner{kept.ClusterID, kept.MemberID}}, nil
}
