// Package verb holds what raft-cli can do: one cobra command for each verb,
// built around a Session. The command line runs one verb and exits; a shell can
// run many in one Session, splitting its lines with Words.
//
// It deliberately knows nothing of processes: no exit, no environment (but what
// the commands that watch runs inherit), no global streams, and it makes no
// connection itself. It does not decide where
// to connect either; that is the business of Session.Connect.
//
// Rules that all verbs keep:
//
//  1. What was asked for goes to Out, remarks about it go to Err, so that a pipe
//     gets the data alone. The output of a verb is written at once, at its end; that of watch after every update.
//  2. In the simple format keys and values are written byte for byte (in
//     hexadecimal with --hex); JSON has the shape of etcdctl's, with bytes in
//     base64.
//  3. An error that a verb returns is a Failure if the verb was understood and
//     did not succeed. Every other error, cobra's own included, is wrong usage.
//     ExitCode maps them.
//  4. A write whose outcome is unknown says so and tells how to find out. No
//     verb repeats it.
//  5. Whatever is read from In is bounded by inputMax.
//
// Verbs run in the caller's goroutine and a Session serves one at a time.
package verb
