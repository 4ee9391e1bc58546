package kvload

import (
	"context"
	"errors"
	"fmt"

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
)

func (a API) validate(s Spec) error {
	switch {
	case a == APIEtcd:
		return nil
	case a != APINative:
		return fmt.Errorf("api must be etcd or %s, not %q", APINative, a)
	case s.Operation != OpPutGet || s.PageKeys > 0:
		return errors.New("the native api is for puts and gets alone")
	}
	return nil
}

// native is one client of the native API for each connection.
type native struct {
	clients  []*raftclient.Client
	sessions []*raftclient.Session
}

// Open makes the sessions of a native workload, count of them, each with one of
// the endpoints in turn. Close ends them. Both do nothing for another workload.
func (w *Workload) Open(endpoints []string, count int) error {
	if w.spec.API != APINative {
		return nil
	}
	for i := range count {
		c, err := raftclient.New(raftclient.Config{Endpoints: endpoints[i%len(endpoints):][:1]})
		if err != nil {
			return errors.Join(err, w.Close())
		}
		w.native.clients = append(w.native.clients, c)
		s, err := c.NewSession(raftclient.SessionConfig{})
		if err != nil {
			return errors.Join(err, w.Close())
		}
		w.native.sessions = append(w.native.sessions, s)
	}
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
	w.native = native{}
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
