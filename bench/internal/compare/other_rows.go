package compare

import (
	"fmt"

	"raftkv/bench/internal/kvload"
	"raftkv/bench/internal/measure"
)

// otherRows are the operations that are neither put nor get alone. None is to be
// slower than the reference.
func otherRows() []Row {
	faster := []Goal{{Metric: Throughput, Ratio: 1}}
	const clients, connections = 100, 10
	row := func(name string, target measure.Target, r Row) Row {
		r.Name = fmt.Sprintf("%s, %s, %s", name, countClients(clients), describeTarget(target))
		r.Clients, r.Connections, r.Target, r.Goals = clients, connections, target, faster
		return r
	}
	rows := []Row{row("txn", measure.TargetLeader, Row{Operation: kvload.OpTxn})}
	for _, mix := range []struct {
		name  string
		reads int
	}{{"A", 50}, {"B", 95}, {"C", 100}} {
		rows = append(rows, row(fmt.Sprintf("YCSB %s (%d %% reads)", mix.name, mix.reads), measure.TargetAll,
			Row{ReadPercent: mix.reads, Distribution: kvload.Zipfian}))
	}
	return append(rows,
		row("watch", measure.TargetAll, Row{Operation: kvload.OpWatch}),
		row("lease-grant", measure.TargetLeader, Row{Operation: kvload.OpLeaseGrant}),
		row("lease-keepalive", measure.TargetLeader, Row{Operation: kvload.OpLeaseKeepAlive}),
	)
}
