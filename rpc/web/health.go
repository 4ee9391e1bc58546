package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.uber.org/zap"
)

// check is one named condition of /livez or /readyz.
type check struct {
	name string
	run  func(ctx context.Context) error
}

// health answers /health, /livez and /readyz. Bodies and metric names are
// etcd's: probes and dashboards parse them.
type health struct {
	cfg     Config
	success prometheus.Counter
	failure prometheus.Counter
	last    *prometheus.GaugeVec
	total   *prometheus.CounterVec
}

func newHealth(cfg Config) (*health, error) {
	h := &health{
		cfg: cfg,
		success: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "etcd_server_health_success", Help: "Successful checks of /health."}),
		failure: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "etcd_server_health_failures", Help: "Failed checks of /health."}),
		last: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "etcd_server_healthcheck", Help: "Last result of each check: 1 passed, 0 failed."}, []string{"type", "name"}),
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "etcd_server_healthchecks_total", Help: "Runs of each check."}, []string{"type", "name", "status"}),
	}
	for _, c := range []prometheus.Collector{h.success, h.failure, h.last, h.total} {
		if err := cfg.Registry.Register(c); err != nil {
			return nil, fmt.Errorf("web: registering the metrics of health checks: %w", err)
		}
	}
	return h, nil
}

// add serves the checks on mux.
func (h *health) add(mux *http.ServeMux) {
	mux.HandleFunc("/health", h.serve)
	local := check{"serializable_read", func(ctx context.Context) error { return h.read(ctx, true) }}
	h.addChecks(mux, "livez", local)
	h.addChecks(mux, "readyz",
		check{"data_corruption", h.notCorrupt},
		local,
		check{"linearizable_read", func(ctx context.Context) error { return h.read(ctx, false) }},
		check{"non_learner", h.notLearner},
	)
}

// probeKey is read by the checks: one key, because a range would count the
// whole store.
const probeKey = "health"

func (h *health) read(ctx context.Context, serializable bool) error {
	ctx, cancel := context.WithTimeout(ctx, h.cfg.Timeout)
	defer cancel()
	if !serializable {
		if err := h.cfg.Backend.ReadIndex(ctx); err != nil {
			return err
		}
	}
	_, err := h.cfg.Backend.Range(ctx, &pb.RangeRequest{Key: []byte(probeKey), CountOnly: true, Serializable: true})
	return err
}

func (h *health) notCorrupt(context.Context) error {
	for _, a := range h.cfg.Backend.Alarms() {
		if a.GetAlarm() == pb.AlarmType_CORRUPT {
			return fmt.Errorf("alarm activated: %s", a.GetAlarm())
		}
	}
	return nil
}

func (h *health) notLearner(context.Context) error {
	if h.cfg.Backend.IsLearner() {
		return errors.New("not supported for learner")
	}
	return nil
}

type healthBody struct {
	Health string `json:"health"`
	Reason string `json:"reason"`
}

// serve answers /health: no alarm that is not excluded, a leader, and a read
// that works. With serializable=true it judges this process alone.
func (h *health) serve(w http.ResponseWriter, r *http.Request) {
	if !getOnly(w, r) {
		return
	}
	if reason := h.reason(r); reason != "" {
		h.failure.Inc()
		h.cfg.Logger.Warn("/health error", zap.String("reason", reason), zap.Int("status-code", http.StatusServiceUnavailable))
		writeJSON(w, http.StatusServiceUnavailable, healthBody{Health: "false", Reason: reason})
		return
	}
	h.success.Inc()
	writeJSON(w, http.StatusOK, healthBody{Health: "true"})
}

func (h *health) reason(r *http.Request) string {
	query := r.URL.Query()
	for _, a := range h.cfg.Backend.Alarms() {
		if !slices.Contains(query["exclude"], a.GetAlarm().String()) {
			return "ALARM " + alarmName(a.GetAlarm())
		}
	}
	serializable := query.Get("serializable") == "true"
	if !serializable && h.cfg.Backend.Leader() == 0 {
		return "RAFT NO LEADER"
	}
	if err := h.read(r.Context(), serializable); err != nil {
		return fmt.Sprintf("RANGE ERROR:%s", err)
	}
	return ""
}

func alarmName(a pb.AlarmType) string {
	if a == pb.AlarmType_NOSPACE || a == pb.AlarmType_CORRUPT {
		return a.String()
	}
	return "UNKNOWN"
}

// addChecks serves /kind with every check and /kind/NAME with one.
func (h *health) addChecks(mux *http.ServeMux, kind string, checks ...check) {
	mux.HandleFunc("/"+kind, h.checksHandler(kind, checks))
	for _, c := range checks {
		mux.HandleFunc("/"+kind+"/"+c.name, h.checksHandler(kind, []check{c}))
	}
}

func (h *health) checksHandler(kind string, checks []check) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !getOnly(w, r) {
			return
		}
		query := r.URL.Query()
		report, ok := h.runChecks(r.Context(), kind, checks, query["exclude"])
		if !ok {
			h.cfg.Logger.Warn("health check failed", zap.String("type", kind), zap.String("report", report))
			http.Error(w, report, http.StatusServiceUnavailable)
			return
		}
		if _, verbose := query["verbose"]; !verbose {
			report = ""
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = fmt.Fprint(w, report, "ok\n") // the client may have gone
	}
}

func (h *health) runChecks(ctx context.Context, kind string, checks []check, exclude []string) (report string, ok bool) {
	var b strings.Builder
	ok = true
	for _, c := range checks {
		if slices.Contains(exclude, c.name) {
			continue
		}
		err := c.run(ctx)
		if err != nil {
			ok = false
			fmt.Fprintf(&b, "[-]%s failed: %v\n", c.name, err)
			h.last.WithLabelValues(kind, c.name).Set(0)
			h.total.WithLabelValues(kind, c.name, "error").Inc()
			continue
		}
		fmt.Fprintf(&b, "[+]%s ok\n", c.name)
		h.last.WithLabelValues(kind, c.name).Set(1)
		h.total.WithLabelValues(kind, c.name, "success").Inc()
	}
	return b.String(), ok
}
