package statemachine

import "testing"

// A compaction whose hash is kept already, and which is not forgotten as
// pending yet, must not push out the oldest hash as if its own were to come.
func TestAKeptCompactionHashCountsOnce(t *testing.T) {
	c := &compactions{}
	for revision := int64(1); revision < hashesMax; revision++ {
		c.add([]compaction{{revision: revision}})
		c.keep(KVHash{HashRevision: revision})
		c.next(revision, revision)
	}
	c.add([]compaction{{revision: hashesMax - 1}}) // swept and kept, still pending
	c.add([]compaction{{revision: hashesMax}})
	if _, ok := c.hash(1); !ok {
		t.Errorf("the oldest of %d compactions was forgotten", hashesMax)
	}
	c.keep(KVHash{HashRevision: hashesMax})
	c.add([]compaction{{revision: hashesMax + 1}})
	if _, ok := c.hash(1); ok {
		t.Errorf("compaction 1 of %d is remembered", hashesMax+1)
	}
	if _, ok := c.hash(2); !ok {
		t.Errorf("compaction 2 of %d was forgotten", hashesMax+1)
	}
}
