// Package web serves HTTP/1.1 on the client port: /version, /health, /livez,
// /readyz, /metrics, etcd's JSON gateway under /v3/, and a REST interface to
// the keys under /kv/.
//
//	PUT    /kv/KEY          the body is the value; ?lease=ID attaches a lease
//	GET    /kv/KEY          the value; 404 if the key is missing
//	GET    /kv/KEY?prefix   keys that start with KEY, as JSON; ?limit, ?from,
//	                        ?keys_only=true
//	DELETE /kv/KEY          deletes the key; ?prefix what starts with it
//
// Reads take ?serializable=true. Percent-encoding reaches every key: the path
// behind /kv/ is decoded as a whole, and neither "//" nor ".." is resolved.
// Errors are JSON: code and status of gRPC, and a message.
//
// What it does not do: it holds no state and has no rules of its own. REST and
// gateway call the gRPC services in process, so validation, authorisation,
// deadlines and errors are theirs. TLS is terminated below it. It sends no CORS
// headers, so that a page of another origin can write nothing through /kv/.
//
// Guarantees
//
//  1. A request body is read up to the maximum request size (a third more
//     where JSON carries base64), and never further.
//  2. A listing holds at most listBytesMax of data and says in "more" and
//     "next" that it was cut; all of it is read at one revision.
//  3. A value is answered as application/octet-stream with nosniff: what one
//     user stored is not run in the browser of another.
//
// No goroutines of its own; handlers run on net/http's.
package web
