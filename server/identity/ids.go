package identity

import (
	"crypto/sha1"
	"encoding/binary"
	"slices"
	"strings"
)

// MemberID derives the raft id of an initial member from its advertised peer
// URLs and the cluster token, in the way etcd does, so that every member
// computes the same ids from the same flags.
func MemberID(peerURLs []string, token string) uint64 {
	sorted := slices.Clone(peerURLs)
	slices.Sort(sorted)
	return hash64([]byte(strings.Join(sorted, "") + token))
}

// ClusterID derives the id of a new cluster from its initial members' ids.
func ClusterID(members []uint64) uint64 {
	sorted := slices.Clone(members)
	slices.Sort(sorted)
	b := make([]byte, 0, 8*len(sorted))
	for _, id := range sorted {
		b = binary.BigEndian.AppendUint64(b, id)
	}
	return hash64(b)
}

func hash64(b []byte) uint64 {
	sum := sha1.Sum(b)
	return binary.BigEndian.Uint64(sum[:8])
}
