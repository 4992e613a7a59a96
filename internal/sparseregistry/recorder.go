package sparseregistry

import (
	"bytes"
	"errors"
	"maps"
	"net/http"
)

var errRecorderFull = errors.New("response is larger than expected")

// A recorder is a ResponseWriter that holds a small response in memory.
type recorder struct {
	limit    int // bytes of body that are held; what is beyond fails
	status   int // 0 until the header is written
	header   http.Header
	sent     http.Header // header when it was written
	body     bytes.Buffer
	overflow bool // something was beyond limit
}

func newRecorder(limit int) *recorder {
	return &recorder{limit: limit, header: http.Header{}}
}

func (r *recorder) Header() http.Header { return r.header }

func (r *recorder) WriteHeader(status int) {
	if r.status != 0 || status < 200 { // informational responses are only for the client's connection
		return
	}
	r.status, r.sent = status, r.header.Clone()
}

func (r *recorder) Write(p []byte) (int, error) {
	r.finish()
	if r.body.Len()+len(p) > r.limit {
		r.overflow = true
		return 0, errRecorderFull
	}
	return r.body.Write(p)
}

// finish does what net/http does for a handler that returns without having written anything.
func (r *recorder) finish() { r.WriteHeader(http.StatusOK) }

// replay sends what was recorded.
func (r *recorder) replay(w http.ResponseWriter) {
	r.finish()
	maps.Copy(w.Header(), r.sent)
	w.WriteHeader(r.status)
	_, _ = w.Write(r.body.Bytes()) // only the client can make it fail, by leaving
}
