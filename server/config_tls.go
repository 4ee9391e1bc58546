package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"

	"go.etcd.io/etcd/client/pkg/v3/tlsutil"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.uber.org/zap"
)

// TLS says how one kind of connection, of clients or of peers, is secured.
// Files are PEM. Certificates are read anew for every handshake, so that they
// can be replaced while the member runs; authorities are read at the start.
type TLS struct {
	CertFile, KeyFile string
	// ClientCertFile is shown where this member is the one that dials; default
	// CertFile.
	ClientCertFile, ClientKeyFile string
	// TrustedCAFile certifies callers, who must then show a certificate, and
	// the members dialled.
	TrustedCAFile string
	// ClientCertAuth demands a certificate also without TrustedCAFile, of the
	// authorities the machine trusts.
	ClientCertAuth bool
	// CRLFile, in DER, is read for every handshake.
	CRLFile string
	// AllowedCNs or AllowedHostnames, at most one of them, narrow down whose
	// certificate is taken.
	AllowedCNs, AllowedHostnames []string
	// Auto makes a certificate that is certified by nobody and certifies
	// nobody, unless CertFile is given.
	Auto bool
	// SkipAddressCheck takes a peer's certificate from other addresses than it
	// names.
	SkipAddressCheck bool
}

// TLSCommon holds for clients and peers alike.
type TLSCommon struct {
	CipherSuites []string
	// TLSMinVersion is TLS1.2 or TLS1.3, TLSMaxVersion also "": the newest.
	TLSMinVersion, TLSMaxVersion string
	// SelfSignedYears is how long certificates made by Auto are valid.
	SelfSignedYears uint
}

func (c *TLSCommon) ensureDefaults() {
	if c.TLSMinVersion == "" {
		c.TLSMinVersion = string(tlsutil.TLSVersion12)
	}
	if c.SelfSignedYears == 0 {
		c.SelfSignedYears = 1
	}
}

func (t *TLS) given() bool { return t.CertFile != "" || t.KeyFile != "" }

// Configured reports whether there is or will be a certificate.
func (t *TLS) Configured() bool { return t.given() || t.Auto }

// certifies reports whether callers must show a certificate that means
// something.
func (t *TLS) certifies() bool { return t.given() && (t.TrustedCAFile != "" || t.ClientCertAuth) }

// info is TLS as etcd's transport package takes it.
func (c *TLSCommon) info(t *TLS, logger *zap.Logger) (transport.TLSInfo, error) {
	info := transport.TLSInfo{
		CertFile: t.CertFile, KeyFile: t.KeyFile, ClientCertFile: t.ClientCertFile, ClientKeyFile: t.ClientKeyFile,
		TrustedCAFile: t.TrustedCAFile, ClientCertAuth: t.ClientCertAuth, CRLFile: t.CRLFile,
		AllowedCNs: t.AllowedCNs, AllowedHostnames: t.AllowedHostnames, Logger: logger,
	}
	return info, c.apply(&info)
}

// apply sets what holds for all.
func (c *TLSCommon) apply(info *transport.TLSInfo) (err error) {
	if len(c.CipherSuites) > 0 {
		if info.CipherSuites, err = tlsutil.GetCipherSuites(c.CipherSuites); err != nil {
			return fmt.Errorf("--cipher-suites: %w", err)
		}
	}
	if info.MinVersion, err = tlsutil.GetTLSVersion(c.TLSMinVersion); err != nil {
		return fmt.Errorf("--tls-min-version: %w", err)
	}
	if info.MaxVersion, err = tlsutil.GetTLSVersion(c.TLSMaxVersion); err != nil {
		return fmt.Errorf("--tls-max-version: %w", err)
	}
	if info.MaxVersion != 0 && info.MinVersion > info.MaxVersion {
		return fmt.Errorf("--tls-min-version %s is above --tls-max-version %s", c.TLSMinVersion, c.TLSMaxVersion)
	}
	if info.MinVersion == tls.VersionTLS13 && len(c.CipherSuites) > 0 {
		return errors.New("--cipher-suites cannot be chosen when only TLS1.3 is allowed")
	}
	return nil
}

// validateTLS reads every file once, so that a wrong name is found before
// anything is started.
func (c *Config) validateTLS() (errs []error) {
	if _, err := c.TLSCommon.info(&TLS{}, zap.NewNop()); err != nil {
		return []error{err}
	}
	for prefix, t := range map[string]*TLS{"--": &c.ClientTLS, "--peer-": &c.PeerTLS} {
		if err := c.checkTLS(t, prefix); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

func (c *Config) checkTLS(t *TLS, prefix string) error {
	switch {
	case (t.CertFile == "") != (t.KeyFile == ""):
		return fmt.Errorf("%scert-file and %skey-file need each other", prefix, prefix)
	case (t.ClientCertFile == "") != (t.ClientKeyFile == ""):
		return fmt.Errorf("%[1]sclient-cert-file and %[1]sclient-key-file need each other", prefix)
	case len(t.AllowedCNs) > 0 && len(t.AllowedHostnames) > 0:
		return fmt.Errorf("allowed names and allowed host names contradict each other (%scert-file); give one", prefix)
	case t.Auto && !t.given() && c.Memory:
		return fmt.Errorf("%sauto-tls keeps its certificate in the data directory, which --storage=memory has not", prefix)
	case !t.Configured() && (t.TrustedCAFile != "" || t.ClientCertAuth || t.CRLFile != "" || len(t.AllowedCNs) > 0 || len(t.AllowedHostnames) > 0):
		return fmt.Errorf("certificates cannot be demanded without one of our own: %[1]scert-file and %[1]skey-file are missing", prefix)
	case !t.given():
		return nil
	}
	if t.CRLFile != "" {
		if _, err := os.ReadFile(t.CRLFile); err != nil {
			return fmt.Errorf("revocation list for %scert-file: %w", prefix, err)
		}
	}
	info, err := c.TLSCommon.info(t, zap.NewNop())
	if err != nil {
		return err
	}
	if _, err := info.ServerConfig(); err != nil {
		return fmt.Errorf("TLS of %scert-file %s: %w", prefix, t.CertFile, err)
	}
	if _, err := info.ClientConfig(); err != nil {
		return fmt.Errorf("TLS of %scert-file %s: %w", prefix, t.CertFile, err)
	}
	return nil
}
