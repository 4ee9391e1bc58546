package engine

import "github.com/cockroachdb/pebble/v2"

const (
	suffixTable = ".sst"
	suffixBlob  = ".blob"
)

const (
	// Values of separateBytes and more are written to a blob file when they are
	// flushed, and not again when compactions rewrite their keys.
	separateBytes = 128
	// blobDepthMax bounds how many blob files may hold the values of neighbouring
	// keys, and so what a scan has to read: beyond it a compaction writes them
	// anew, in the order of the keys.
	blobDepthMax = 40
	// blobGarbageMax is the share of all blob files that may be values nobody
	// refers to any more, before files are rewritten without them.
	blobGarbageMax = 0.2
)

// separation tells Pebble which values to keep apart from their keys. It asks
// before every flush and compaction.
func (s *Store) separation() pebble.ValueSeparationPolicy {
	p := pebble.ValueSeparationPolicy{
		Enabled:               true,
		MinimumSize:           separateBytes,
		MaxBlobReferenceDepth: blobDepthMax,
		TargetGarbageRatio:    blobGarbageMax,
	}
	if s.rewriting.Load() > 0 {
		p.MaxBlobReferenceDepth = 0 // every value is written anew
	}
	return p
}
