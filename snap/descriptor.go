package snap

import (
	"crypto/sha256"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// digest is the SHA-256 of an encoded manifest. It names a snapshot by its
// content, on every member alike.
type digest [sha256.Size]byte

func digestOf(manifest []byte) digest { return sha256.Sum256(manifest) }

const descriptorFormat = 1

const (
	fieldDescriptorFormat   = 1
	fieldDescriptorManifest = 2
	fieldDescriptorSize     = 3
)

// descriptor is the Data of a raftpb.Snapshot.
type descriptor struct {
	manifest  digest
	sizeBytes int64 // of the archive
}

func (d descriptor) encode() []byte {
	var b []byte
	b = protowire.AppendTag(b, fieldDescriptorFormat, protowire.VarintType)
	b = protowire.AppendVarint(b, descriptorFormat)
	b = protowire.AppendTag(b, fieldDescriptorManifest, protowire.BytesType)
	b = protowire.AppendBytes(b, d.manifest[:])
	b = protowire.AppendTag(b, fieldDescriptorSize, protowire.VarintType)
	return protowire.AppendVarint(b, uint64(d.sizeBytes))
}

func decodeDescriptor(data []byte) (descriptor, error) {
	var d descriptor
	format, hasManifest := uint64(0), false
	err := eachField(data, func(num protowire.Number, v uint64, b []byte) error {
		switch num {
		case fieldDescriptorFormat:
			format = v
		case fieldDescriptorManifest:
			hasManifest = copy(d.manifest[:], b) == len(d.manifest) && len(b) == len(d.manifest)
		case fieldDescriptorSize:
			d.sizeBytes = int64(v)
		}
		return nil
	})
	switch {
	case err != nil:
		return descriptor{}, fmt.Errorf("decode snapshot descriptor: %w", err)
	case format != descriptorFormat:
		return descriptor{}, fmt.Errorf("decode snapshot descriptor: %w: format %d, this binary knows %d only", ErrCorrupt, format, descriptorFormat)
	case !hasManifest || d.sizeBytes <= 0:
		return descriptor{}, fmt.Errorf("decode snapshot descriptor: %w: incomplete", ErrCorrupt)
	}
	return d, nil
}

// eachField walks the varint and bytes fields of an encoded message and skips
// the others.
func eachField(data []byte, f func(num protowire.Number, v uint64, b []byte) error) error {
	for len(data) > 0 {
		num, typ, n := protowire.ConsumeTag(data)
		if n < 0 {
			return fmt.Errorf("%w: %w", ErrCorrupt, protowire.ParseError(n))
		}
		data = data[n:]
		var v uint64
		var b []byte
		switch typ {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(data)
		case protowire.BytesType:
			b, n = protowire.ConsumeBytes(data)
		default:
			n = protowire.ConsumeFieldValue(num, typ, data)
		}
		if n < 0 {
			return fmt.Errorf("%w: %w", ErrCorrupt, protowire.ParseError(n))
		}
		data = data[n:]
		if typ != protowire.VarintType && typ != protowire.BytesType {
			continue
		}
		if err := f(num, v, b); err != nil {
			return err
		}
	}
	return nil
}
