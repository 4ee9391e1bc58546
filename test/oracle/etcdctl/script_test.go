package etcdctl

import "slices"

// script is every verb but those of auth, and of check, which takes minutes.
func script() []step {
	return slices.Concat(keys(), getOptions(), transactions(), deletions(), hashes(), watches(), leases(), concurrency(),
		mirrors(), maintenance(), members(), leaders(), downgrades())
}

// keys fills the store: f1 to f5 have values and versions out of their order.
func keys() []step {
	return []step{
		{args: "version"},
		{args: "get nobody"},
		{args: "get nobody -w json"},
		{args: "put f3 c"},
		{args: "put f1 e -w json"},
		{args: "put f5 a -w fields"},
		{args: "put f2", stdin: "d, from stdin\nwith two lines"},
		{args: "put f4 b --prev-kv"},
		{args: "put f3 cc --prev-kv"},
		{args: "put f3 ccc --prev-kv -w json"},
		{args: "put f5 aa --prev-kv -w fields"},
		{args: "put f1 --ignore-value"},
		{args: "put f1 x --ignore-value"},
		{args: "put nobody --ignore-value"},
		{args: "put nobody v --ignore-lease"},
		{args: "put f1 e --ignore-lease"},
		{args: "put k1 v --lease=77"},
		{args: "put k1 v --lease=zz"},
		{args: "put '' v"},
		{args: "put"},
		{args: "put --hex"},
		{args: "put -- -dash value"},
		{args: "put empty ''"},
		{args: "put bin '\\x00\\x01'"},
		{args: "put f1 e -w table"},
		{args: "put f1 e -w protobuf", mask: []mask{{`(?s).*(exit code)`, "$1", "binary, with ids in it"}}},
	}
}

func getOptions() []step {
	var steps []step
	for _, options := range []string{
		"f1", "f1 f4", "f --prefix", "'' --prefix", "'' --from-key", "f3 --from-key", "f --prefix --keys-only", "f --prefix --count-only",
		"f --prefix --count-only -w fields", "f --prefix --count-only -w json", "f --prefix --limit=2", "f --prefix --limit=2 -w json",
		"f --prefix --print-value-only", "f --prefix --print-value-only --keys-only", "f --prefix --hex", "f3 -w fields", "f3 -w json", "f3 -w table",
		"f3 --consistency=s", "f3 --consistency=x", "f3 --rev=2", "f3 --rev=7 -w json", "f3 --rev=1", "f3 --rev=9999", "f3 --rev=-1",
		"f --prefix --min-mod-rev=7", "f --prefix --max-mod-rev=7", "f --prefix --min-create-rev=4", "f --prefix --max-create-rev=4",
		"f --prefix --min-create-rev=3 --max-mod-rev=9 -w json", "f --prefix --min-mod-rev=3 --limit=1 -w json",
		"f --prefix --stream", "f --prefix --stream --limit=2 -w json", "f --prefix --stream -w fields", "f --prefix --stream --count-only -w fields",
		"f --prefix --stream --order=DESCEND", "f --prefix --stream --min-mod-rev=3", "f3 --stream --rev=9999",
		"f f4 --prefix", "f --prefix --from-key", "", "'' '' '' ''",
	} {
		steps = append(steps, step{args: "get " + options})
	}
	for _, by := range []string{"CREATE", "KEY", "MODIFY", "VALUE", "VERSION"} {
		for _, order := range []string{"ASCEND", "DESCEND"} {
			steps = append(steps, step{args: "get f --prefix --sort-by=" + by + " --order=" + order})
		}
	}
	return append(steps,
		step{args: "get f --prefix --sort-by=MODIFY --limit=2"}, step{args: "get f --prefix --order=DESCEND --limit=3 --keys-only"},
		step{args: "get f --prefix --sort-by=COLOUR"}, step{args: "get f --prefix --order=SIDEWAYS"})
}

func transactions() []step {
	interactive := "mod(\"f1\") > \"0\"\nvalue(\"f5\") = \"aa\"\n\nput t1 then\nget f1\ndel f9\n\nput t1 else\n\n"
	return []step{
		{args: "txn", stdin: interactive},
		{args: "txn --interactive", stdin: interactive},
		{args: "txn -w json", stdin: interactive},
		{args: "txn -w fields", stdin: interactive},
		{args: "txn -w table", stdin: interactive},
		{args: "txn", stdin: "version(\"t1\") = \"0\"\n\nput t1 then\n\nget t1\nput t2 else --prev-kv\nget f --prefix --limit=2\n\n"},
		{args: "txn", stdin: "create(\"t1\") < \"3\"\nversion(\"t1\") > \"1\"\n\n\ndel t1 --prev-kv\n\n"},
		{args: "txn", stdin: "\nput d 1\nput d 2\n\n\n"},
		{args: "txn", stdin: "\nput d 1\ndel a z\n\n\n"},
		{args: "txn", stdin: "\nput\n\n\n"},
	}
}

func deletions() []step {
	return []step{
		{args: "del nobody"},
		{args: "del f1"},
		{args: "del f2 --prev-kv"},
		{args: "put f1 again"},
		{args: "get f1 -w fields"},
		{args: "del f1 -w json --prev-kv"},
		{args: "del f1 f4"},
		{args: "del f1 f4 --range"},
		{args: "put g1 x"}, {args: "put g2 y"},
		{args: "del g --prefix --prev-kv -w fields"},
		{args: "del t --prefix"},
		{args: "put z1 x"},
		{args: "del z --from-key"},
		{args: "del a b --prefix"},
		{args: "del a --prefix --from-key"},
		{args: "del"},
	}
}

// hashes come before any lease, whose id would be hashed.
func hashes() []step {
	return []step{
		{args: "endpoint hashkv", at: all},
		{args: "endpoint hashkv --rev=9 -w json", at: all},
		{args: "endpoint hashkv -w table"},
		{args: "endpoint hashkv --rev=9999"},
		{args: "compaction 5"},
		{args: "compaction 5"},
		{args: "compaction 9 --physical"},
		{args: "compaction 9999"},
		{args: "compaction 0"},
		{args: "compaction many"},
		{args: "compaction"},
		{args: "get f3 --rev=8"},
		{args: "get f3 --rev=9"},
		{args: "endpoint hashkv -w json", at: all},
		{args: "endpoint hashkv --rev=5"},
		{args: "endpoint hashkv --cluster -w fields", mask: unordered()},
	}
}

func watches() []step {
	return []step{
		{args: "put w/1 one"}, {args: "put w/2 two"}, {args: "put w/1 uno"}, {args: "del w/2"}, {args: "put w/3 last"},
		{args: "watch w/1 --rev=10", until: "uno\n"},
		{args: "watch w/ --prefix --rev=10", until: "last\n"},
		{args: "watch w/ --prefix --rev=10 --prev-kv", until: "last\n"},
		{args: "watch w/ --prefix --rev=10 -w json", until: "bGFzdA"},
		{args: "watch w/ --prefix --rev=10 -w fields", until: "\"last\""},
		{args: "watch w/1 w/3 --rev=10", until: "DELETE\nw/2\n"},
		{args: "watch w/1 --rev=10 -- sh -c 'echo $ETCD_WATCH_KEY $ETCD_WATCH_EVENT_TYPE $ETCD_WATCH_VALUE; echo end-$ETCD_WATCH_VALUE'", until: "end-\"uno\""},
		{args: "watch -i", stdin: "watch w/3 --rev=10\n", until: "last\n"},
		{args: "watch w/1 --rev=3"}, // compacted
		{args: "watch"},
		{args: "watch w --prefix --rev=x"},
	}
}

func leases() []step {
	return []step{
		{args: "lease list"},
		{args: "lease grant 600", capture: `lease ([0-9a-f]{16})`, as: "lease"},
		{args: "lease list"},
		{args: "lease list -w json"},
		{args: "lease grant 600 -w json"},
		{args: "lease grant 600 -w fields"},
		{args: "lease grant 1"},
		{args: "lease grant 0"},
		{args: "lease grant 9000000001"},
		{args: "lease grant long"},
		{args: "put l1 v --lease={lease}"},
		{args: "put l2 v --lease={lease}"},
		{args: "get l1 -w json"},
		{args: "put l2 w --ignore-lease -w json --prev-kv"},
		{args: "lease timetolive {lease}", mask: leaseMasks()},
		{args: "lease timetolive {lease} --keys", mask: leaseMasks()},
		{args: "lease timetolive {lease} --keys -w json", mask: leaseMasks()},
		{args: "lease timetolive {lease} --keys -w fields", mask: leaseMasks()},
		{args: "lease timetolive 1234 --keys"},
		{args: "lease timetolive 1234 -w json"},
		{args: "lease keep-alive --once {lease}"},
		{args: "lease keep-alive --once {lease} -w json"},
		{args: "lease keep-alive --once 1234"},
		{args: "lease keep-alive {lease}", until: "keepalived"},
		{args: "lease keep-alive 1234"},
		{args: "lease keep-alive xyz"},
		{args: "lease revoke {lease}"},
		{args: "lease revoke {lease}"},
		{args: "lease timetolive {lease} --keys"},
		{args: "get l --prefix"},
		{args: "lease grant 600", capture: `lease ([0-9a-f]{16})`, as: "second"},
		{args: "put l3 v --lease={second}"},
		{args: "lease revoke {second} -w json"},
		{args: "lease revoke"},
	}
}

func concurrency() []step {
	return []step{
		{args: "lock mutex sh -c 'echo held'"},
		{args: "lock mutex -- sh -c 'echo $ETCD_LOCK_KEY $ETCD_LOCK_REV'"},
		{args: "lock mutex sh -c 'exit 3'"},
		{args: "lock mutex", until: "mutex/", during: []step{{args: "get mutex --prefix --keys-only"}}},
		{args: "get mutex --prefix"},
		{args: "lock mutex --ttl=5 -w json", until: "bXV0ZXgv", mask: sessionKeys()},
		{args: "lock"},
		{args: "elect office alice", until: "alice\n", during: []step{
			{args: "elect office --listen", until: "alice\n"},
			{args: "elect office --listen -w json", until: "YWxpY2U", mask: sessionKeys()},
			{args: "get office --prefix"},
		}},
		{args: "get office --prefix"},
		{args: "elect office"},
		{args: "elect"},
		{args: "lease list"},
	}
}

func mirrors() []step {
	return []step{
		{args: "put s/1 a"}, {args: "put s/2 b"},
		{args: "make-mirror --prefix=s/ --dest-prefix=d/ {m2-client}", during: []step{
			{args: "get d/ --prefix", repeat: "d/2\nb\n"},
			{args: "put s/3 c"},
			{args: "get d/ --prefix", repeat: "d/3\nc\n"},
			{args: "del s/1"},
			{args: "get d/ --prefix --keys-only --limit=1", repeat: "d/2\n"},
		}},
		{args: "make-mirror"},
	}
}

func maintenance() []step {
	return []step{
		{args: "alarm list"},
		{args: "alarm disarm"},
		{args: "alarm list -w json"},
		{args: "alarm disarm -w fields"},
		{args: "alarm"},
		{args: "endpoint health", at: all, mask: unordered()},
		{args: "endpoint health -w json"},
		{args: "endpoint health --cluster -w table", mask: unordered()},
		{args: "endpoint status", mask: statusColumns()},
		{args: "endpoint status -w json", mask: statusColumns()},
		{args: "endpoint status -w fields", mask: statusColumns()},
		{args: "endpoint status -w table", at: all, mask: statusColumns()},
		{args: "defrag"},
		{args: "defrag --cluster", mask: unordered()},
		{args: "snapshot save"},
		{args: "snapshot save backup.db", mask: []mask{{`snapshot size.*`, "", "another format"}}},
		{args: "snapshot save", at: all},
		{args: "snapshot save backup.db", at: all},
		{args: "snapshot save missing/backup.db"},
	}
}

func members() []step {
	return []step{
		{args: "member list", mask: unordered()},
		{args: "member list --consistency=s -w json", mask: unorderedJSON()},
		{args: "member list -w fields", mask: unordered()},
		{args: "member list -w table", mask: unordered()},
		{args: "member add m4"},
		{args: "member add m4 --peer-urls={m1-peer}"},
		{args: "member add m4 --peer-urls={m4-peer} --learner", capture: `Member +([0-9a-f]+) added`, as: "m4", mask: unorderedCluster()},
		{args: "member promote {m4}"},
		{args: "member add m5 --peer-urls=http://127.0.0.1:1 --learner"},
		{start: true},
		{args: "member promote {m4}", repeat: "promoted"},
		{args: "member promote {m4}"},
		{args: "member list", mask: unordered()},
		{args: "member update {m4} --peer-urls={m4-peer},http://127.0.0.1:1"},
		{args: "member update {m4}"},
		{args: "member update 1234 --peer-urls=http://127.0.0.1:2"},
		{args: "member remove {m4}"},
		{args: "member remove {m4}"},
		{args: "member promote 1234"},
		{args: "member remove 1234"},
		{args: "member remove"},
		{args: "member list", mask: unordered()},
	}
}

func leaders() []step {
	return []step{
		{args: "move-leader {other}", at: follower, mask: []mask{{`<m\d-client>`, "<follower>", "who leads is by chance"}}},
		{args: "move-leader 1234", at: leader},
		{args: "move-leader", at: leader},
		{args: "move-leader {other}", at: leader, repeat: "transferred", mask: []mask{{`from \S+ to \S+`, "from one to another", "who leads is by chance"}}},
		{args: "endpoint status", mask: statusColumns()},
	}
}

func downgrades() []step {
	return []step{
		{args: "downgrade validate 3.6"},
		{args: "downgrade validate 3.6 -w json"},
		{args: "downgrade validate 3.5"},
		{args: "downgrade validate 3.7"},
		{args: "downgrade validate three"},
		{args: "downgrade validate"},
		{args: "downgrade cancel"},
		{args: "downgrade enable 3.5"},
		{args: "downgrade enable 3.6"},
		// etcd takes some seconds until the version of the cluster is another one,
		// raft-kv none.
		{args: "downgrade enable 3.6", repeat: "invalid downgrade target version"},
		{args: "downgrade cancel"},
		{args: "downgrade cancel", repeat: "cluster version 3.7"},
		{args: "get w/1 -w json"},
	}
}
