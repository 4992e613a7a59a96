package sparseserver

import (
	"io"
	"net/http"
)

// withHealth serves /healthz: 200 while the server accepts requests and has its storage, else 503.
func (s *Server) withHealth(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isProbe(r) {
			next.ServeHTTP(w, r)
			return
		}
		status, text := http.StatusOK, "ok\n"
		if s.stopping.Load() {
			status, text = http.StatusServiceUnavailable, "stopping\n"
		} else if err := s.registry.store.Ping(r.Context()); err != nil {
			status, text = http.StatusServiceUnavailable, "storage is not readable\n"
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text) // only the client can make it fail, by leaving
	})
}

// isProbe reports whether r asks for the health, as machines do all the time.
func isProbe(r *http.Request) bool { return r.URL.Path == "/healthz" }
