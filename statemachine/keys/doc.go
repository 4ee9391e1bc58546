// Package keys is the one key encoding of every table of the replicated state.
//
// A key on disk is
//
//	table byte | name | 0x00 | suffix
//
// in the form that Pebble's cockroachkvs comparer expects: the part up to and
// including 0x00 (the prefix) sorts bytewise and is what bloom filters hold;
// the suffix, if there is one, is a revision and sorts newest first within its
// prefix. Only the keys table uses suffixes.
//
//	table      name                     suffix
//	keys       user key                 main (8 bytes) [sub (4 bytes)] length
//	revisions  main (8) sub (4)         -          one change
//	           main (8) sub (4) 0x01    -          a run of changes, the last of that revision
//	lease keys lease id (8) user key    -
//	all other  name or id (8 bytes)     -
//
// The package encodes and checks; it knows neither values nor databases.
//
// # Invariants
//
//  1. Every key and every bound comes from this package, and Check holds for
//     it. Pebble does not check keys when they are written: a malformed one
//     would panic in its flush goroutine, and as part of a committed entry it
//     would do so on every member, at every start.
//  2. Revisions start at 1. Main revision 0 with sub 0 would encode as the
//     bare prefix, which sorts newest of all.
//  3. The encoding is a format on disk (invariant 10): testdata holds a golden
//     copy, and a change needs a new format version of the state.
package keys
