// Package envelope is the format of a raft log entry's data: a batch of
// commands that one member packed, with the names that make the batch
// recognisable when it comes twice.
//
// envelope.proto is the written specification; the encoder and the decoder are
// made by hand from the wire primitives of protobuf, so that packing does not
// copy commands more than once and decoding does not copy bodies at all. The
// bodies that are no messages of etcd are specified and encoded here as well.
// The package deliberately does not know what commands do.
//
// A normal entry's data is an envelope; an entry without data is raft's own. A
// configuration change carries its envelope in the context of the change, with
// one command of KindMemberChange that describes the member.
//
// # Invariants
//
//  1. Decode(Pack(e, commands)) gives back e and the commands.
//  2. Fields that a decoder does not know are skipped: they may only be added
//     where ignoring them is right. Everything else needs a new format number,
//     which an older binary refuses (invariant 10), or a new Kind, which the
//     cluster version gates.
//  3. Decode never panics and never allocates more than a small multiple of
//     its input, whatever the input.
//
// # Failure policy
//
// What cannot be decoded is an error that wraps ErrMalformed. Entries are made
// by our own code and protected by checksums, so the state machine treats it
// as fatal.
package envelope
