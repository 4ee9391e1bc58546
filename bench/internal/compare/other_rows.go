package compare

import (
	"fmt"

	"raftkv/bench/internal/kvload"
	"raftkv/bench/internal/measure"
)

const (
	// watchRate is a rate that both servers take without filling up, so that the
	// latency is the way of an event and no queue.
	watchRate = 2000
	rangeKeys = 100
)

// otherRows are the operations that are neither put nor get alone; with the rows of
// puts and gets, all that etcd's own benchmark has. None is to be slower than the
// reference.
func otherRows() []Row {
	faster := []Goal{{Metric: Throughput, Ratio: 1}}
	const clients, connections = 100, 10
	row := func(name string, target measure.Target, r Row) Row {
		r.Name = fmt.Sprintf("%s, %s, %s", name, countClients(clients), describeTarget(target))
		r.Clients, r.Connections, r.Target, r.Goals = clients, connections, target, faster
		return r
	}
	rows := []Row{
		row("txn", measure.TargetLeader, Row{Operation: kvload.OpTxn}),
		row("txn-mixed", measure.TargetAll, Row{Operation: kvload.OpTxnMixed, ReadPercent: 50}),
		row("stm", measure.TargetAll, Row{Operation: kvload.OpSTM}),
		row(fmt.Sprintf("range of %d keys", rangeKeys), measure.TargetAll, Row{Operation: kvload.OpRange, PageKeys: rangeKeys}),
	}
	for _, mix := range []struct {
		name  string
		reads int
	}{{"A", 50}, {"B", 95}, {"C", 100}} {
		rows = append(rows, row(fmt.Sprintf("YCSB %s (%d %% reads)", mix.name, mix.reads), measure.TargetAll,
			Row{ReadPercent: mix.reads, Distribution: kvload.Zipfian}))
	}
	// At a fixed rate the throughput is given, and the latency is what is compared.
	latency := row(fmt.Sprintf("watch-latency at %d/s", watchRate), measure.TargetAll, Row{Operation: kvload.OpWatch, Rate: watchRate})
	latency.Goals = []Goal{{Metric: P50, Ratio: 1, AtMost: true}, {Metric: P99, Ratio: 1, AtMost: true}}
	return append(rows,
		row("watch", measure.TargetAll, Row{Operation: kvload.OpWatch}),
		latency,
		row("lease-grant", measure.TargetLeader, Row{Operation: kvload.OpLeaseGrant}),
		row("lease-keepalive", measure.TargetLeader, Row{Operation: kvload.OpLeaseKeepAlive}),
	)
}
