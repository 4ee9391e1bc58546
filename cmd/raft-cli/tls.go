package main

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/client/pkg/v3/transport"
)

// tlsFiles are the flags of TLS. Each file is named by a flag, else by a
// variable.
type tlsFiles struct {
	ca, cert, key string
	skipVerify    bool
}

func (t *tlsFiles) registerFlags(flags *pflag.FlagSet) {
	flags.StringVar(&t.ca, "cacert", "", "authorities that certify the servers (else $RAFTKV_CACERT, else what the machine trusts)")
	flags.StringVar(&t.cert, "cert", "", "certificate to show to the servers (else $RAFTKV_CERT)")
	flags.StringVar(&t.key, "key", "", "key of --cert (else $RAFTKV_KEY)")
	flags.BoolVar(&t.skipVerify, "insecure-skip-tls-verify", false, "take whatever certificate a server shows; for tests only")
}

// config is nil if nothing about TLS was said.
func (t *tlsFiles) config(getenv func(string) string) (*tls.Config, error) {
	info := transport.TLSInfo{
		TrustedCAFile: cmp.Or(t.ca, getenv("RAFTKV_CACERT")),
		CertFile:      cmp.Or(t.cert, getenv("RAFTKV_CERT")), KeyFile: cmp.Or(t.key, getenv("RAFTKV_KEY")),
		InsecureSkipVerify: t.skipVerify,
	}
	switch {
	case info.TrustedCAFile == "" && info.CertFile == "" && info.KeyFile == "" && !t.skipVerify:
		return nil, nil
	case (info.CertFile == "") != (info.KeyFile == ""):
		return nil, errors.New("--cert and --key need each other")
	}
	config, err := info.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("TLS files: %w", err)
	}
	config.MinVersion = tls.VersionTLS12
	return config, nil
}
