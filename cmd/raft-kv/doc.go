// Command raft-kv runs one member of a raft-kv cluster, or a whole cluster in
// one terminal (raft-kv demo).
//
// It only translates: flags, environment and YAML into a server.Config, events
// into lines, the end of a member into an exit code (0 stopped as told, 1
// failed, 2 wrong usage, 3 removed from the cluster). And since the process is
// its own, it sets the limit of the heap and governs the processors for all its
// members.
//
// # Where settings come from
//
// Every flag of the long form is one of etcd's, with its meaning. A setting is
// taken from the command line, else from $RAFTKV_NAME_OF_FLAG, else from
// $ETCD_NAME_OF_FLAG, else it has its default; of a flag that is repeated the
// last one counts. With --config-file the file counts alone, as in etcd: other
// flags and the environment are ignored. Its keys are the names of flags, and
// etcd's sections client-transport-security and peer-transport-security.
//
// Nothing is ignored silently. A flag of etcd whose capability is still to come
// is refused, except with the value that asks for nothing; one that has nothing
// to set here (settings of bbolt, say) is accepted with a warning; whatever is
// unknown is refused, and only unknown variables are passed over with a warning,
// since others share those prefixes.
//
// # What is printed
//
// Started by --id and --cluster, or as a demo, a member tells its story on the
// standard output and logs warnings for people. Started with flags of etcd it
// prints nothing but JSON, a line with level, ts, caller and msg for each event,
// including why it failed; only mistakes in the usage, found before there is a
// log, are plain text. --log-format chooses otherwise.
package main
