package listen

import (
	"context"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/metadata"
)

// What a client says of its version becomes a label, and clients may say
// anything: only short ones that look like a version are kept, as they come,
// and only so many.
const (
	clientVersionsMax     = 16
	clientVersionBytesMax = 24

	versionUnknown = "unknown" // the client said nothing, as etcd calls it
	versionOther   = "other"   // it said something that is not kept
)

// ClientRequests counts the requests of clients by the API version that they
// say they speak, under etcd's name. It is a prometheus.Collector. Several
// servers may share one.
type ClientRequests struct {
	notCounted string
	// versions is replaced as a whole, under mu.
	versions atomic.Pointer[map[string]*versionRequests]
	mu       sync.Mutex
	desc     *prometheus.Desc
}

type versionRequests struct{ unary, stream atomic.Uint64 }

// NewClientRequests returns counters at zero. Methods of the service
// notCounted, which serves others than clients on the same port, are not
// counted.
func NewClientRequests(notCounted string) *ClientRequests {
	c := &ClientRequests{notCounted: "/" + notCounted + "/", desc: prometheus.NewDesc("etcd_server_client_requests_total",
		"Requests of clients, by the API version that the client says it speaks.", []string{"type", "client_api_version"}, nil)}
	c.versions.Store(&map[string]*versionRequests{versionUnknown: {}, versionOther: {}})
	return c
}

// Count counts a request of a method by its context. It fails if what the
// client says of itself is no text.
func (c *ClientRequests) Count(ctx context.Context, fullMethod string, stream bool) error {
	if strings.HasPrefix(fullMethod, c.notCounted) {
		return nil
	}
	v, err := c.of(ctx)
	switch {
	case err != nil:
		return err
	case stream:
		v.stream.Add(1)
	default:
		v.unary.Add(1)
	}
	return nil
}

// of is the counter of the client's version. A version that is no text is
// refused, as etcd does.
func (c *ClientRequests) of(ctx context.Context) (*versionRequests, error) {
	version := versionUnknown
	if said := metadata.ValueFromIncomingContext(ctx, rpctypes.MetadataClientAPIVersionKey); len(said) > 0 {
		version = said[0]
	}
	if v := (*c.versions.Load())[version]; v != nil {
		return v, nil
	}
	if !utf8.ValidString(version) {
		return nil, rpctypes.ErrGRPCInvalidClientAPIVersion
	}
	if known := *c.versions.Load(); !looksLikeVersion(version) || full(known) {
		return known[versionOther], nil
	}
	return c.add(version), nil
}

func full(known map[string]*versionRequests) bool { return len(known) >= clientVersionsMax+2 }

// add returns the counter of a version that looks like one.
func (c *ClientRequests) add(version string) *versionRequests {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := *c.versions.Load()
	if v := known[version]; v != nil {
		return v
	}
	if full(known) {
		return known[versionOther]
	}
	more := maps.Clone(known)
	more[version] = &versionRequests{}
	c.versions.Store(&more)
	return more[version]
}

func looksLikeVersion(s string) bool {
	if s == "" || len(s) > clientVersionBytesMax || s[0] < '0' || s[0] > '9' {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune(".-+", r))
	})
}

// Describe implements prometheus.Collector.
func (c *ClientRequests) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

// Collect implements prometheus.Collector. Like etcd's, a series begins with
// its first request.
func (c *ClientRequests) Collect(ch chan<- prometheus.Metric) {
	for version, v := range *c.versions.Load() {
		for kind, n := range map[string]uint64{"unary": v.unary.Load(), "stream": v.stream.Load()} {
			if n > 0 {
				ch <- prometheus.MustNewConstMetric(c.desc, prometheus.CounterValue, float64(n), kind, version)
			}
		}
	}
}
