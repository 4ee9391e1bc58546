"""Every verb of Debian's python3-etcd3, against the endpoints host:port given.

Prints one line for each verb that did what it should; any surprise ends it with
a traceback. It writes below "py/" and leaves the members as it found them.
"""

import hashlib
import io
import queue
import sys
import time

import etcd3
import grpc

WAIT_S = 30


def connect(endpoint):
    host, port = endpoint.rsplit(":", 1)
    return etcd3.client(host=host, port=int(port), timeout=WAIT_S)


def same(got, want):
    assert got == want, "got %r, want %r" % (got, want)


def pairs(found):
    return [(meta.key, value) for value, meta in found]


def ok(verb):
    print("ok", verb, flush=True)


def healthy(change):
    """Makes a change that members refuse until they have been connected for 5 s."""
    end = time.monotonic() + WAIT_S
    while True:
        try:
            return change()
        except etcd3.exceptions.ConnectionFailedError as e:
            if "unhealthy cluster" not in str(e.__cause__ or e.__context__) or time.monotonic() > end:
                raise
            time.sleep(0.5)


def keys_and_values(a, b):
    a.put("py/name", "Alice")
    value, meta = b.get("py/name")
    same((value, meta.key, meta.version), (b"Alice", b"py/name", 1))
    same(a.get("py/nothing"), (None, None))
    same(b.get("py/name", serializable=False)[0], b"Alice")
    same(a.put("py/name", "Bob", prev_kv=True).prev_kv.value, b"Alice")
    same(b.get("py/name")[1].version, 2)
    ok("put, get")
    for key in ("py/c/1", "py/c/2", "py/c/3"):
        a.put(key, key.upper())
    want = [(b"py/c/%d" % i, b"PY/C/%d" % i) for i in (1, 2, 3)]
    same(pairs(b.get_prefix("py/c/")), want)
    same(pairs(b.get_prefix("py/c/", sort_order="descend")), want[::-1])
    same(pairs(b.get_range("py/c/1", "py/c/3")), want[:2])
    same([k for k, _ in pairs(b.get_prefix("py/c/", keys_only=True))], [k for k, _ in want])
    assert set(want) <= set(pairs(b.get_all())), "get_all lacks keys"
    ok("get_prefix, get_range, get_all")
    same((a.delete("py/c/1"), a.delete("py/c/1")), (True, False))
    same(a.delete("py/c/2", prev_kv=True, return_response=True).prev_kvs[0].value, b"PY/C/2")
    same(a.delete_prefix("py/c/").deleted, 1)
    ok("delete, delete_prefix")


def transactions(a, b):
    same((a.put_if_not_exists("py/t", "1"), b.put_if_not_exists("py/t", "2")), (True, False))
    same((b.replace("py/t", "1", "3"), a.replace("py/t", "1", "4")), (True, False))
    ok("put_if_not_exists, replace")
    t = a.transactions
    done, got = a.transaction(
        compare=[t.value("py/t") == "3", t.version("py/t") > 1, t.mod("py/t") > 1, t.create("py/t") > 0],
        success=[t.put("py/u", "x"), t.get("py/t"), t.delete("py/t")],
        failure=[t.get("py/t")])
    same((done, got[1][0][0]), (True, b"3"))
    done, got = b.transaction(compare=[t.version("py/t") > 0], success=[], failure=[t.get("py/u")])
    same((done, got[0][0][0]), (False, b"x"))
    ok("transaction")


def watches(a, b):
    revision = a.put("py/w/0", "0").header.revision
    events, cancel = b.watch_prefix("py/w/", start_revision=revision)
    a.put("py/w/1", "1")
    a.delete("py/w/1")
    first = [next(events) for _ in range(3)]
    cancel()
    same([type(e).__name__ for e in first], ["PutEvent", "PutEvent", "DeleteEvent"])
    same([(e.key, e.value) for e in first], [(b"py/w/0", b"0"), (b"py/w/1", b"1"), (b"py/w/1", b"")])
    same(list(events), [])
    ok("watch_prefix, cancel")
    seen = queue.Queue()
    number = b.add_watch_callback("py/w/2", seen.put, prev_kv=True)
    a.put("py/w/2", "old")
    a.put("py/w/2", "new")
    got = []
    while len(got) < 2:
        got += seen.get(timeout=WAIT_S).events
    b.cancel_watch(number)
    same([(e.value, e.prev_value) for e in got], [(b"old", b""), (b"new", b"old")])
    ok("add_watch_callback, prev_kv, cancel_watch")
    # The watch begins at a revision, so nothing depends on which comes first.
    revision = a.put("py/w/3", "once").header.revision
    same(b.watch_once("py/w/3", timeout=WAIT_S, start_revision=revision).value, b"once")
    ok("watch_once")


def leases(a, b):
    lease = a.lease(600)
    a.put("py/l/1", "x", lease=lease)
    same((lease.granted_ttl, lease.keys), (600, [b"py/l/1"]))
    assert 500 < lease.remaining_ttl <= 600, lease.remaining_ttl
    same(lease.refresh()[0].TTL, 600)
    same(b.get_lease_info(lease.id).grantedTTL, 600)
    lease.revoke()
    same(b.get("py/l/1"), (None, None))
    same(b.get_lease_info(lease.id).TTL, -1)
    ok("lease, refresh, info, revoke")
    short = a.lease(1, lease_id=77)
    same(short.id, 77)
    revision = a.put("py/l/2", "gone soon", lease=short).header.revision
    events, cancel = b.watch("py/l/2", start_revision=revision + 1)
    same(type(next(events)).__name__, "DeleteEvent")
    cancel()
    ok("lease expires")


def locks(a, b):
    # Waiting for a lock fails in Debian's package itself (its etcd3 calls another
    # version of tenacity), so only what needs no waiting is asked of it.
    other = b.lock("py", ttl=60)
    with a.lock("py", ttl=60) as held:
        assert held.is_acquired() and not other.is_acquired()
        same(b.get("/locks/py")[0], held.uuid)
        same(held.refresh()[0].TTL, 60)
    same(b.get("/locks/py")[0], None)
    same((other.acquire(), held.is_acquired(), other.release()), (True, False, True))
    ok("lock")


def cluster(a, b):
    members = list(a.members)
    same((len(members), sorted(m.name for m in members)), (3, ["1", "2", "3"]))
    assert all(m.peer_urls and m.client_urls for m in members)
    same([list(m.active_alarms) for m in members], [[], [], []])
    status = b.status()
    assert status.leader.id in {m.id for m in members} and status.db_size > 0 and status.version.startswith("3.7."), status.version
    ok("members, status")
    # The client asks for what the member itself knows, so it is the same member.
    added = healthy(lambda: a.add_member(["http://localhost:1"]))
    same((added.name, list(added.peer_urls)), ("", ["http://localhost:1"]))
    a.update_member(added.id, ["http://localhost:2"])
    same([list(m.peer_urls) for m in a.members if m.id == added.id], [["http://localhost:2"]])
    a.remove_member(added.id)
    same(len(list(a.members)), 3)
    ok("add_member, update_member, remove_member")
    same([alarm.alarm_type for alarm in a.create_alarm()], [1])
    same(len(list(b.list_alarms())), 1)
    same(len(list(a.disarm_alarm())), 1)
    same(list(b.list_alarms()), [])
    ok("alarms")


def maintenance(a, b):
    revision = a.put("py/m", "1").header.revision
    a.put("py/m", "2")
    a.compact(revision + 1, physical=True)
    try:
        a.compact(revision)
    except grpc.RpcError as e:  # the client passes on what gRPC says
        same(e.details(), "etcdserver: mvcc: required revision has been compacted")
    else:
        raise AssertionError("compacted twice")
    ok("compact")
    a.defragment()
    ok("defragment")
    assert isinstance(a.hash(), int)
    ok("hash")
    file = io.BytesIO()
    a.snapshot(file)
    body, trailer = file.getvalue()[:-32], file.getvalue()[-32:]
    same(hashlib.sha256(body).digest(), trailer)
    ok("snapshot")


def main():
    endpoints = sys.argv[1:]
    a, b = connect(endpoints[0]), connect(endpoints[-1])
    a.delete_prefix("py/")
    for part in (keys_and_values, transactions, watches, leases, locks, cluster, maintenance):
        part(a, b)
    a.close()
    b.close()
    print("done")


main()
