package server

import (
	"strings"
	"testing"

	"raftkv/rpc/listen/certtest"
)

func TestFaultsOfTLSAreNamedByFlag(t *testing.T) {
	ca := certtest.NewAuthority(t, "ours")
	pair, other := ca.Issue(certtest.Wish{}), ca.Issue(certtest.Wish{})
	of := func(change func(*TLS)) TLS {
		given := TLS{CertFile: pair.CertFile, KeyFile: pair.KeyFile}
		change(&given)
		return given
	}
	shared := func(c *Config) {
		c.InitialCluster = nil
		c.ListenClientURLs, c.ListenPeerURLs = []string{"https://localhost:1"}, []string{"https://localhost:1"}
		c.ClientTLS = of(func(*TLS) {})
	}
	for want, spoil := range map[string]func(*Config){
		"--cert-file and --key-file, or --auto-tls":          func(c *Config) { c.ListenClientURLs = []string{"https://h:1"} },
		"--listen-metrics-urls: \"https://h:1\"":             func(c *Config) { c.ListenMetricsURLs = []string{"https://h:1"} },
		"--peer-cert-file and --peer-key-file, or":           func(c *Config) { c.ListenPeerURLs = []string{"https://h:1"} },
		"--initial-cluster: \"https://h:1\"":                 func(c *Config) { c.InitialCluster[1].PeerURLs = []string{"https://h:1"} },
		"peers are reached over http or https only":          func(c *Config) { c.ListenPeerURLs = []string{"unix://x"} },
		`"unix://" has no path`:                              func(c *Config) { c.ListenClientURLs = []string{"unix://"} },
		"--cert-file and --key-file need each other":         func(c *Config) { c.ClientTLS.CertFile = pair.CertFile },
		"--peer-client-cert-file and --peer-client-key-file": func(c *Config) { c.PeerTLS = of(func(t *TLS) { t.ClientKeyFile = pair.KeyFile }) },
		"--peer-cert-file and --peer-key-file are missing":   func(c *Config) { c.PeerTLS.TrustedCAFile = ca.CertFile },
		"no such file":                    func(c *Config) { c.ClientTLS = of(func(t *TLS) { t.CertFile = "/nowhere.pem" }) },
		"private key does not match":      func(c *Config) { c.ClientTLS = of(func(t *TLS) { t.KeyFile = other.KeyFile }) },
		"revocation list for --cert-file": func(c *Config) { c.ClientTLS = of(func(t *TLS) { t.CRLFile = "/nowhere.crl" }) },
		"allowed names and allowed host names contradict": func(c *Config) {
			c.ClientTLS = of(func(t *TLS) { t.AllowedCNs, t.AllowedHostnames = []string{"a"}, []string{"b"} })
		},
		"--auto-tls keeps its certificate in the data dir": func(c *Config) { c.Memory, c.ClientTLS.Auto = true, true },
		`--cipher-suites: unexpected TLS cipher suite "x"`: func(c *Config) { c.CipherSuites = []string{"x"} },
		"--tls-min-version: ":                              func(c *Config) { c.TLSMinVersion = "SSL3" },
		"--tls-min-version TLS1.3 is above":                func(c *Config) { c.TLSMinVersion, c.TLSMaxVersion = "TLS1.3", "TLS1.2" },
		"when only TLS1.3 is allowed": func(c *Config) {
			c.TLSMinVersion, c.CipherSuites = "TLS1.3", []string{"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"}
		},
		"must not share h:1": func(c *Config) {
			c.ListenClientURLs, c.ListenClientHTTPURLs = []string{"http://h:1"}, []string{"http://h:1"}
		},
		"(--peer-auto-tls certifies nobody)":                     func(c *Config) { shared(c); c.PeerTLS.Auto = true },
		"so they must be certified: give --peer-trusted-ca-file": func(c *Config) { shared(c); c.PeerTLS = of(func(*TLS) {}) },
	} {
		c := valid()
		spoil(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
	c := valid()
	c.ClientTLS = of(func(t *TLS) { t.TrustedCAFile, t.AllowedCNs = ca.CertFile, []string{"app"} })
	c.CipherSuites, c.TLSMaxVersion = []string{"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"}, "TLS1.2"
	c.ListenClientURLs = []string{"http://localhost:1", "https://localhost:1"}
	if err := c.Validate(); err != nil {
		t.Errorf("what is fine is refused: %v", err)
	}
}
