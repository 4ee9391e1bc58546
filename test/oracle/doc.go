// Package oracle asks raft-kv and a real etcd the same random questions and
// compares the answers: a raft-kv in this process, an etcd in a process of its
// own, since it ends its process when it finds itself damaged. A generator
// makes requests from a seed, every request goes to both over gRPC, and
// whatever differs outside one written mask (mask.go) is a difference to be
// explained.
//
// It deliberately does not judge which of the two is right (etcd is, unless an
// ADR says otherwise), does not test several members, faults, restarts or
// concurrent clients (the simulator and the process tests do). Auth comes with its
// service, by a method in operation.go and a weight in generator.go. Hash and
// Snapshot are about the files of a storage engine and are not compared.
//
//	operation.go   a request and how it is sent
//	member.go      the two members
//	etcd.go        etcd as a process
//	watch.go       watch streams: what they received up to a revision
//	expiry.go      leases that run out
//	mask.go        what may differ, and why
//	oracle.go      runs operations on both and finds the first difference
//	generator*.go  requests from a seed
//	exclusions.go  what is not asked, and why
//	shrink.go      fewer operations with the same difference
//	testdata/      programs that once showed a difference, replayed every time
//
// # Invariants
//
//  1. The requests of a run are a function of the seed and of etcd's answers,
//     which are themselves a function of the requests: a seed and a number of
//     operations replay a run exactly.
//  2. Both members have applied an operation before the next one starts, and
//     what depends on a compaction's work in the background is asked after it;
//     events of watches are compared once a stream says how far it has come. So
//     no answer depends on timing: two etcds agree (TestEtcdAgreesWithItself).
//  3. No mask but Mask: it is applied to both answers alike, and it keeps
//     whether a masked field was set at all.
//  4. A run that says nothing fails: the tests demand that most operations
//     succeeded and that every known refusal was seen.
//  5. Where etcd's answer is no measure nothing is asked or, if only the answer
//     tells, compared: both lists are in exclusions.go, with the reasons, and
//     nowhere else.
//  6. One lease at a time may run out, and only where the run waits for it. If the
//     machine is so slow that it may have done so earlier, nothing is compared
//     from then on, and the run says so (Overtaken).
//  7. No alarm stays active for more than a few operations.
//
// # Goroutines and locks
//
// An Oracle sends one operation at a time, to both members at once, and waits
// for both. A watch stream has a goroutine that receives. The members own their goroutines and wait for them when closed.
// Several oracles may run at once; they share nothing.
//
// # Failure policy
//
// An answer that does not come within callTimeout is an answer like any other
// (DeadlineExceeded), so it shows up as a difference, as does an etcd that
// crashed, with what it said. A member that cannot be
// started, or a program that cannot be read, is an error of the run.
package oracle
