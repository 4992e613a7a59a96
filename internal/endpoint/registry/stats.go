package registry

import "sync/atomic"

// Stats counts what one end did so far.
type Stats struct {
	Requests      int64 // to registries, retries and redirects' first hops included, token requests not
	TokenRequests int64
	Retries       int64 // requests, or uploads and downloads of a blob, that were tried again
	Throttled     int64 // answers 429 and 503
	BytesRead     int64 // of blobs
	BytesWritten  int64 // of blobs
	Resumed       int64 // uploads that went on where another attempt, or process, had ended
	BegunAnew     int64 // uploads that were remembered, and could not go on
}

type counters struct {
	requests, tokenRequests, retries, throttled, bytesRead, bytesWritten, resumed, begunAnew atomic.Int64
}

func (c *counters) snapshot() Stats {
	return Stats{
		Requests:      c.requests.Load(),
		TokenRequests: c.tokenRequests.Load(),
		Retries:       c.retries.Load(),
		Throttled:     c.throttled.Load(),
		BytesRead:     c.bytesRead.Load(),
		BytesWritten:  c.bytesWritten.Load(),
		Resumed:       c.resumed.Load(),
		BegunAnew:     c.begunAnew.Load(),
	}
}
