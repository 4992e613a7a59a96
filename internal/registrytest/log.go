package registrytest

import (
	"io"
	"net/http"
	"slices"
	"sync"
	"time"
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

	Status   int   // 0 as long as nothing was answered, and if the connection was closed instead
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
	entries  []*Request // guarded by mu, the entries too
	inFlight int
	peak     int
}

// begin adds an entry, whose N it sets.
func (l *requestLog) begin(q *Request) {
	q.Start = time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n++
	q.N = l.n
	l.entries = append(l.entries, q)
	l.inFlight++
	l.peak = max(l.peak, l.inFlight)
}

func (l *requestLog) end(q *Request, status int, in, out int64, aborted bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	q.Status, q.BytesIn, q.BytesOut, q.Aborted = status, in, out, aborted
	q.End = time.Now()
	l.inFlight--
}

// Requests returns the log, in order of arrival, as it is now: entries of requests in progress have no End yet.
func (r *Registry) Requests() []Request {
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	all := make([]Request, len(r.log.entries))
	for i, q := range r.log.entries {
		all[i] = *q
	}
	return all
}

// Count returns the number of requests in the log that match; nil matches all.
func (r *Registry) Count(match func(Request) bool) int {
	all := r.Requests()
	if match != nil {
		all = slices.DeleteFunc(all, func(q Request) bool { return !match(q) })
	}
	return len(all)
}

// ResetLog empties the log and the peak. The numbers of requests, and the history of repositories, go on.
func (r *Registry) ResetLog() {
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	r.log.entries = nil
	r.log.peak = r.log.inFlight
}

// Peak returns the largest number of requests that were in progress at once since the log was reset.
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

// countingBody counts what is read of a request's body. Only the handler's goroutine reads n.
type countingBody struct {
	io.ReadCloser
	n int64
}

func (b *countingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n += int64(n)
	return n, err
}

// countingWriter notes status and size of an answer.
type countingWriter struct {
	http.ResponseWriter
	status int
	n      int64
}

func (w *countingWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *countingWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(p)
	w.n += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController find the server's own writer.
func (w *countingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
