package kvload

import (
	"context"
	"errors"
	"fmt"

	"raftkv/bench/internal/unary"
	raftclient "raftkv/client"
)

// API is how puts and gets reach the servers.
type API string

// APIs.
const (
	APIEtcd API = ""
	// APINative uses sessions of the Go client, one for each connection, whose
	// callers share frames. Keys are still loaded through the etcd API.
	APINative API = "native"
	// APILean is etcd's API through a client that costs the generator little
	// (package unary); every key is still loaded through gRPC's own.
	APILean API = "lean"
)

func (a API) validate(s Spec) error {
	switch {
	case a != APIEtcd && a != APINative && a != APILean:
		return fmt.Errorf("api must be etcd, %s or %s, not %q", APILean, APINative, a)
	case a == APINative && (s.Operation != OpPutGet || s.PageKeys > 0):
		return errors.New("the native api is for puts and gets alone")
	case a == APILean && s.Operation != OpPutGet && s.Operation != OpTxn:
		return errors.New("the lean api is for puts, gets, pages and transactions alone")
	}
	return nil
}

// native is one client of the native API for each connection.
type native struct {
	clients  []*raftclient.Client
	sessions []*raftclient.Session
}

// Open makes what another API than etcd's needs, count of them, each with one of
// the endpoints in turn: sessions of a native workload, connections of a lean
// one. Close ends them.
func (w *Workload) Open(endpoints []string, count int) error {
	for i := range count {
		endpoint := endpoints[i%len(endpoints)]
		switch w.spec.API {
		case APILean:
			w.lean = append(w.lean, unary.New(endpoint))
		case APINative:
			if err := w.native.add(endpoint); err != nil {
				return errors.Join(err, w.Close())
			}
		}
	}
	return nil
}

func (n *native) add(endpoint string) error {
	c, err := raftclient.New(raftclient.Config{Endpoints: []string{endpoint}})
	if err != nil {
		return err
	}
	n.clients = append(n.clients, c)
	s, err := c.NewSession(raftclient.SessionConfig{})
	if err != nil {
		return err
	}
	n.sessions = append(n.sessions, s)
	return nil
}

// Close ends what Open made.
func (w *Workload) Close() error {
	var faults []error
	for _, s := range w.native.sessions {
		s.Close()
	}
	for _, c := range w.native.clients {
		faults = append(faults, c.Close())
	}
	for _, c := range w.lean {
		faults = append(faults, c.Close())
	}
	w.native, w.lean = native{}, nil
	return errors.Join(faults...)
}

// nativeNext is next for a caller of a session.
func (c *client) nativeNext(ctx context.Context) (int, error) {
	w, n := c.workload, c.key()
	if c.rng.IntN(100) >= w.spec.ReadPercent {
		revision, err := c.session.Put(ctx, presentKey(n), w.pool.value(c.rng))
		if err == nil && revision < 1 {
			err = fmt.Errorf("%w: put answered without a revision", errWrongAnswer)
		}
		return w.putKind, err
	}
	key, get := presentKey(n), c.session.Get
	if w.spec.AbsentKeys {
		key = absentKey(n)
	}
	if w.spec.Serializable {
		get = c.session.GetStale
	}
	v, found, err := get(ctx, key)
	switch {
	case err != nil:
	case found == w.spec.AbsentKeys:
		err = fmt.Errorf("%w: get of %s found a key: %t", errWrongAnswer, key, found)
	case found && len(v.Bytes) != w.spec.ValueSizeBytes:
		err = fmt.Errorf("%w: %s has %d bytes, want %d (loaded with another --value-size?)", errWrongAnswer, key, len(v.Bytes), w.spec.ValueSizeBytes)
	}
	return w.getKind, err
}
