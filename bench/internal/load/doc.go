// Package load drives a workload with a number of concurrent clients and
// measures it. It knows neither gRPC nor keys: a Workload hands out one Op per
// client, and load decides when each operation starts and what is counted.
//
// Two disciplines:
//
//   - closed loop (Rate 0): every client starts its next operation when the
//     last one is answered. It finds the most a system can do, but a stalled
//     system is asked less, so its stalls weigh little in the percentiles.
//   - open loop (Rate > 0): operation n is due at start + n/Rate whatever the
//     system does. Latency counts from that intended start, so the time an
//     operation waited for a free client is part of it.
//
// # Invariants
//
//  1. An operation belongs to the latency figures if and only if its intended
//     start lies in the measured window [warm-up end, end). Nothing that
//     started is cut off: the run waits for its answer, and every operation
//     has a time limit.
//  2. Throughput counts successful answers that arrived within the window,
//     divided by the window's length, whenever they were asked for.
//  3. In an open loop an operation that was due but found no free client
//     before the end is counted as unsent, and enters the latency figures with
//     the age it had reached: a lower bound instead of an omission.
//  4. Every failed operation is counted by class, in the warm-up apart.
//     Failures are no part of throughput or latency.
//
// # Goroutines and locks
//
// Run owns one goroutine per client and returns when all have ended. Clients
// share a fixed number of recorder shards, each behind its own mutex, since a
// histogram per client would cost gigabytes at a thousand clients.
//
// # Failure policy
//
// A failing operation is data, not a fault. Run itself fails only on a bad
// configuration, a cancelled context or a hook that fails; it has no partial
// results.
package load
