package endpoint

// A DocumentCache keeps what registries have handed out, so that it need not be read again:
// manifests, lists, and blobs small enough to be held, such as signatures; and what tags named
// last. Keys say what is kept, and of which repository; they are text of any length.
//
// It is asked for bytes alone. Whoever uses it asks the registry first what is there, and verifies
// what it gets against its digest: content that is lost, or is not what was put, costs requests and
// nothing else. Who can read it sees what was read with the credentials of whoever filled it.
//
// Its methods are safe for concurrent use, and none of them fails: what cannot be kept is not there
// later.
type DocumentCache interface {
	// Get returns what is kept under key, nil if that is nothing. Nobody may change it.
	Get(key string) []byte
	// Put keeps content under key, in place of what was there. Nobody may change content
	// afterwards.
	Put(key string, content []byte)
	// Remove forgets what is kept under key.
	Remove(key string)
}
