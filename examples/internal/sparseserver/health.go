package sparseserver

import (
	"io"
	"net/http"
)

// Paths at which machines ask how the server is.
const (
	healthPath = "/healthz"
	readyPath  = "/readyz"
)

// withHealth serves /healthz and /readyz: 200, or 503 and the reason.
//
// /healthz is 200 while the server runs, is not stopping, and can read its storage. /readyz is for
// those who choose where to send requests: it is 503 as well while nothing can be stored, which a
// new start would not mend.
func (s *Server) withHealth(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isProbe(r) {
			next.ServeHTTP(w, r)
			return
		}
		why := s.unwell(r)
		if why == "" && r.URL.Path == readyPath && s.room != nil {
			why = s.room.why()
		}
		status, text := http.StatusOK, "ok\n"
		if why != "" {
			status, text = http.StatusServiceUnavailable, why+"\n"
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text) // only the client can make it fail, by leaving
	})
}

// unwell says why nobody should be sent to the server; "" if anybody may.
func (s *Server) unwell(r *http.Request) string {
	if s.stopping.Load() {
		return "stopping"
	}
	if err := s.registry.store.Ping(r.Context()); err != nil {
		return "storage is not readable"
	}
	return ""
}

// isProbe reports whether r asks for the health, as machines do all the time.
func isProbe(r *http.Request) bool {
	return r.URL.Path == healthPath || r.URL.Path == readyPath
}
