package peer

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// phoneBook is a Resolver.
type phoneBook struct{ hosts, names map[string][]string }

func (p phoneBook) LookupHost(_ context.Context, host string) ([]string, error) {
	return lookUp(p.hosts, host)
}

func (p phoneBook) LookupAddr(_ context.Context, addr string) ([]string, error) {
	return lookUp(p.names, addr)
}

func lookUp(m map[string][]string, key string) ([]string, error) {
	if found, ok := m[key]; ok {
		return found, nil
	}
	return nil, errors.New("no such host " + key)
}

func TestCertificateMustNameTheCallersAddress(t *testing.T) {
	book := phoneBook{
		hosts: map[string][]string{"a.example": {"10.0.0.1", "fd00::1"}, "b.example": {"10.0.0.2"}},
		names: map[string][]string{"10.0.0.3": {"c.cluster.example."}, "10.0.0.4": {"x.y.cluster.example."}},
	}
	ips := func(list ...string) (parsed []net.IP) {
		for _, s := range list {
			parsed = append(parsed, net.ParseIP(s))
		}
		return parsed
	}
	for _, tc := range []struct {
		name  string
		ips   []net.IP
		names []string
		from  string
		ok    bool
	}{
		{"nobody's", nil, nil, "10.9.9.9", true},
		{"its address", ips("10.0.0.1"), nil, "10.0.0.1", true},
		{"its address of six", ips("fd00::1"), nil, "fd00:0::1", true},
		{"another address", ips("10.0.0.1"), nil, "10.0.0.2", false},
		{"its name", nil, []string{"b.example", "a.example"}, "fd00::1", true},
		{"another name", nil, []string{"b.example"}, "10.0.0.1", false},
		{"an unknown name", nil, []string{"nowhere"}, "10.0.0.1", false},
		{"an unknown name beside its own", nil, []string{"nowhere", "a.example"}, "10.0.0.1", true},
		{"a wildcard", nil, []string{"*.cluster.example"}, "10.0.0.3", true},
		{"a wildcard for one label", nil, []string{"*.cluster.example"}, "10.0.0.4", false},
		{"a wildcard and no name", nil, []string{"*.cluster.example"}, "10.0.0.5", false},
		{"another address, its name", ips("10.9.9.9"), []string{"a.example"}, "10.0.0.1", true},
	} {
		err := checkAddress(t.Context(), book, &x509.Certificate{IPAddresses: tc.ips, DNSNames: tc.names}, tc.from)
		if (err == nil) != tc.ok {
			t.Errorf("a certificate of %s: %v", tc.name, err)
		}
	}
}

func TestHandshakeFaultsAreToldOnce(t *testing.T) {
	told := 0
	logger := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(discard{}), zap.WarnLevel),
		zap.Hooks(func(zapcore.Entry) error { told++; return nil }))
	faults := &toldFaults{logger: logger, members: map[string]string{}}
	expired, unknown := errors.New("expired"), errors.New("unknown authority")
	for i, step := range []struct {
		member string
		err    error
		told   int
	}{
		{"a:1", expired, 1}, {"a:1", expired, 1}, {"b:1", expired, 2}, {"a:1", unknown, 3},
		{"a:1", nil, 3}, {"a:1", unknown, 4}, {"b:1", expired, 4},
	} {
		if faults.outcome(step.member, step.err); told != step.told {
			t.Errorf("step %d: told %d times, want %d", i, told, step.told)
		}
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
