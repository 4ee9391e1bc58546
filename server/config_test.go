package server

import (
	"strings"
	"testing"
	"time"
)

func valid() Config {
	c := Config{Name: "a", InitialCluster: []Member{
		{Name: "a", PeerURLs: []string{"http://localhost:1"}}, {Name: "b", PeerURLs: []string{"http://localhost:2"}},
	}}
	c.EnsureDefaults()
	return c
}

func TestDefaultsAreValid(t *testing.T) {
	c := valid()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	lone := Config{}
	lone.EnsureDefaults()
	if err := lone.Validate(); err != nil {
		t.Fatalf("a member without any flag: %v", err)
	}
}

func TestFaultsAreNamedByFlag(t *testing.T) {
	for want, spoil := range map[string]func(*Config){
		`does not contain this node, "x"`:                        func(c *Config) { c.Name = "x" },
		"--election-timeout (200ms) must be at least five times": func(c *Config) { c.ElectionTimeout = 200 * time.Millisecond },
		"--election-timeout (1m0s) must not exceed":              func(c *Config) { c.ElectionTimeout = time.Minute },
		`--listen-client-urls: "ftp://h:1": scheme "ftp"`:        func(c *Config) { c.ListenClientURLs = []string{"ftp://h:1"} },
		`port "0" is not a number from 1 to 65535`:               func(c *Config) { c.ListenPeerURLs = []string{"http://h:0"} },
		`port "70000" is not a number from 1 to 65535`:           func(c *Config) { c.ListenPeerURLs = []string{"http://h:70000"} },
		`"http://h" has no port`:                                 func(c *Config) { c.ListenPeerURLs = []string{"http://h"} },
		"must not have a path":                                   func(c *Config) { c.AdvertiseClientURLs = []string{"http://h:1/x"} },
		`names "a" twice`:                                        func(c *Config) { c.InitialCluster[1].Name = "a" },
		`gives http://localhost:1 to both "a" and "b"`:           func(c *Config) { c.InitialCluster[1].PeerURLs = []string{"http://localhost:1"} },
		"gives no peer URL":                                      func(c *Config) { c.InitialCluster[1].PeerURLs = nil },
		"--max-request-bytes (-1)":                               func(c *Config) { c.MaxRequestBytes = -1 },
		"--max-response-bytes (-1)":                              func(c *Config) { c.MaxResponseBytes = -1 },
		"--max-txn-ops (-1)":                                     func(c *Config) { c.MaxTxnOps = -1 },
	} {
		c := valid()
		spoil(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

func TestAllFaultsAreReportedAtOnce(t *testing.T) {
	c := valid()
	c.Name, c.MaxTxnOps, c.MaxRequestBytes = "x", -1, -1
	if err := c.Validate(); err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Fatalf("want three lines, got %v", err)
	}
}
