package mvcc

import "raftkv/statemachine/keys"

// WriteVersion writes one version that another store made, or a tombstone, which
// has a key and a revision only. It returns what the version takes, as
// WrittenBytes counts. The caller sees to it that no two share a revision.
func WriteVersion(batch Batch, kv *KeyValue, tombstone bool) (int64, error) {
	n := 1
	if !tombstone {
		n = kv.encodedLen()
	}
	err := batch.SetInPlace(keys.VersionLen(len(kv.Key), kv.Revision), n, func(k, v []byte) {
		keys.AppendVersion(k[:0], kv.Key, kv.Revision)
		if tombstone {
			v[0] = tagTombstone
			return
		}
		kv.encode(v)
	})
	if err != nil {
		return 0, err
	}
	return WrittenBytes(kv.Key, kv.Revision, n), recordOne(batch, kv.Revision, kv.Key)
}
