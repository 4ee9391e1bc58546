// Command run is make conformance: etcd's public tests against raft-kv.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"

	"raftkv/test/conformance"
)

func main() {
	conformance.EnterSandbox()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string) int {
	o := conformance.Options{Strict: os.Getenv("STRICT") == "1"}
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	flags.StringVar(&o.ModuleDir, "module", ".", "directory of the conformance module")
	flags.StringVar(&o.Against, "against", "", `server in place of etcd: a path, or "etcd" for a real one (default raft-kv)`)
	flags.IntVar(&o.Parallel, "parallel", 0, "tests at once (default 2)")
	flags.DurationVar(&o.TestTimeout, "timeout", 0, "time limit of one test (default 15m)")
	flags.StringVar(&o.LogDir, "logs", "", "directory for the logs of failed tests (default bin/conformance)")
	flags.BoolVar(&o.Smoke, "smoke", false, "only the short subset")
	only := flags.String("tests", "", "only the tests that this regular expression matches, left out or not")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if *only != "" {
		re, err := regexp.Compile(*only)
		if err != nil {
			fmt.Fprintln(os.Stderr, "conformance: -tests:", err)
			return 2
		}
		o.Only = re
	}
	sum, err := conformance.Run(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		return 1
	}
	if !sum.OK(o.Strict) {
		return 1
	}
	return 0
}
