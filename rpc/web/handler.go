package web

import (
	"context"
	"encoding/json"
	"errors"
	"expvar"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	gateway "github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/version"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftkv/rpc/concurrency"
	"raftkv/rpc/etcdv3"
)

// Backend is what health checks and /version need of the member that serves.
// Its methods may be called concurrently.
type Backend interface {
	// ReadIndex returns once local reads are linearizable.
	ReadIndex(ctx context.Context) error
	// Range reads local state.
	Range(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error)
	Leader() uint64
	IsLearner() bool
	Alarms() []*pb.AlarmMember
	// Versions are the etcd versions served: of this binary, of the cluster
	// ("" while undecided) and of the replicated format.
	Versions() version.Versions
}

// Registry is where metrics are registered and read, a *prometheus.Registry.
type Registry interface {
	prometheus.Registerer
	prometheus.Gatherer
}

// Config is what the handlers are built from.
type Config struct {
	Backend  Backend
	Services *etcdv3.Services
	// Concurrency are the lock and election services.
	Concurrency *concurrency.Services
	Registry    Registry
	// RequestBytesMax bounds values. Default 1.5 MiB.
	RequestBytesMax int64
	// Timeout bounds a health check. Default 7 s.
	Timeout time.Duration
	// Pprof serves profiles under /debug/pprof/.
	Pprof bool
	// Logger is told about failed health checks. Default: nobody.
	Logger *zap.Logger
}

// EnsureDefaults fills what is zero.
func (c *Config) EnsureDefaults() {
	if c.RequestBytesMax == 0 {
		c.RequestBytesMax = 3 << 19
	}
	if c.Timeout == 0 {
		c.Timeout = 7 * time.Second
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
}

// Validate reports everything that is missing.
func (c *Config) Validate() error {
	var faults []error
	if c.Backend == nil {
		faults = append(faults, errors.New("web: Backend is missing"))
	}
	if c.Services == nil {
		faults = append(faults, errors.New("web: Services is missing"))
	}
	if c.Concurrency == nil {
		faults = append(faults, errors.New("web: Concurrency is missing"))
	}
	if c.Registry == nil {
		faults = append(faults, errors.New("web: Registry is missing"))
	}
	if c.RequestBytesMax < 1 {
		faults = append(faults, errors.New("web: RequestBytesMax must be positive"))
	}
	if c.Timeout <= 0 {
		faults = append(faults, errors.New("web: Timeout must be positive"))
	}
	return errors.Join(faults...)
}

// Handler serves a client URL.
type Handler struct {
	rest *rest
	mux  *http.ServeMux
	// metrics serves what Metrics tells.
	metrics *http.ServeMux
}

// NewHandler builds the handler for client URLs and registers the metrics of
// the health checks.
func NewHandler(cfg Config) (*Handler, error) {
	cfg.EnsureDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	health, err := newHealth(cfg)
	if err != nil {
		return nil, err
	}
	gw, err := newGateway(cfg.Services, cfg.Concurrency, cfg.RequestBytesMax)
	if err != nil {
		return nil, err
	}
	h := &Handler{
		rest: &rest{kv: cfg.Services.KV, bytesMax: cfg.RequestBytesMax},
		mux:  http.NewServeMux(), metrics: http.NewServeMux(),
	}
	metrics := promhttp.HandlerFor(cfg.Registry, promhttp.HandlerOpts{})
	for _, mux := range []*http.ServeMux{h.mux, h.metrics} {
		health.add(mux)
		mux.Handle("/metrics", metrics)
		mux.HandleFunc("/", notFound)
	}
	h.mux.HandleFunc("/version", versionHandler(cfg.Backend))
	h.mux.Handle("/debug/vars", expvar.Handler())
	if cfg.Pprof {
		addPprof(h.mux)
	}
	h.mux.Handle("/v3/", gw)
	return h, nil
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// Ahead of the mux, which would redirect keys that hold "//" or "..".
	if strings.HasPrefix(r.URL.EscapedPath(), restPrefix) {
		h.rest.ServeHTTP(w, r)
		return
	}
	h.mux.ServeHTTP(w, r)
}

// Metrics is the handler for a metrics URL: /metrics, /health, /livez and
// /readyz, and no data.
func (h *Handler) Metrics() http.Handler { return h.metrics }

func notFound(w http.ResponseWriter, r *http.Request) {
	writeError(w, status.Errorf(codes.NotFound, "no such path: %s", r.URL.Path))
}

func addPprof(mux *http.ServeMux) {
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
}

func versionHandler(b Backend) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !getOnly(w, r) {
			return
		}
		v := b.Versions()
		if v.Cluster == "" {
			v.Cluster = "not_decided"
		}
		writeJSON(w, http.StatusOK, v)
	}
}

func getOnly(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodGet {
		return true
	}
	w.Header().Set("Allow", http.MethodGet)
	http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
	return false
}

// errorBody has the shape of the gateway's errors, and names the code.
type errorBody struct {
	Code    codes.Code `json:"code"`
	Status  string     `json:"status"`
	Message string     `json:"message"`
}

func writeError(w http.ResponseWriter, err error) {
	writeErrorAs(w, gateway.HTTPStatusFromCode(status.Code(err)), err)
}

func writeErrorAs(w http.ResponseWriter, httpStatus int, err error) {
	s := status.Convert(err)
	writeJSON(w, httpStatus, errorBody{Code: s.Code(), Status: s.Code().String(), Message: s.Message()})
}

// writeJSON ignores errors of Write: the client has gone and nobody is left to
// be told.
func writeJSON(w http.ResponseWriter, httpStatus int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "encoding the answer: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(httpStatus)
	_, _ = w.Write(append(body, '\n'))
}
