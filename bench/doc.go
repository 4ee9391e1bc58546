// Command bench drives a cluster of raft-kv or etcd over etcd's gRPC API and
// reports throughput, latency percentiles and what the servers cost.
//
//	bench put      measure puts
//	bench get      measure gets
//	bench mixed    measure a mixture of both
//	bench list     measure a listing of all keys in pages
//	bench range    measure reads of several keys at a time
//	bench txn      measure transactions that compare, read and write a key
//	bench txn-mixed
//	               measure transactions that read or write a key
//	bench stm      measure optimistic transactions by etcd's library
//	bench ycsb     measure YCSB's workloads a, b and c: popular keys, mixed
//	bench watch    measure the time from before a put until its watcher knows
//	bench lease-grant, lease-keepalive
//	               measure leases
//	bench compare  build and start raft-kv and etcd in alternating rounds,
//	               measure both and print the ratios beside their targets
//	bench grow     measure raft-kv alone while its data grows
//	bench report   make an HTML page with plots, or a table in Markdown, of what
//	               compare wrote
//
// This package only turns flags into the configurations of its internal
// packages, and errors into exit codes: 0 done, 1 the measurement failed or no
// operation succeeded, 2 bad usage, with one line that says what is wrong. The
// work is done in
//
//   - internal/load: clients, schedule, histograms;
//   - internal/kvload: the operations;
//   - internal/procstat: the servers' processor time and memory;
//   - internal/measure: one measurement, made of the three;
//   - internal/cluster: real server processes;
//   - internal/drill: kills, snapshots and compactions, and what they cost;
//   - internal/machine: where the figures were taken;
//   - internal/compare: the matrix, its rounds and the report;
//   - internal/grow: one server at several sizes of its data;
//   - internal/page: the report as a page, or several as a table.
//
// bench/etcd is a Go module of its own: the etcd to compare with.
package main
