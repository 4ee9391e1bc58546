package web

import (
	"context"
	"net/http"
	"net/url"
	"unicode/utf8"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

const (
	listKeysDefault = 1000
	listKeysMax     = 10000
	// listBytesMax is when a listing stops although its limit allows more.
	listBytesMax = 8 << 20
	// listPageKeys is the first page: nothing is known of the values yet.
	listPageKeys = 16
)

// listBody is a listing. Keys and values that are not UTF-8 are in the _base64
// fields instead.
type listBody struct {
	Revision int64 `json:"revision"`
	Count    int64 `json:"count"` // keys with the prefix, listed or not
	More     bool  `json:"more"`
	// Next, if More, is where to go on: the value of ?from=, escaped already.
	Next string      `json:"next,omitempty"`
	KVs  []listedKey `json:"kvs"`
}

type listedKey struct {
	Key            *string `json:"key,omitempty"`
	KeyBase64      []byte  `json:"key_base64,omitempty"`
	Value          *string `json:"value,omitempty"`
	ValueBase64    []byte  `json:"value_base64,omitempty"`
	CreateRevision int64   `json:"create_revision"`
	ModRevision    int64   `json:"mod_revision"`
	Version        int64   `json:"version"`
	Lease          int64   `json:"lease,omitempty"`
}

func (h *rest) list(w http.ResponseWriter, r *http.Request, prefix []byte) {
	limit, err := intParam(r, "limit")
	if err != nil {
		writeError(w, err)
		return
	}
	if limit == 0 {
		limit = listKeysDefault
	}
	req := &pb.RangeRequest{
		Key: prefix, RangeEnd: prefixEnd(prefix),
		Serializable: serializable(r), KeysOnly: r.URL.Query().Get("keys_only") == "true",
	}
	if len(prefix) == 0 {
		req.Key = []byte{0} // etcd's name for the smallest key
	}
	if from := r.URL.Query().Get("from"); from > string(req.Key) {
		req.Key = []byte(from)
	}
	body, err := h.collect(r.Context(), req, min(limit, listKeysMax))
	if err != nil {
		writeError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, body)
}

// collect reads page by page at the revision of the first, until the limit,
// the byte bound or the end is reached.
func (h *rest) collect(ctx context.Context, req *pb.RangeRequest, limit int64) (*listBody, error) {
	body := &listBody{KVs: []listedKey{}}
	pageKeys, bytes := int64(listPageKeys), 0
	for left := limit; ; {
		req.Limit = min(pageKeys, left)
		resp, err := h.kv.Range(ctx, req)
		if err != nil {
			return nil, err
		}
		if req.Revision == 0 {
			body.Revision, body.Count = resp.GetHeader().GetRevision(), resp.GetCount()
			// Later pages are behind the barrier of this one.
			req.Revision, req.Serializable = body.Revision, true
		}
		kvs := resp.GetKvs()
		for _, kv := range kvs {
			body.KVs = append(body.KVs, listed(kv, req.GetKeysOnly()))
			bytes += len(kv.GetKey()) + len(kv.GetValue())
		}
		if !resp.GetMore() || len(kvs) == 0 {
			return body, nil
		}
		req.Key = append(append([]byte(nil), kvs[len(kvs)-1].GetKey()...), 0)
		left -= int64(len(kvs))
		if left == 0 || bytes >= listBytesMax {
			body.More, body.Next = true, url.QueryEscape(string(req.Key))
			return body, nil
		}
		pageKeys = nextPageKeys(len(body.KVs), bytes)
	}
}

// nextPageKeys fills the byte bound, judging by what was read so far, and reads
// at most as much again, because the next values may be larger.
func nextPageKeys(keys, bytes int) int64 {
	average := max(1, bytes/keys)
	return int64(max(1, min((listBytesMax-bytes)/average, keys)))
}

func listed(kv *mvccpb.KeyValue, keysOnly bool) listedKey {
	l := listedKey{
		CreateRevision: kv.GetCreateRevision(), ModRevision: kv.GetModRevision(),
		Version: kv.GetVersion(), Lease: kv.GetLease(),
	}
	l.Key, l.KeyBase64 = textOrBytes(kv.GetKey())
	if !keysOnly {
		l.Value, l.ValueBase64 = textOrBytes(kv.GetValue())
	}
	return l
}

func textOrBytes(b []byte) (*string, []byte) {
	if !utf8.Valid(b) {
		return nil, b
	}
	s := string(b)
	return &s, nil
}
