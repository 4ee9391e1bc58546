package mvcc

import (
	"slices"
	"strings"

	"raftkv/statemachine/keys"
)

// version is one version of a key that the open batch wrote.
type version struct {
	revision                       keys.Revision
	createRevision, version, lease int64
	value                          []byte
	tombstone                      bool
	older                          *version
}

// keyValue gives the version the form reads have.
func (v *version) keyValue(key []byte) KeyValue {
	return KeyValue{Key: key, Value: v.value, Revision: v.revision,
		CreateRevision: v.createRevision, Version: v.version, Lease: v.lease}
}

// node is a key the open batch wrote, with its versions of that batch.
type node struct {
	key    string
	newest version
	head   *head // of newest
}

// at returns the newest version of the node at or below main revision.
func (n *node) at(revision int64) *version {
	v := &n.newest
	for v != nil && v.revision.Main > revision {
		v = v.older
	}
	return v
}

// overlay holds what a batch wrote, for the reads of later transactions in the
// same batch. Values alias what the caller handed to Put.
type overlay struct {
	nodes map[string]*node
	slab  []node
	// sorted holds the nodes in key order but for those in pending. Scans are
	// rare beside puts, so the order is made when one asks for it.
	sorted  []*node
	pending []*node
}

const (
	slabNodes = 256
	// keepNodes bounds the map that is kept for the next batch.
	keepNodes = 1 << 16
)

func (o *overlay) reset() {
	if o.nodes == nil || len(o.nodes) > keepNodes {
		*o = overlay{nodes: make(map[string]*node)}
		return
	}
	clear(o.nodes)
	clear(o.sorted)
	clear(o.pending)
	o.slab, o.sorted, o.pending = nil, o.sorted[:0], o.pending[:0]
}

func (o *overlay) get(key []byte) *node { return o.nodes[string(key)] }

// add records a version newer than all before it. n is the node of key, or nil;
// the node is returned.
func (o *overlay) add(n *node, key []byte, v version) *node {
	if n == nil {
		if len(o.slab) == 0 {
			o.slab = make([]node, slabNodes)
		}
		n, o.slab = &o.slab[0], o.slab[1:]
		n.key = string(key)
		n.newest = v
		o.nodes[n.key] = n
		o.pending = append(o.pending, n)
		return n
	}
	old := n.newest
	v.older = &old
	n.newest = v
	return n
}

// seek returns the nodes with keys from start, in order.
func (o *overlay) seek(start []byte) []*node {
	o.sort()
	i, _ := slices.BinarySearchFunc(o.sorted, string(start), compareNode)
	return o.sorted[i:]
}

func compareNode(n *node, key string) int { return strings.Compare(n.key, key) }

// sort merges pending into sorted: one by one when there are few, so that a
// batch that alternates writes and scans does not sort everything every time.
func (o *overlay) sort() {
	const few = 8
	if len(o.pending) == 0 {
		return
	}
	if len(o.pending) <= few {
		for _, n := range o.pending {
			i, _ := slices.BinarySearchFunc(o.sorted, n.key, compareNode)
			o.sorted = slices.Insert(o.sorted, i, n)
		}
	} else {
		o.sorted = append(o.sorted, o.pending...)
		slices.SortFunc(o.sorted, func(a, b *node) int { return strings.Compare(a.key, b.key) })
	}
	o.pending = o.pending[:0]
}
