package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"os"
	"strings"
	"testing"

	"google.golang.org/grpc/credentials"

	"raftkv/client/clienttest"
	"raftkv/rpc/listen/certtest"
)

// TestTLS runs verbs against members that demand certificates, of which some
// are known from the list of members only.
func TestTLS(t *testing.T) {
	ca := certtest.NewAuthority(t, "ours")
	server, mine := ca.Issue(certtest.Wish{}), ca.Issue(certtest.Wish{CommonName: "me"})
	pair, err := tls.LoadX509KeyPair(server.CertFile, server.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(ca.CertFile)
	if err != nil {
		t.Fatal(err)
	}
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(text)
	cluster := clienttest.Start(t, clienttest.Options{Members: 3, Credentials: credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert,
	})})
	address := cluster.Member(1).Address()
	files := []string{"--cacert", ca.CertFile, "--cert", mine.CertFile, "--key", mine.KeyFile}
	cli := func(args ...string) (code int, out string) {
		var stdout, stderr bytes.Buffer
		code = run(t.Context(), append(args, "--timeout=10s"), strings.NewReader(""), &stdout, &stderr)
		return code, stdout.String() + stderr.String()
	}
	for _, tc := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"https", append([]string{"set", "k", "v", "--endpoints=https://" + address}, files...), 0, "OK (committed to 3/3 nodes)"},
		{"no scheme", append([]string{"get", "k", "--endpoints=" + address}, files...), 0, "v\n"},
		{"members found by their URLs", append([]string{"status", "--endpoints=https://" + address}, files...), 0, "Node 3: FOLLOWER"},
		{"any server", append([]string{"get", "k", "--endpoints=https://" + address, "--insecure-skip-tls-verify"}, files[2:]...), 0, "v\n"},
		{"plain text", append([]string{"get", "k", "--endpoints=http://" + address}, files...), 1, address},
		{"unknown authority", append([]string{"get", "k", "--endpoints=https://" + address}, files[2:]...), 1, "unknown authority"},
		{"no certificate", append([]string{"get", "k", "--endpoints=https://" + address}, files[:2]...), 1, address},
		{"half a certificate", []string{"get", "k", "--cert", mine.CertFile}, 2, "--cert and --key need each other"},
		{"no such file", []string{"get", "k", "--cacert", "/nowhere.pem"}, 2, "/nowhere.pem"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if code, out := cli(tc.args...); code != tc.code || !strings.Contains(out, tc.want) {
				t.Errorf("exit code %d, want %d; %q does not say %q", code, tc.code, out, tc.want)
			}
		})
	}
	t.Setenv("RAFTKV_CACERT", ca.CertFile)
	t.Setenv("RAFTKV_CERT", mine.CertFile)
	t.Setenv("RAFTKV_KEY", mine.KeyFile)
	if code, out := cli("get", "k", "--endpoints="+address); code != 0 || out != "v\n" {
		t.Errorf("by variables: exit code %d, %q", code, out)
	}
}
