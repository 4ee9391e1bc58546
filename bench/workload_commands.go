package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"raftkv/bench/internal/kvload"
	"raftkv/bench/internal/measure"
)

func txnCommand() *cobra.Command {
	return operationCommand("txn", "Measure transactions that compare, read and write a key", measure.TargetLeader, kvload.OpTxn)
}

func txnMixedCommand() *cobra.Command {
	return loadCommand("txn-mixed", "Measure a mixture of transactions that read or write a key", measure.TargetAll,
		func(flags *pflag.FlagSet, o *loadOptions) {
			o.spec.Workload.Operation = kvload.OpTxnMixed
			flags.IntVar(&o.spec.Workload.ReadPercent, "reads", 50, "percentage of transactions that read, the others write")
			preloadFlag(flags, o)
		})
}

func stmCommand() *cobra.Command {
	return operationCommand("stm", "Measure optimistic transactions by etcd's library, which read and write a key", measure.TargetAll, kvload.OpSTM)
}

func rangeCommand() *cobra.Command {
	return loadCommand("range", "Measure linearizable reads of several keys at a time", measure.TargetAll,
		func(flags *pflag.FlagSet, o *loadOptions) {
			o.spec.Workload.Operation = kvload.OpRange
			flags.IntVar(&o.spec.Workload.PageKeys, "page-keys", 100, "keys of a range")
			preloadFlag(flags, o)
		})
}

func watchCommand() *cobra.Command {
	return operationCommand("watch", "Measure the time from before a put until its watcher knows of it", measure.TargetAll, kvload.OpWatch)
}

func leaseGrantCommand() *cobra.Command {
	return operationCommand("lease-grant", "Measure grants of leases, which stay for an hour", measure.TargetLeader, kvload.OpLeaseGrant)
}

func leaseKeepAliveCommand() *cobra.Command {
	return operationCommand("lease-keepalive", "Measure keep-alives of one lease a client", measure.TargetLeader, kvload.OpLeaseKeepAlive)
}

func operationCommand(name, short string, target measure.Target, operation kvload.Operation) *cobra.Command {
	return loadCommand(name, short, target, func(flags *pflag.FlagSet, o *loadOptions) {
		o.spec.Workload.Operation = operation
		if operation == kvload.OpTxn || operation == kvload.OpSTM {
			preloadFlag(flags, o)
		}
	})
}

// ycsbCommand takes the workload as a flag, because it changes nothing but the
// percentage of gets.
func ycsbCommand() *cobra.Command {
	return loadCommand("ycsb", "Measure YCSB's workloads a, b or c: popular keys, gets and puts", measure.TargetAll,
		func(flags *pflag.FlagSet, o *loadOptions) {
			o.spec.Workload.Distribution = kvload.Zipfian
			mix := &ycsbMix{percent: &o.spec.Workload.ReadPercent}
			_ = mix.Set("a") // the default, and known
			flags.Var(mix, "workload", "a: 50 % gets, b: 95 %, c: 100 %; the others are puts")
			readFlags(flags, o)
		})
}

// ycsbMix is the value of --workload.
type ycsbMix struct {
	name    string
	percent *int
}

func (m *ycsbMix) String() string { return m.name }
func (m *ycsbMix) Type() string   { return "a|b|c" }

func (m *ycsbMix) Set(name string) error {
	percent, known := map[string]int{"a": 50, "b": 95, "c": 100}[strings.ToLower(name)]
	if !known {
		return fmt.Errorf("the workload must be a, b or c, not %q", name)
	}
	m.name, *m.percent = strings.ToLower(name), percent
	return nil
}
