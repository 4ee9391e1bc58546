// Package http2 holds raft-kv's gRPC server (rpc/h2) against what others say the
// protocols are: h2spec's cases of RFC 9113 and RFC 7541, and the gRPC project's
// own interoperability cases. It is a module of its own since both bring
// dependencies that nothing else needs.
package http2
