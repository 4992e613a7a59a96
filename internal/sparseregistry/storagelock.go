package sparseregistry

import (
	"context"
	"io"
	"net/http"
	"sync"
)

// A StorageLock keeps requests away from what removes things from the storage of a registry, and
// that from requests. The zero value is ready.
//
// Requests hold it together, from when their body has been read, and a manifest was admitted, until
// the registry behind has decided on its answer. So no client can hold it, however slow it is, and
// whoever wants it alone waits for what the registry itself has to do.
type StorageLock struct{ mu sync.RWMutex }

// Exclusive waits for the requests that hold the lock, and keeps the others waiting until release
// is called. Everything that was answered before is in the storage when it returns.
func (l *StorageLock) Exclusive() (release func()) {
	l.mu.Lock()
	return l.mu.Unlock
}

// hold lets next hold the lock while it works with the storage.
func (l *StorageLock) hold(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !usesStorage(r) {
			next.ServeHTTP(w, r)
			return
		}
		t := &turn{lock: l}
		defer t.end()
		c := r.WithContext(context.WithValue(r.Context(), turnKey{}, t))
		switch {
		case storesManifest(r): // which says itself when it begins
		case waitsForBody(r):
			c.Body = &bodyThenTurn{r.Body, t}
		default:
			t.begin()
			c.Body = http.NoBody
		}
		next.ServeHTTP(&headerWriter{ResponseWriter: w, before: func(int) { t.end() }}, c)
	})
}

// storesManifest reports whether Enforce reads the body of r, and may wait then.
func storesManifest(r *http.Request) bool {
	t, err := parseContentPath(r.URL.Path)
	return err == nil && t.Kind == Manifests && r.Method == http.MethodPut
}

// beginTurn begins the turn of a request that stores a manifest.
func beginTurn(r *http.Request) {
	if t, ok := r.Context().Value(turnKey{}).(*turn); ok {
		t.begin()
	}
}

// turnKey is the key of a request's turn in its context.
type turnKey struct{}

// usesStorage reports whether a request is for a manifest or a blob, or changes something.
func usesStorage(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return true
	}
	t, err := parseContentPath(r.URL.Path)
	return err == nil && t.Kind != ""
}

// waitsForBody reports whether the registry behind reads the body of r to its end before it uses
// the storage. Of a mount it reads none, unless it is a form, which means nothing beside the query.
func waitsForBody(r *http.Request) bool {
	switch r.Method {
	case http.MethodPut, http.MethodPatch:
		return r.Body != http.NoBody
	case http.MethodPost:
		return r.Body != http.NoBody && !r.URL.Query().Has("mount")
	default:
		return false
	}
}

// A turn is a request's share of the lock. Only the goroutine of the request uses it.
type turn struct {
	lock         *StorageLock
	begun, ended bool
}

func (t *turn) begin() {
	if !t.begun {
		t.begun = true
		t.lock.mu.RLock()
	}
}

func (t *turn) end() {
	if t.begun && !t.ended {
		t.ended = true
		t.lock.mu.RUnlock()
	}
}

// bodyThenTurn begins a turn when the body has been read to its end.
type bodyThenTurn struct {
	io.ReadCloser
	turn *turn
}

func (b *bodyThenTurn) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.turn.begin()
	}
	return n, err
}

// A headerWriter calls before when the final header is about to be sent, once.
type headerWriter struct {
	http.ResponseWriter
	before func(status int)
	done   bool
}

func (h *headerWriter) Unwrap() http.ResponseWriter { return h.ResponseWriter }

func (h *headerWriter) WriteHeader(status int) {
	if status >= 200 && !h.done {
		h.done = true
		h.before(status)
	}
	h.ResponseWriter.WriteHeader(status)
}

func (h *headerWriter) Write(p []byte) (int, error) {
	h.finish()
	return h.ResponseWriter.Write(p)
}

// ReadFrom lets the system send files itself where it can.
func (h *headerWriter) ReadFrom(r io.Reader) (int64, error) {
	h.finish()
	return io.Copy(h.ResponseWriter, r)
}

// finish does what net/http does for a handler that writes without a header.
func (h *headerWriter) finish() {
	if !h.done {
		h.WriteHeader(http.StatusOK)
	}
}
