// Raft-cli talks to a raft-kv cluster, or to etcd, from the command line.
//
// This package is the process around the verbs of internal/verb: signals, the
// environment, where to connect, and exit codes (0 done, 1 refused or failed, 2
// wrong usage). Endpoints come from --endpoints, else from RAFTKV_ENDPOINTS,
// else they are localhost:8001 to 8003 and, only while none of these can be
// reached, localhost:2379.
//
// An interrupt ends the verb that runs; a write that was under way then says
// that its outcome is unknown.
package main
