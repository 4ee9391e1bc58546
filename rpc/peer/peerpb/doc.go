// Package peerpb is the generated code of peer.proto, the protocol between
// members. It has no logic; package peer speaks it.
//
// Frames hold raft's messages as messages rather than as bytes, which is the
// same on the wire: so each is encoded and decoded once.
package peerpb
