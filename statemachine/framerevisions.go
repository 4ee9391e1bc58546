package statemachine

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// frameWritesMax is more writes than any frame has room for.
const frameWritesMax = 1 << 24

// Revisions returns, for each write of the frame in its order, the revision of the
// key space behind it; 0 for one that was refused.
func (r *FrameResult) Revisions() (all []int64, err error) {
	for data := r.Writes; len(data) > 0; {
		num, typ, n := protowire.ConsumeTag(data)
		if n < 0 || num != resultsResult || typ != protowire.BytesType {
			return nil, fmt.Errorf("%w: results of a frame", ErrMalformedEntry)
		}
		message, size := protowire.ConsumeBytes(data[n:])
		if size < 0 {
			return nil, fmt.Errorf("%w: results of a frame: %w", ErrMalformedEntry, protowire.ParseError(size))
		}
		data = data[n+size:]
		if all, err = appendRevisions(all, message); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// appendRevisions reads one result, which stands for several puts if it has a
// count.
func appendRevisions(all []int64, message []byte) ([]int64, error) {
	count, revision := uint64(1), int64(0)
	refused := false
	for len(message) > 0 {
		num, typ, n := protowire.ConsumeTag(message)
		if n < 0 {
			return nil, fmt.Errorf("%w: a result: %w", ErrMalformedEntry, protowire.ParseError(n))
		}
		size := protowire.ConsumeFieldValue(num, typ, message[n:])
		if size < 0 {
			return nil, fmt.Errorf("%w: a result: %w", ErrMalformedEntry, protowire.ParseError(size))
		}
		value, _ := protowire.ConsumeVarint(message[n : n+size])
		switch {
		case num == resultCount && value > frameWritesMax:
			return nil, fmt.Errorf("%w: a result of %d writes", ErrMalformedEntry, value)
		case num == resultCount:
			count = value
		case num == resultRevision:
			revision = int64(value)
		case num == resultRefused:
			refused = true
		}
		message = message[n+size:]
	}
	for i := range count {
		if refused {
			all = append(all, 0)
		} else {
			all = append(all, revision+int64(i))
		}
	}
	return all, nil
}
