package main

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"raftkv/rpc/listen/certtest"
	"raftkv/server"
)

func parse(t *testing.T, args ...string) (server.Config, error) {
	t.Helper()
	o := &memberOptions{}
	f := pflag.NewFlagSet("raft-kv", pflag.ContinueOnError)
	o.register(f)
	if err := f.Parse(args); err != nil {
		t.Fatal(err)
	}
	cfg, _, err := o.config()
	return cfg, err
}

func TestShortForm(t *testing.T) {
	cfg, err := parse(t, "--id", "2", "--cluster", "a:1,b:2,c:3")
	if err != nil {
		t.Fatal(err)
	}
	own := []string{"http://b:2"}
	if cfg.Name != "2" || cfg.DataDir != "raft-kv-2" || len(cfg.InitialCluster) != 3 ||
		!slices.Equal(cfg.ListenClientURLs, own) || !slices.Equal(cfg.ListenPeerURLs, own) || !slices.Equal(cfg.AdvertiseClientURLs, own) {
		t.Fatalf("%+v", cfg)
	}
}

// TestShortFormWithTLS secures the one port as a whole or not at all.
func TestShortFormWithTLS(t *testing.T) {
	ca := certtest.NewAuthority(t, "ours")
	p := ca.Issue(certtest.Wish{})
	short := []string{"--id=1", "--cluster=a:1,b:2"}
	clients := []string{"--cert-file=" + p.CertFile, "--key-file=" + p.KeyFile}
	peers := []string{"--peer-cert-file=" + p.CertFile, "--peer-key-file=" + p.KeyFile}
	certified := []string{"--peer-trusted-ca-file=" + ca.CertFile}
	cfg, err := parse(t, slices.Concat(short, clients, peers, certified)...)
	if err != nil || cfg.ListenClientURLs[0] != "https://a:1" || cfg.InitialCluster[1].PeerURLs[0] != "https://b:2" {
		t.Errorf("%+v, %v", cfg, err)
	}
	for want, args := range map[string][]string{
		"give both --cert-file and --peer-cert-file": clients,
		"or neither": slices.Concat(peers, certified),
		"so they must be certified: give --peer-trusted-ca": slices.Concat(clients, peers),
		"(--peer-auto-tls certifies nobody)":                {"--auto-tls", "--peer-auto-tls"},
	} {
		if _, err := parse(t, slices.Concat(short, args)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v does not say %q", args, err, want)
		}
	}
}

func TestLongForm(t *testing.T) {
	cfg, err := parse(t, "--name=b", "--data-dir=/x", "--listen-client-urls=http://h:1", "--advertise-client-urls=http://h:9",
		"--listen-peer-urls=http://h:2", "--initial-advertise-peer-urls=http://h:3",
		"--initial-cluster=a=http://g:3,b=http://h:3", "--initial-cluster-token=t", "--heartbeat-interval=50", "--election-timeout=500")
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Name != "b" || cfg.DataDir != "/x" || cfg.AdvertiseClientURLs[0] != "http://h:9" || cfg.ListenPeerURLs[0] != "http://h:2" ||
		cfg.InitialCluster[1].PeerURLs[0] != "http://h:3" || cfg.InitialClusterToken != "t" || cfg.ElectionTimeout.Milliseconds() != 500 {
		t.Fatalf("%+v", cfg)
	}
}

func TestALoneMemberNeedsNoFlags(t *testing.T) {
	cfg, err := parse(t)
	if err != nil || cfg.Name != "default" || len(cfg.InitialCluster) != 1 {
		t.Fatalf("%+v, %v", cfg, err)
	}
}

func TestUsageErrors(t *testing.T) {
	for want, args := range map[string][]string{
		"unknown flag: --color":                  {"--color"},
		`unexpected argument "serve"`:            {"serve"},
		"--id 4 is not in the cluster list":      {"--id", "4", "--cluster", "a:1,b:2,c:3"},
		"--id needs --cluster":                   {"--id", "1"},
		`"a" is not host:port`:                   {"--id", "1", "--cluster", "a"},
		`"a:99999": port "99999" is not`:         {"--id", "1", "--cluster", "a:99999"},
		"use one form":                           {"--id", "1", "--cluster", "a:1", "--name", "x"},
		`"a" is not name=url`:                    {"--initial-cluster", "a"},
		"does not contain this node":             {"--name", "x", "--initial-cluster", "a=http://h:1"},
		"make them equal":                        {"--name", "a", "--initial-cluster", "a=http://h:1", "--initial-advertise-peer-urls", "http://h:2"},
		`--initial-cluster-state must be "new"`:  {"--initial-cluster-state", "old"},
		"--max-learners (0)":                     {"--max-learners", "0"},
		"leave --cluster out":                    {"--id", "4", "--cluster", "localhost:8001", "--join", "localhost:8001"},
		"--join needs --id":                      {"--join", "localhost:8001"},
		"give --address host:port":               {"--id", "4", "--join", "10.0.0.1:8001"},
		`--join: "x" is not host:port`:           {"--id", "4", "--join", "x"},
		"--address goes with --join":             {"--id", "1", "--cluster", "localhost:8001", "--address", "localhost:8001"},
		`--storage must be "disk" or "memory"`:   {"--storage", "tape"},
		"must be positive":                       {"--heartbeat-interval", "0"},
		`--log-level must be`:                    {"--log-level", "loud"},
		`--log-format must be`:                   {"--log-format", "xml"},
		"--nodes must be between":                {"demo", "--nodes", "0"},
		"leaves no room":                         {"demo", "--port", "65535"},
		`invalid argument "x" for "--id" flag: `: {"--id", "x"},
	} {
		var out, errs bytes.Buffer
		if code := run(context.Background(), args, &out, &errs); code != exitUsage || !strings.Contains(errs.String(), want) {
			t.Errorf("%v: exit code %d, %q does not say %q", args, code, errs.String(), want)
		}
	}
}

func TestVersion(t *testing.T) {
	var out, errs bytes.Buffer
	if code := run(context.Background(), []string{"--version"}, &out, &errs); code != exitOK || !strings.Contains(out.String(), "etcd Version: 3.7.3\n") {
		t.Fatalf("exit code %d, %q, %q", code, out.String(), errs.String())
	}
}
