package wal

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// formatVersion is the version of what this package keeps inside etcd's record
// format (invariant 10).
const formatVersion = 1

const (
	metadataFormat  protowire.Number = 1
	metadataCluster protowire.Number = 2
	metadataMember  protowire.Number = 3
)

// Metadata names the member a log belongs to. It is at the head of every
// segment file.
type Metadata struct {
	ClusterID, MemberID uint64
}

// Encode returns the metadata as the segments keep them.
func (m Metadata) Encode() []byte {
	var b []byte
	for _, f := range []struct {
		number protowire.Number
		value  uint64
	}{{metadataFormat, formatVersion}, {metadataCluster, m.ClusterID}, {metadataMember, m.MemberID}} {
		b = protowire.AppendTag(b, f.number, protowire.VarintType)
		b = protowire.AppendVarint(b, f.value)
	}
	return b
}

// decodeMetadata is the inverse of Encode.
func decodeMetadata(b []byte) (Metadata, error) {
	fields := map[protowire.Number]uint64{}
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 || kind != protowire.VarintType {
			return Metadata{}, errors.New("the log has metadata that are not raft-kv's")
		}
		value, k := protowire.ConsumeVarint(b[n:])
		if k < 0 {
			return Metadata{}, errors.New("the log has metadata that are not raft-kv's")
		}
		fields[number], b = value, b[n+k:]
	}
	if v := fields[metadataFormat]; v != formatVersion {
		return Metadata{}, fmt.Errorf("the log has format %d, this program knows %d only", v, formatVersion)
	}
	return Metadata{ClusterID: fields[metadataCluster], MemberID: fields[metadataMember]}, nil
}

// checkMetadata refuses the log of another member (invariant 11).
func checkMetadata(encoded []byte, want Metadata) error {
	got, err := decodeMetadata(encoded)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrForeign, err)
	}
	if got != want {
		return fmt.Errorf("%w: it was written by member %x of cluster %x, this is member %x of cluster %x",
			ErrForeign, got.MemberID, got.ClusterID, want.MemberID, want.ClusterID)
	}
	return nil
}
