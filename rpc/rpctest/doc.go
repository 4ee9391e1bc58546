// Package rpctest is a member for tests of the client-facing services: a
// single replica in memory that decodes the commands it is given and answers
// like the real one, with switches for everything that goes wrong.
//
// What it does not do: it keeps no history (a revision of the past reads the
// present), lets no lease expire, and evaluates no compares but on mod_revision.
//
// A Member has no goroutines; all its state is behind one mutex. A blocked
// proposal or read waits for its context alone.
package rpctest
