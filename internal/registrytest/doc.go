// Package registrytest is a small real registry for tests, demonstrations and benchmarks: the OCI
// distribution specification v1.1 over net/http on a port, of loopback unless another address is
// asked for, with everything in memory.
//
// # Map
//
// New starts a Registry, Start does it for a test, NewHandler makes one without a port. All that a
// registry in the field does differently is a field of Options, so that a behaviour is a row of a
// table:
//
//	options.go    Options: the list of all behaviours
//	registry.go   Registry: start, stop, the steps that every request takes
//	route.go      paths of the protocol
//	content.go    Content: blobs in memory, computed from a seed, or hashed and thrown away
//	store.go      what is stored, and the History of how it came there
//	api.go        what tests put in and look at, without HTTP
//	log.go        Request, the log of everything that was asked
//	manifests.go  blobs.go  uploads.go  tags.go  referrers.go  capabilities.go
//	              the protocol
//	policy.go     ListPolicy: answers of registries in the field to lists whose children are missing
//	collect.go    Collect: what a registry removes that links children to a list only when it is first stored
//	answer.go     Answer and scripts: errors, broken connections, cut, stalled and damaged bodies
//	auth.go       basic and bearer authentication, accounts per namespace, the token service
//	ratelimit.go  RateLimit: how many manifests may be read
//	tls.go        certificates, certs.d directories
//	delay.go      round-trip time and a cap on downloads, injected into connections
//
// Package imagetest puts images into a Registry and checks what a copy has left in one.
//
// # Guarantees
//
// Everything is safe for concurrent use. No lock is held while the body of a request or of an
// answer is on its way, so a slow client never holds up another. Close always returns soon,
// whatever requests are still open. No handler sleeps: the injected round-trip time is in the
// connections.
//
// Content put in by methods of Registry is not checked; what arrives over HTTP is checked as the
// specification says, and as the options tighten it.
package registrytest
