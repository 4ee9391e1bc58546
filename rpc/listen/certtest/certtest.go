package certtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Authority signs certificates.
type Authority struct {
	CertFile string

	t    testing.TB
	dir  string
	cert *x509.Certificate
	key  crypto.Signer
}

// Wish says what a certificate should be.
type Wish struct {
	CommonName string
	// Hosts are names and addresses; default localhost and 127.0.0.1.
	Hosts []string
	// Expired lets its validity end in the past.
	Expired bool
}

// Pair is a certificate with its key.
type Pair struct {
	CertFile, KeyFile string
	Serial            *big.Int
}

// NewAuthority makes an authority that certifies itself.
func NewAuthority(t testing.TB, name string) *Authority {
	t.Helper()
	a := &Authority{t: t, dir: t.TempDir()}
	template := a.template(Wish{CommonName: name})
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage |= x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	a.key = newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.CertFile = filepath.Join(a.dir, "ca.pem")
	a.writePEM(a.CertFile, "CERTIFICATE", der)
	return a
}

// Issue makes a certificate for servers and clients.
func (a *Authority) Issue(w Wish) Pair {
	a.t.Helper()
	p := Pair{CertFile: filepath.Join(a.t.TempDir(), "cert.pem")}
	p.KeyFile = filepath.Join(filepath.Dir(p.CertFile), "key.pem")
	p.Serial = a.Renew(p, w)
	return p
}

// Renew puts another certificate into the files of an old one.
func (a *Authority) Renew(p Pair, w Wish) (serial *big.Int) {
	a.t.Helper()
	template, key := a.template(w), newKey(a.t)
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.writePEM(p.KeyFile, "PRIVATE KEY", private)
	a.writePEM(p.CertFile, "CERTIFICATE", der)
	return template.SerialNumber
}

// Revoke writes a revocation list, in DER.
func (a *Authority) Revoke(path string, pairs ...Pair) {
	a.t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour)}
	for _, p := range pairs {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: p.Serial, RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	if err := os.WriteFile(path, der, 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// Client returns settings that trust the authority and show the certificate,
// if there is one.
func (a *Authority) Client(p Pair) *tls.Config {
	a.t.Helper()
	c := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
	c.RootCAs.AddCert(a.cert)
	if p.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(p.CertFile, p.KeyFile)
		if err != nil {
			a.t.Fatal(err)
		}
		// Shown whether or not the server names its authority: it must judge.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	}
	return c
}

func (a *Authority) template(w Wish) *x509.Certificate {
	a.t.Helper()
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: w.CommonName},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if w.Expired {
		template.NotAfter = time.Now().Add(-time.Hour)
	}
	if w.Hosts == nil {
		w.Hosts = []string{"localhost", "127.0.0.1"}
	}
	for _, host := range w.Hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
			continue
		}
		template.DNSNames = append(template.DNSNames, host)
	}
	return template
}

func (a *Authority) writePEM(path, kind string, der []byte) {
	a.t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
