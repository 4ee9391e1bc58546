package web

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const restPrefix = "/kv/"

// rest serves keys under /kv/.
type rest struct {
	kv       pb.KVServer
	bytesMax int64
}

// ServeHTTP decodes the key and picks the verb.
func (h *rest) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, err := url.PathUnescape(strings.TrimPrefix(r.URL.EscapedPath(), restPrefix))
	if err != nil {
		writeError(w, status.Errorf(codes.InvalidArgument, "decoding the key: %v", err))
		return
	}
	key := []byte(name)
	_, prefix := r.URL.Query()["prefix"]
	switch {
	case r.Method == http.MethodPut:
		h.put(w, r, key)
	case (r.Method == http.MethodGet || r.Method == http.MethodHead) && prefix:
		h.list(w, r, key)
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		h.get(w, r, key)
	case r.Method == http.MethodDelete:
		h.delete(w, r, key, prefix)
	default:
		w.Header().Set("Allow", "GET, HEAD, PUT, DELETE")
		writeErrorAs(w, http.StatusMethodNotAllowed,
			status.Errorf(codes.Unimplemented, "method %s is not allowed on a key; use GET, PUT or DELETE", r.Method))
	}
}

type putBody struct {
	Revision int64 `json:"revision"`
}

func (h *rest) put(w http.ResponseWriter, r *http.Request, key []byte) {
	lease, err := intParam(r, "lease")
	if err != nil {
		writeError(w, err)
		return
	}
	value, err := io.ReadAll(http.MaxBytesReader(w, r.Body, h.bytesMax))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		writeErrorAs(w, http.StatusRequestEntityTooLarge, rpctypes.ErrGRPCRequestTooLarge)
		return
	case err != nil:
		writeError(w, status.Errorf(codes.InvalidArgument, "reading the body: %v", err))
		return
	}
	resp, err := h.kv.Put(r.Context(), &pb.PutRequest{Key: key, Value: value, Lease: lease})
	if err != nil {
		writeError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, putBody{Revision: resp.GetHeader().GetRevision()})
}

func (h *rest) get(w http.ResponseWriter, r *http.Request, key []byte) {
	resp, err := h.kv.Range(r.Context(), &pb.RangeRequest{Key: key, Serializable: serializable(r)})
	if err != nil {
		writeError(w, err)
		return
	}
	header := w.Header()
	header.Set("Raftkv-Revision", strconv.FormatInt(resp.GetHeader().GetRevision(), 10))
	if len(resp.GetKvs()) == 0 {
		writeError(w, status.Errorf(codes.NotFound, "key not found: %q", key))
		return
	}
	kv := resp.GetKvs()[0]
	header.Set("Raftkv-Mod-Revision", strconv.FormatInt(kv.GetModRevision(), 10))
	header.Set("Raftkv-Create-Revision", strconv.FormatInt(kv.GetCreateRevision(), 10))
	header.Set("Raftkv-Version", strconv.FormatInt(kv.GetVersion(), 10))
	header.Set("Content-Type", "application/octet-stream")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Length", strconv.Itoa(len(kv.GetValue())))
	_, _ = w.Write(kv.GetValue()) // the client may have gone
}

type deleteBody struct {
	Deleted  int64 `json:"deleted"`
	Revision int64 `json:"revision"`
}

func (h *rest) delete(w http.ResponseWriter, r *http.Request, key []byte, prefix bool) {
	req := &pb.DeleteRangeRequest{Key: key}
	if prefix {
		if len(key) == 0 {
			writeError(w, status.Error(codes.InvalidArgument, "an empty prefix would delete every key; not done here"))
			return
		}
		req.RangeEnd = prefixEnd(key)
	}
	resp, err := h.kv.DeleteRange(r.Context(), req)
	if err != nil {
		writeError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, deleteBody{Deleted: resp.GetDeleted(), Revision: resp.GetHeader().GetRevision()})
}

func serializable(r *http.Request) bool { return r.URL.Query().Get("serializable") == "true" }

// intParam is a number of the query, 0 if it is not there.
func intParam(r *http.Request, name string) (int64, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, status.Errorf(codes.InvalidArgument, "parameter %s=%q is not a whole number", name, text)
	}
	return n, nil
}

// prefixEnd is the range end that selects every key starting with prefix: the
// prefix with its last byte below 0xff raised, or "from here on" if there is
// none.
func prefixEnd(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] < 0xff {
			end := append([]byte(nil), prefix[:i+1]...)
			end[i]++
			return end
		}
	}
	return []byte{0}
}
