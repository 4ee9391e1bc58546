package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// laterFlag is a flag of etcd whose capability is still to come. Values in off
// ask for what is the case anyway; every other one is refused.
type laterFlag struct {
	name string
	off  []string
	bare bool // a boolean, which may stand without a value
}

func laterFlags() []laterFlag {
	flags := []laterFlag{
		{name: "enable-grpc-gateway", off: []string{"true"}, bare: true},
		{name: "discovery-fallback", off: []string{"exit"}},
		{name: "cors", off: []string{"*"}}, {name: "host-whitelist", off: []string{"*"}},
	}
	for _, name := range []string{
		"unsafe-no-fsync", "enable-distributed-tracing", "enable-log-rotation", "memory-mlock",
		"socket-reuse-port", "socket-reuse-address", "discovery-insecure-skip-tls-verify",
	} {
		flags = append(flags, laterFlag{name: name, off: []string{"false"}, bare: true})
	}
	flags = append(flags, laterFlag{name: "discovery-insecure-transport", bare: true})
	for _, name := range []string{
		"auth-token", "auth-token-ttl", "bcrypt-cost",
		"discovery", "discovery-proxy", "discovery-token", "discovery-endpoints",
		"discovery-dial-timeout", "discovery-request-timeout", "discovery-keepalive-time", "discovery-keepalive-timeout",
		"discovery-cert", "discovery-key", "discovery-cacert", "discovery-user", "discovery-password",
		"distributed-tracing-address", "distributed-tracing-service-name", "distributed-tracing-instance-id",
		"distributed-tracing-sampling-rate", "log-rotation-config-json",
	} {
		flags = append(flags, laterFlag{name: name})
	}
	return flags
}

func registerLater(f *pflag.FlagSet) {
	for _, l := range laterFlags() {
		flag := f.VarPF(new(text), l.name, "", "not supported yet")
		flag.Hidden = true
		if l.bare {
			flag.NoOptDefVal = "true"
		}
	}
}

// refuseLater reports every such flag that asks for something.
func refuseLater(f *pflag.FlagSet) (errs []error) {
	for _, l := range laterFlags() {
		flag := f.Lookup(l.name)
		value := flag.Value.String()
		switch {
		case !flag.Changed || value == "" || slices.Contains(l.off, value):
		case len(l.off) > 0:
			errs = append(errs, fmt.Errorf("--%s is not supported yet, except as %q", l.name, l.off[0]))
		default:
			errs = append(errs, fmt.Errorf("--%s is not supported yet", l.name))
		}
	}
	return errs
}

// registerMeaningless adds the flags of etcd that have nothing to set here. They
// are read, so that a mistake in them is found, and do nothing.
func registerMeaningless(f *pflag.FlagSet) {
	f.Duration("backend-batch-interval", 0, "")
	f.Int("backend-batch-limit", 0, "")
	f.String("backend-bbolt-freelist-type", "", "")
	f.Uint("bootstrap-defrag-threshold-megabytes", 0, "")
	f.Duration("downgrade-check-time", 0, "")
	f.Uint("max-snapshots", 0, "")
	f.Uint("max-wals", 0, "")
	f.Duration("raft-read-timeout", 0, "")
	f.Duration("raft-write-timeout", 0, "")
	f.String("v2-deprecation", "", "")
	for _, name := range meaningless() {
		flag := f.Lookup(name)
		flag.Usage, flag.Hidden = "accepted for etcd's sake; does nothing here", true
	}
}

// meaningless names them: those of bbolt, of files that are counted otherwise
// here, and of downgrades that are complete, which only an older binary makes.
func meaningless() []string {
	return []string{
		"backend-batch-interval", "backend-batch-limit", "backend-bbolt-freelist-type", "bootstrap-defrag-threshold-megabytes",
		"downgrade-check-time", "max-snapshots", "max-wals", "raft-read-timeout", "raft-write-timeout",
		"v2-deprecation",
	}
}

// features are the gates of etcd that switch something here.
type features struct{ initialCorruptCheck, compactHashCheck bool }

// readFeatureGates reads name=bool,… The other gates ask for what always is so
// here: what is left of long leases is recorded, also on disk, renewals are
// fast, and a defragmentation takes no time, so there is nothing to stop for.
func readFeatureGates(s string) (f features, errs []error) {
	known := []string{
		"InitialCorruptCheck", "CompactHashCheck", "LeaseCheckpoint", "LeaseCheckpointPersist", "FastLeaseKeepAlive",
		"StopGRPCServiceOnDefrag",
	}
	for item := range strings.SplitSeq(s, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		name, value, _ := strings.Cut(item, "=")
		on := strings.EqualFold(value, "true")
		switch {
		case !slices.Contains(known, name):
			errs = append(errs, fmt.Errorf("--feature-gates: unknown feature %q; known are %s", name, strings.Join(known, ", ")))
		case !on && !strings.EqualFold(value, "false"):
			errs = append(errs, fmt.Errorf("--feature-gates: %q is not name=true or name=false", item))
		case name == "InitialCorruptCheck":
			f.initialCorruptCheck = on
		case name == "CompactHashCheck":
			f.compactHashCheck = on
		}
	}
	return f, errs
}
