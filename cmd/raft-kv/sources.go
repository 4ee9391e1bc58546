package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"go.uber.org/zap"
)

// notice is something to log once there is a log.
type notice struct {
	msg    string
	fields []zap.Field
}

// Prefixes of environment variables, the one that wins first.
const ownPrefix, etcdPrefix = "RAFTKV_", "ETCD_"

func variable(prefix, flag string) string {
	return prefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// environment is os.Environ as a map; an empty variable counts as none.
func environment(environ []string) map[string]string {
	env := map[string]string{}
	for _, setting := range environ {
		if name, value, ok := strings.Cut(setting, "="); ok && value != "" {
			env[name] = value
		}
	}
	return env
}

// resolve adds to what the command line said what the other sources say, and
// returns the options that count.
func (o *memberOptions) resolve(environ []string) (*memberOptions, error) {
	env := environment(environ)
	file := o.configFile
	for _, prefix := range []string{ownPrefix, etcdPrefix} {
		if file == "" {
			file = env[variable(prefix, "config-file")]
		}
	}
	if file == "" {
		return o, o.readEnvironment(env)
	}
	alone := &memberOptions{}
	alone.register(pflag.NewFlagSet("config-file", pflag.ContinueOnError))
	if err := alone.readFile(file); err != nil {
		return nil, fmt.Errorf("--config-file %s: %w", file, err)
	}
	alone.note("loaded the configuration file; other flags and environment variables are ignored", zap.String("path", file))
	return alone, nil
}

func (o *memberOptions) note(msg string, fields ...zap.Field) {
	o.notices = append(o.notices, notice{msg, fields})
}

func (o *memberOptions) readEnvironment(env map[string]string) error {
	var errs []error
	known := map[string]bool{}
	o.flags.VisitAll(func(f *pflag.Flag) {
		prefixes := []string{ownPrefix, etcdPrefix}
		if isOurs(f) {
			prefixes = prefixes[:1]
		}
		given := f.Changed
		for _, prefix := range prefixes {
			name := variable(prefix, f.Name)
			known[name] = true
			value, ok := env[name]
			if !ok || given {
				continue
			}
			given = true
			if err := o.flags.Set(f.Name, value); err != nil {
				errs = append(errs, fmt.Errorf("$%s: %w", name, err))
			}
		}
	})
	o.noteUnknown(env, known)
	return errors.Join(errs...)
}

// noteUnknown warns of variables that look as if they were meant for us.
func (o *memberOptions) noteUnknown(env map[string]string, known map[string]bool) {
	// What raft-cli reads, and what etcd reads beside flags.
	for _, name := range []string{"RAFTKV_ENDPOINTS", "RAFTKV_CACERT", "RAFTKV_CERT", "RAFTKV_KEY", "ETCD_UNSUPPORTED_ARCH", "ETCD_VERIFY"} {
		known[name] = true
	}
	var unknown []string
	for name := range env {
		if !known[name] && (strings.HasPrefix(name, ownPrefix) || strings.HasPrefix(name, etcdPrefix)) {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		o.note("unrecognized environment variables are ignored", zap.Strings("environment-variables", unknown))
	}
}

func (o *memberOptions) readFile(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("cannot be read: %w", err)
	}
	settings, err := parseYAML(data)
	if err != nil {
		return err
	}
	var errs []error
	for _, s := range settings {
		f := o.flags.Lookup(s.flag)
		switch {
		case f == nil || f.Name == "config-file" || f.Name == "version":
			errs = append(errs, fmt.Errorf("unknown key %q", s.key))
		case s.truth && f.NoOptDefVal == "": // not a flag that may stand alone
			errs = append(errs, fmt.Errorf("key %q: YAML takes the value for true or false; put it in quotes", s.key))
		default:
			// etcd's files give durations in nanoseconds.
			if s.plain && f.Value.Type() == "duration" {
				s.value += "ns"
			}
			if err := o.flags.Set(s.flag, s.value); err != nil {
				errs = append(errs, fmt.Errorf("key %q: %w", s.key, err))
			}
		}
	}
	return errors.Join(errs...)
}
