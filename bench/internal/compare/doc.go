// Package compare measures two servers against each other: it runs a matrix of
// workloads on clusters of both, in alternating rounds, and sets the ratios
// beside the targets.
//
// The machine is shared by servers and generator, so an absolute figure says
// little; the ratio within one run is the result. Side A is the candidate,
// side B the reference. Some rows are more than load: members are killed, a
// snapshot is saved (package drill).
//
// # Invariants
//
//  1. Both sides get the same flags, environment, kind of directory and load.
//     Every measurement has a fresh cluster on empty directories; only one
//     cluster runs at a time.
//  2. The rounds of a row alternate A B A B and follow each other at once, so
//     that what else the machine does hits both sides alike. A ratio is the ratio of the medians; its spread is that of the rounds'
//     own ratios, and holds the ratio of the medians.
//  3. A target for a ratio counts as met only if it is met in every round; one for
//     A's own figure, by the median of the rounds, which is how such targets are
//     defined. Neither counts with a single failed operation on either side, but
//     for those during an outage that is what is measured.
//  4. Whatever was measured before a failure or an interrupt is kept, and the
//     report says that it is incomplete.
//
// Everything runs in the caller's goroutine, except what load and cluster own.
package compare
