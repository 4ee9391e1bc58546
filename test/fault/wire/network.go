package wire

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"github.com/Shopify/toxiproxy/v2/stream"
)

// toxicTime bounds how long a link may take to change. It has to finish a write
// first, to a process that may be paused, or to one that is dead: toxiproxy then
// waits for ever.
const toxicTime = 2 * time.Second

var errStuck = errors.New("a link does not change")

// Network is a faulty network. Make it with New, end it with Close.
type Network struct {
	server  *toxiproxy.ApiServer
	workers sync.WaitGroup

	mu sync.Mutex
	// processes are the ids by node.
	processes map[int]int
	doors     map[int]*door
	routes    map[pair]*route
	closed    bool
	strangers int
}

// pair is one node that dials and the one it reaches.
type pair struct{ dials, reaches int }

// door is where the peers of a node dial it.
type door struct {
	listener net.Listener
	to       string
}

// route is what one node has dialled at the door of another.
type route struct {
	proxy   *toxiproxy.Proxy
	refused bool
	toxics  map[string]string // by name, as toxiproxy reads them
	open    map[net.Conn]struct{}
	dialled int
}

// New makes a network without nodes.
func New() *Network {
	return &Network{
		server:    toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()),
		processes: map[int]int{}, doors: map[int]*door{}, routes: map[pair]*route{},
	}
}

// Open makes the door of a node that listens for peers at the address to, and
// returns the URL at which they reach it.
func (n *Network) Open(node int, to string) (url string, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("a door for node %d: %w", node, err)
	}
	d := &door{listener: listener, to: to}
	n.mu.Lock()
	n.doors[node] = d
	n.mu.Unlock()
	n.workers.Go(func() { n.accept(node, d) })
	return "http://" + listener.Addr().String(), nil
}

// Process says which process a node is now.
func (n *Network) Process(node, pid int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.processes[node] = pid
}

// Dialled is how many connections passed so far, and how many were turned away
// because nobody owned them any more.
func (n *Network) Dialled() (connections, strangers int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, r := range n.routes {
		connections += r.dialled
	}
	return connections, n.strangers
}

// Close closes the doors and breaks all connections.
func (n *Network) Close() error {
	n.mu.Lock()
	n.closed = true
	var errs []error
	for _, d := range n.doors {
		errs = append(errs, d.listener.Close())
	}
	n.mu.Unlock()
	n.Reset(func(int, int) bool { return true })
	n.workers.Wait()
	return errors.Join(errs...)
}

func (n *Network) accept(node int, d *door) {
	for {
		in, err := d.listener.Accept()
		if err != nil {
			return // closed
		}
		n.workers.Go(func() { n.enter(node, d, in) })
	}
}

// enter lets a connection in, unless its route is refused.
func (n *Network) enter(node int, d *door, in net.Conn) {
	who, err := n.owner(in)
	if err != nil {
		n.mu.Lock()
		n.strangers++
		n.mu.Unlock()
		_ = in.Close() // as if nobody listened
		return
	}
	out, err := net.Dial("tcp", d.to)
	if err != nil {
		_ = in.Close() // nobody listens
		return
	}
	n.mu.Lock()
	r := n.routeLocked(pair{dials: who, reaches: node})
	if r.refused || n.closed {
		n.mu.Unlock()
		_, _ = in.Close(), out.Close()
		return
	}
	r.dialled++
	r.open[in], r.open[out] = struct{}{}, struct{}{}
	name, proxy := fmt.Sprintf("%d-%d-%d", who, node, r.dialled), r.proxy
	n.mu.Unlock()
	proxy.Toxics.StartLink(n.server, name+"-up", in, out, stream.Upstream)
	proxy.Toxics.StartLink(n.server, name+"-down", out, &last{Conn: in, ended: func() { n.forget(r, in, out) }}, stream.Downstream)
}

// last is the end of a connection that is closed last.
type last struct {
	net.Conn
	ended func()
}

func (l *last) Close() error {
	l.ended()
	return l.Conn.Close()
}

func (n *Network) forget(r *route, conns ...net.Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range conns {
		delete(r.open, c)
	}
}

func (n *Network) routeLocked(p pair) *route {
	r := n.routes[p]
	if r == nil {
		r = &route{toxics: map[string]string{}, open: map[net.Conn]struct{}{}}
		r.proxy = n.fresh(p)
		n.routes[p] = r
	}
	return r
}

// fresh makes a place for the links of a route, without toxics.
func (n *Network) fresh(p pair) *toxiproxy.Proxy {
	return toxiproxy.NewProxy(n.server, fmt.Sprintf("%d to %d", p.dials, p.reaches), "", "")
}

// within does something to the links of a route that may wait for ever.
func within(limit time.Duration, do func() error) error {
	done := make(chan error, 1)
	go func() { done <- do() }()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return errStuck
	}
}

func (r *route) breakLocked() (connections int) {
	for c := range r.open {
		_ = c.Close() // that it breaks is the point
	}
	connections = len(r.open) / 2
	clear(r.open)
	return connections
}

// add puts a toxic on what one node sends to another: on what it says on the
// connections it dialled, and on those that the other one dialled.
func (n *Network) add(from, to int, kind, attributes string) error {
	for _, way := range []struct {
		pair
		direction string
	}{{pair{from, to}, "upstream"}, {pair{to, from}, "downstream"}} {
		name := kind + "-" + way.direction
		n.mu.Lock()
		r := n.routeLocked(way.pair)
		_, there := r.toxics[name]
		r.toxics[name] = fmt.Sprintf(`{"name":%q,"type":%q,"stream":%q,"toxicity":1,"attributes":%s}`, name, kind, way.direction, attributes)
		toxic, proxy := r.toxics[name], r.proxy
		n.mu.Unlock()
		if there {
			continue
		}
		err := within(toxicTime, func() error { return poison(proxy, toxic) })
		if errors.Is(err, errStuck) {
			err = n.renew(way.pair, r)
		}
		if err != nil {
			return fmt.Errorf("%s from %d to %d: %w", kind, from, to, err)
		}
	}
	return nil
}

func poison(p *toxiproxy.Proxy, toxic string) error {
	_, err := p.Toxics.AddToxicJson(strings.NewReader(toxic))
	return err
}

// renew breaks the connections of a route, whose links cannot be changed; those
// to come have the toxics that it has.
func (n *Network) renew(p pair, r *route) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	r.proxy = n.fresh(p)
	for _, toxic := range r.toxics {
		if err := poison(r.proxy, toxic); err != nil {
			return err
		}
	}
	r.breakLocked()
	return nil
}

// Drop loses everything that one node sends to another from now on. Neither
// notices but by the silence.
func (n *Network) Drop(from, to int) error { return n.add(from, to, "timeout", `{"timeout":0}`) }

// Slow delays what one node sends to another by the latency, more or less the
// jitter.
func (n *Network) Slow(from, to int, latency, jitter time.Duration) error {
	return n.add(from, to, "latency", fmt.Sprintf(`{"latency":%d,"jitter":%d}`, latency.Milliseconds(), jitter.Milliseconds()))
}

// Narrow lets so many KiB a second pass from one node to another.
func (n *Network) Narrow(from, to, kibibytes int) error {
	return n.add(from, to, "bandwidth", fmt.Sprintf(`{"rate":%d}`, kibibytes))
}

// Refuse breaks what two nodes have between them and refuses new connections, as
// a firewall that rejects.
func (n *Network) Refuse(a, b int) {
	n.mu.Lock()
	n.routeLocked(pair{a, b}).refused, n.routeLocked(pair{b, a}).refused = true, true
	n.mu.Unlock()
	n.Reset(func(dials, reaches int) bool {
		return min(dials, reaches) == min(a, b) && max(dials, reaches) == max(a, b)
	})
}

// Reset breaks the connections of those routes and returns how many there were.
func (n *Network) Reset(which func(dials, reaches int) bool) (connections int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for p, r := range n.routes {
		if !which(p.dials, p.reaches) {
			continue
		}
		connections += r.breakLocked()
	}
	return connections
}

// Heal makes the network whole again. Connections that may have lost bytes break.
func (n *Network) Heal() error {
	n.mu.Lock()
	sick := map[pair]*route{}
	for p, r := range n.routes {
		if len(r.toxics) > 0 {
			sick[p] = r
		}
		r.refused = false
		clear(r.toxics)
	}
	n.mu.Unlock()
	for p, r := range sick {
		if err := n.renew(p, r); err != nil {
			return fmt.Errorf("healing %d to %d: %w", p.dials, p.reaches, err)
		}
	}
	return nil
}
