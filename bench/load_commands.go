package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"raftkv/bench/internal/kvload"
	"raftkv/bench/internal/measure"
)

// clientsPerConnection is used where --connections is not given.
const clientsPerConnection = 10

// nativeConnections is used there for the native API, whose sessions live from
// callers that share them.
const nativeConnections = 4

// loadOptions are the flags of the commands that measure a running cluster.
type loadOptions struct {
	spec      measure.Spec
	endpoints []string
	target    string
	api       string
	format    string
}

func putCommand() *cobra.Command {
	return loadCommand("put", "Measure puts", measure.TargetLeader,
		func(flags *pflag.FlagSet, o *loadOptions) { apiFlag(flags, o) })
}

func getCommand() *cobra.Command {
	return loadCommand("get", "Measure gets, linearizable ones by default", measure.TargetAll,
		func(flags *pflag.FlagSet, o *loadOptions) {
			o.spec.Workload.ReadPercent = 100
			readFlags(flags, o)
			apiFlag(flags, o)
			flags.BoolVar(&o.spec.Workload.AbsentKeys, "absent", false, "ask for keys that do not exist")
		})
}

func mixedCommand() *cobra.Command {
	return loadCommand("mixed", "Measure a mixture of gets and puts", measure.TargetAll,
		func(flags *pflag.FlagSet, o *loadOptions) {
			apiFlag(flags, o)
			flags.IntVar(&o.spec.Workload.ReadPercent, "reads", 90, "percentage of gets, the others are puts")
			readFlags(flags, o)
		})
}

// apiFlag is for what other APIs can do, too.
func apiFlag(flags *pflag.FlagSet, o *loadOptions) {
	flags.StringVar(&o.api, "api", "etcd", "etcd; lean: the same by a client that costs the generator less; or native: sessions that pipeline frames, one for each connection, 4 by default")
}

func preloadFlag(flags *pflag.FlagSet, o *loadOptions) {
	flags.BoolVar(&o.spec.Preload, "preload", true, "write every key before the run")
}

func readFlags(flags *pflag.FlagSet, o *loadOptions) {
	flags.BoolVar(&o.spec.Workload.Serializable, "serializable", false, "read any member's own state instead of linearizably")
	preloadFlag(flags, o)
}

func listCommand() *cobra.Command {
	return loadCommand("list", "Measure a listing of all keys in pages", measure.TargetLeader,
		func(flags *pflag.FlagSet, o *loadOptions) {
			flags.IntVar(&o.spec.Workload.PageKeys, "page-keys", 500, "keys of a page")
			preloadFlag(flags, o)
		})
}

func loadCommand(name, short string, target measure.Target, more func(*pflag.FlagSet, *loadOptions)) *cobra.Command {
	o := &loadOptions{}
	cmd := &cobra.Command{
		Use:   name,
		Short: short,
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd)
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&o.endpoints, "endpoints", []string{"localhost:8001", "localhost:8002", "localhost:8003"}, "members' client addresses")
	flags.StringVar(&o.target, "target", string(target), "which members get the load: leader or all")
	flags.IntVar(&o.spec.Load.Clients, "clients", 100, "concurrent clients")
	flags.IntVar(&o.spec.Connections, "connections", 0, "connections the clients share (default a tenth of the clients, and one a member)")
	flags.DurationVar(&o.spec.Load.Duration, "duration", 10*time.Second, "length of the measured window")
	flags.DurationVar(&o.spec.Load.Warmup, "warmup", 2*time.Second, "load before the measured window")
	flags.Float64Var(&o.spec.Load.Rate, "rate", 0, "operations due per second (open loop); 0: every client as fast as it is answered")
	flags.DurationVar(&o.spec.Load.Timeout, "timeout", 10*time.Second, "time limit of an operation")
	flags.IntVar(&o.spec.Workload.ValueSizeBytes, "value-size", 256, "bytes of a value")
	flags.IntVar(&o.spec.Workload.Keys, "keys", 10_000, "number of different keys")
	flags.Uint64Var(&o.spec.Workload.Seed, "seed", 1, "decides keys and values")
	flags.IntSliceVar(&o.spec.PIDs, "pids", nil, "server processes on this machine whose processor time and memory are reported")
	flags.StringVarP(&o.format, "write-out", "w", "text", "output format: text or json")
	more(flags, o)
	return cmd
}

func (o *loadOptions) run(cmd *cobra.Command) error {
	if err := o.complete(cmd.Flags()); err != nil {
		return usageError{err}
	}
	bar := newProgressBar(cmd.ErrOrStderr(), o.spec.Load.Warmup+o.spec.Load.Duration)
	o.spec.Began = bar.begin
	point, err := measure.Run(cmd.Context(), o.spec)
	bar.end()
	if err != nil {
		return err
	}
	if err := writePoint(cmd.OutOrStdout(), point, o.format); err != nil {
		return err
	}
	if point.Latency.Count == 0 {
		return errors.New("no operation succeeded")
	}
	return nil
}

// complete checks the flags and derives what they leave open.
func (o *loadOptions) complete(flags *pflag.FlagSet) error {
	endpoints, endpointFault := kvload.ParseEndpoints(o.endpoints)
	o.spec.Endpoints = endpoints
	o.spec.Target = measure.Target(o.target)
	o.spec.Proc = os.DirFS("/proc")
	if o.api != "" && o.api != "etcd" {
		o.spec.Workload.API = kvload.API(o.api)
	}
	if !flags.Changed("connections") && o.spec.Workload.API == kvload.APINative {
		o.spec.Connections = min(o.spec.Load.Clients, nativeConnections)
	} else if !flags.Changed("connections") {
		o.spec.Connections = max(1, o.spec.Load.Clients/clientsPerConnection)
		if o.spec.Target == measure.TargetAll {
			o.spec.Connections = max(o.spec.Connections, len(endpoints))
		}
	}
	return errors.Join(endpointFault, o.spec.Validate(), checkFormat(o.format))
}

func checkFormat(format string) error {
	if format != "text" && format != "json" {
		return fmt.Errorf("write-out must be text or json, not %q", format)
	}
	return nil
}

func writePoint(out io.Writer, point measure.Point, format string) error {
	if format == "text" {
		return point.WriteText(out)
	}
	return measure.WriteJSON(out, point)
}
