package web_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"raftkv/node"
	"raftkv/rpc/concurrency"
	"raftkv/rpc/etcdv3"
	"raftkv/rpc/request"
	"raftkv/rpc/rpctest"
	"raftkv/rpc/web"
)

// site is a member behind net/http.
type site struct {
	t       *testing.T
	member  *rpctest.Member
	handler *web.Handler
	url     string
	client  *http.Client
}

func newSite(t *testing.T, cfg request.Config) *site {
	t.Helper()
	m := rpctest.New()
	g := rpctest.Gate(t, m, request.AllowAll{}, cfg)
	services := etcdv3.New(g, m)
	h, err := web.NewHandler(web.Config{
		Backend: m, Services: services, Concurrency: concurrency.New(services), Registry: prometheus.NewRegistry(),
		RequestBytesMax: int64(g.Config().RequestBytesMax),
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	// As curl: no redirect is followed unless asked for.
	client := server.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &site{t, m, h, server.URL, client}
}

func (s *site) do(method, path, body string) (int, http.Header, string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	data, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(data)
}

// expect checks status and body of a request; a JSON body is compared as JSON.
func (s *site) expect(method, path, body string, code int, want string) {
	s.t.Helper()
	gotCode, header, got := s.do(method, path, body)
	same := got == want
	if strings.HasPrefix(header.Get("Content-Type"), "application/json") {
		var a, b any
		if err := errors.Join(json.Unmarshal([]byte(got), &a), json.Unmarshal([]byte(want), &b)); err != nil {
			s.t.Errorf("%s %s: %q is not JSON: %v", method, path, got, err)
		}
		same = reflect.DeepEqual(a, b)
	}
	if gotCode != code || !same {
		s.t.Errorf("%s %s: %d %q, want %d %q", method, path, gotCode, got, code, want)
	}
}

func TestVersion(t *testing.T) {
	s := newSite(t, request.Config{})
	s.expect("GET", "/version", "", 200, `{"etcdserver":"3.7.3","etcdcluster":"3.7.0","storage":"3.7.0"}`)
	s.expect("POST", "/version", "", 405, "Method Not Allowed\n")
}

func TestUnknownPathIsAJSONError(t *testing.T) {
	s := newSite(t, request.Config{})
	s.expect("GET", "/nowhere", "", 404, `{"code":5,"status":"NotFound","message":"no such path: /nowhere"}`)
}

func TestHealth(t *testing.T) {
	noSpace := []*pb.AlarmMember{{MemberID: 1, Alarm: pb.AlarmType_NOSPACE}}
	for _, tc := range []struct {
		name     string
		switches rpctest.Switches
		path     string
		code     int
		want     string
	}{
		{"healthy", rpctest.Switches{}, "/health", 200, `{"health":"true","reason":""}`},
		{"no leader", rpctest.Switches{NoLeader: true}, "/health", 503, `{"health":"false","reason":"RAFT NO LEADER"}`},
		{"no leader, this process alone", rpctest.Switches{NoLeader: true, ReadIndexErr: node.ErrNoLeader}, "/health?serializable=true", 200, `{"health":"true","reason":""}`},
		{"no quorum", rpctest.Switches{ReadIndexErr: node.ErrReadTimeout}, "/health", 503, `{"health":"false","reason":"RANGE ERROR:` + node.ErrReadTimeout.Error() + `"}`},
		{"alarm", rpctest.Switches{Alarms: noSpace}, "/health", 503, `{"health":"false","reason":"ALARM NOSPACE"}`},
		{"excluded alarm", rpctest.Switches{Alarms: noSpace}, "/health?exclude=NOSPACE", 200, `{"health":"true","reason":""}`},
		{"other alarm excluded", rpctest.Switches{Alarms: noSpace}, "/health?exclude=CORRUPT", 503, `{"health":"false","reason":"ALARM NOSPACE"}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newSite(t, request.Config{})
			s.member.Switch(tc.switches)
			s.expect("GET", tc.path, "", tc.code, tc.want)
		})
	}
}

func TestLivezAndReadyz(t *testing.T) {
	s := newSite(t, request.Config{})
	s.expect("GET", "/livez", "", 200, "ok\n")
	s.expect("GET", "/livez?verbose", "", 200, "[+]serializable_read ok\nok\n")
	s.expect("GET", "/readyz?verbose", "", 200,
		"[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\n[+]non_learner ok\nok\n")
	s.expect("POST", "/readyz", "", 405, "Method Not Allowed\n")

	s.member.Switch(rpctest.Switches{ReadIndexErr: errors.New("alone")})
	failed := "[+]data_corruption ok\n[+]serializable_read ok\n[-]linearizable_read failed: alone\n[+]non_learner ok\n\n"
	s.expect("GET", "/readyz", "", 503, failed)
	s.expect("GET", "/readyz?exclude=linearizable_read", "", 200, "ok\n")
	s.expect("GET", "/readyz/serializable_read", "", 200, "ok\n")
	s.expect("GET", "/readyz/linearizable_read", "", 503, "[-]linearizable_read failed: alone\n\n")
	s.expect("GET", "/livez", "", 200, "ok\n")

	s.member.Switch(rpctest.Switches{Learner: true, Alarms: []*pb.AlarmMember{{Alarm: pb.AlarmType_CORRUPT}}})
	s.expect("GET", "/readyz/non_learner", "", 503, "[-]non_learner failed: not supported for learner\n\n")
	s.expect("GET", "/readyz/data_corruption", "", 503, "[-]data_corruption failed: alarm activated: CORRUPT\n\n")
}

func TestMetrics(t *testing.T) {
	s := newSite(t, request.Config{})
	s.do("GET", "/health", "")
	s.do("GET", "/livez", "")
	_, _, got := s.do("GET", "/metrics", "")
	for _, want := range []string{
		"etcd_server_health_success 1",
		"etcd_server_health_failures 0",
		`etcd_server_healthcheck{name="serializable_read",type="livez"} 1`,
		`etcd_server_healthchecks_total{name="serializable_read",status="success",type="livez"} 1`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("missing %s in\n%s", want, got)
		}
	}
}

// TestMetricsURL serves metrics and health and no data.
func TestMetricsURL(t *testing.T) {
	s := newSite(t, request.Config{})
	for path, want := range map[string]int{
		"/metrics": 200, "/health": 200, "/livez": 200, "/readyz/serializable_read": 200,
		"/kv/name": 404, "/v3/kv/range": 404, "/version": 404, "/debug/vars": 404,
	} {
		w := httptest.NewRecorder()
		s.handler.Metrics().ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != want {
			t.Errorf("%s: %d, want %d", path, w.Code, want)
		}
	}
}

// TestGateway is what curl sends to etcd's JSON gateway: bytes in base64,
// 64-bit numbers as strings.
func TestGateway(t *testing.T) {
	s := newSite(t, request.Config{RequestBytesMax: 4096})
	header := `"cluster_id":"193","member_id":"161","raft_term":"7"`
	s.expect("POST", "/v3/kv/put", `{"key":"Zm9v","value":"YmFy"}`, 200, `{"header":{`+header+`,"revision":"2"}}`)
	s.expect("POST", "/v3/kv/range", `{"key":"Zm9v"}`, 200, `{"header":{`+header+`,"revision":"2"},
		"kvs":[{"key":"Zm9v","create_revision":"2","mod_revision":"2","version":"1","value":"YmFy"}],"count":"1"}`)
	s.expect("POST", "/v3/kv/txn", `{"compare":[{"key":"Zm9v","target":"MOD","mod_revision":"2"}],
		"success":[{"request_delete_range":{"key":"Zm9v"}}]}`, 200, `{"header":{`+header+`,"revision":"3"},"succeeded":true,
		"responses":[{"response_delete_range":{"header":{"revision":"3"},"deleted":"1"}}]}`)
	s.expect("POST", "/v3/kv/put", `{"value":"YmFy"}`, 400, `{"code":3,"message":"etcdserver: key is not provided"}`)
	s.expect("POST", "/v3/maintenance/alarm", `{}`, 200, `{"header":{`+header+`,"revision":"3"}}`)
	s.expect("POST", "/v3/lease/grant", `{"ID":"7","TTL":"1"}`, 200, `{"header":{`+header+`,"revision":"3"},"ID":"7","TTL":"2"}`)
	s.expect("POST", "/v3/lease/grant", `{"ID":"7","TTL":"1"}`, 400, `{"code":9,"message":"etcdserver: lease already exists"}`)
	s.expect("POST", "/v3/kv/lease/timetolive", `{"ID":"7"}`, 200, `{"header":{`+header+`,"revision":"3"},"ID":"7","TTL":"1","grantedTTL":"2"}`)
	s.expect("POST", "/v3/lease/leases", `{}`, 200, `{"header":{`+header+`,"revision":"3"},"leases":[{"ID":"7"}]}`)
	s.expect("POST", "/v3/lease/keepalive", `{"ID":"7"}`, 200, `{"result":{"header":{`+header+`,"revision":"3"},"ID":"7","TTL":"2"}}`)
	s.expect("POST", "/v3/lease/revoke", `{"ID":"7"}`, 200, `{"header":{`+header+`,"revision":"3"}}`)
	s.expect("POST", "/v3/nothing", `{}`, 404, `{"code":5,"message":"Not Found"}`)

	if code, _, body := s.do("POST", "/v3/cluster/member/list", "{}"); code != 200 || !strings.Contains(body, `"name":"one"`) {
		t.Errorf("members: %d %s", code, body)
	}
	if code, _, body := s.do("POST", "/v3/maintenance/status", "{}"); code != 200 || !strings.Contains(body, `"version":"3.7.3"`) {
		t.Errorf("status: %d %s", code, body)
	}
	huge := `{"key":"Zm9v","value":"` + strings.Repeat("A", 1<<20) + `"}`
	if code, _, body := s.do("POST", "/v3/kv/put", huge); code != 400 || !strings.Contains(body, "too large") {
		t.Errorf("a huge body: %d %s", code, body)
	}
}

func TestConfigReportsEverythingMissing(t *testing.T) {
	_, err := web.NewHandler(web.Config{RequestBytesMax: -1, Timeout: -1})
	for _, want := range []string{"Backend", "Services", "Concurrency", "Registry", "RequestBytesMax", "Timeout"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not mention %s", err, want)
		}
	}
}
