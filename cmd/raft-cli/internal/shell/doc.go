// Package shell runs many command lines in one process: at a prompt with line
// editing, history and completion, or from a script on the standard input.
//
// It has no verbs of its own but exit and quit. Every line is executed by a
// command line that Config.Table makes anew, so the shell takes what raft-cli
// takes, and completion is that which raft-cli gives to bash. The shell knows
// no client and no signals; whoever starts it ends it by the context.
//
// # Rules
//
//  1. A line that fails does not end the shell. A script ends with the exit code
//     of its first failure, at once if it was asked to fail fast.
//  2. An interrupt during a verb ends the verb (Session.Interrupts); at the prompt
//     it ends the line. Neither ends a shell on a terminal.
//  3. The history file is readable by its owner alone, holds historyMax lines,
//     twice that between two rewritings, and never a line with a secret, nor
//     what was typed as input of a verb.
//  4. A verb never reads the lines behind its own: what it reads from In was
//     marked by <<WORD, or is asked for at a prompt of its own.
//
// # The line editor
//
// github.com/peterh/liner: modelled on linenoise, which redis-cli uses; X11
// licence; released again in October 2026; one dependency beyond the
// standard library and golang.org/x. chzyer/readline has rested since 2022;
// reeflective/readline is a shell's worth of code; golang.org/x/term does
// not tell Ctrl-C from Ctrl-D and does not search its history.
//
// # Goroutines
//
// A line is read in a goroutine of its own, so that the context can end the
// shell meanwhile; that goroutine then stays blocked in its read until the
// process ends. Otherwise there is only the caller's.
package shell
