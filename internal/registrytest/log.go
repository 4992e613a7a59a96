package registrytest

import (
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sparsecopy/sparsecopy/internal/clock"
)

// Request is an entry of the request log.
type Request struct {
	N      int // counts the requests of a registry from 1, in order of arrival
	Method string
	Kind   Kind
	Repo   string
	Ref    string // see Kind
	Path   string
	Query  string // as it was sent
	Host   string // as the client named it
	Second bool   // it came to the second server
	Proto  string // "HTTP/1.1", "HTTP/2.0"
	Remote string // address of the client, one for each connection
	Header http.Header

	Status   int   // 0 as long as no header was answered, and if the connection was closed instead
	Aborted  bool  // the answer was not completed: a connection that was closed or cut on purpose
	BytesIn  int64 // of the request's body, as far as it was read
	BytesOut int64 // of the answer's body, as far as it was written
	Start    time.Time
	End      time.Time // zero while the request is in progress
}

// Authorization is the Authorization header; "" if there was none.
func (q Request) Authorization() string { return q.Header.Get("Authorization") }

// requestLog holds what was asked, and counts what is in progress.
type requestLog struct {
	mu       sync.Mutex
	n        int
	entries  []*entry
	inFlight int
	peak     int
}

// entry is a Request of which the answer is on its way. What was answered is noted before it is
// sent, so that a client that has the answer finds it in the log.
type entry struct {
	request         Request // Status and Bytes are below; Aborted and End are guarded by the log's mu
	status, in, out atomic.Int64
	over            bool // it is not in flight any more; guarded by the log's mu
}

// snapshot is the entry as it is now. The caller holds the log's mu.
func (e *entry) snapshot() Request {
	q := e.request
	q.Status, q.BytesIn, q.BytesOut = int(e.status.Load()), e.in.Load(), e.out.Load()
	return q
}

// begin adds an entry.
func (l *requestLog) begin(q Request) *entry {
	q.Start = clock.System.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n++
	q.N = l.n
	e := &entry{request: q}
	l.entries = append(l.entries, e)
	l.inFlight++
	l.peak = max(l.peak, l.inFlight)
	return e
}

// end completes an entry.
func (l *requestLog) end(e *entry, aborted bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.request.Aborted, e.request.End = aborted, clock.System.Now()
	l.land(e)
}

// last notes that the last byte of an answer is about to be sent.
func (l *requestLog) last(e *entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.land(e)
}

// land counts an entry as in flight no more. The caller holds mu.
func (l *requestLog) land(e *entry) {
	if !e.over {
		e.over = true
		l.inFlight--
	}
}

// Requests returns the log, in order of arrival, as it is now: entries of requests in progress have
// no End yet. A client that has an answer finds its Status and BytesOut here; End and Aborted
// follow when the handler returns.
func (r *Registry) Requests() []Request {
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	all := make([]Request, len(r.log.entries))
	for i, e := range r.log.entries {
		all[i] = e.snapshot()
	}
	return all
}

// Count returns the number of requests in the log that match; nil matches all.
func (r *Registry) Count(match func(Request) bool) int {
	n := 0
	for _, q := range r.Requests() {
		if match == nil || match(q) {
			n++
		}
	}
	return n
}

// ResetLog empties the log and the peak. The numbers of requests, and the history of repositories,
// go on.
func (r *Registry) ResetLog() {
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	r.log.entries = nil
	r.log.peak = r.log.inFlight
}

// Peak returns the largest number of requests that were in progress at once since the log was
// reset. A request is in progress until the last byte of its answer is sent: from then on, its
// client may ask again, however late the handler returns.
func (r *Registry) Peak() int {
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	return r.log.peak
}

// Is matches requests with the method and of the kind; "" matches all.
func Is(method string, kind Kind) func(Request) bool {
	return func(q Request) bool {
		return (method == "" || q.Method == method) && (kind == "" || q.Kind == kind)
	}
}

// countingBody counts what is read of a request's body.
type countingBody struct {
	io.ReadCloser
	e *entry
}

func (b *countingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.e.in.Add(int64(n))
	return n, err
}

// countingWriter notes status and size of an answer.
type countingWriter struct {
	http.ResponseWriter
	log *requestLog
	e   *entry
}

func (w *countingWriter) WriteHeader(status int) {
	w.e.status.CompareAndSwap(0, int64(status))
	w.ResponseWriter.WriteHeader(status)
}

func (w *countingWriter) Write(p []byte) (int, error) {
	w.e.status.CompareAndSwap(0, http.StatusOK)
	n, err := w.send(p, w.e.out.Add(int64(len(p))))
	w.e.out.Add(int64(n - len(p))) // what was not written after all
	return n, err
}

// send writes p, up to byte out of the answer.
func (w *countingWriter) send(p []byte, out int64) (int, error) {
	if len(p) == 0 || w.Header().Get("Content-Length") != strconv.FormatInt(out, 10) {
		return w.ResponseWriter.Write(p)
	}
	n, err := w.ResponseWriter.Write(p[:len(p)-1])
	if err != nil {
		return n, err
	}
	w.log.last(w.e)
	last, err := w.ResponseWriter.Write(p[len(p)-1:])
	return n + last, err
}

// Unwrap lets http.ResponseController find the server's own writer.
func (w *countingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
