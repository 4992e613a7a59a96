package sparseserver

import (
	"io"
	"net/http"
)

// Paths at which machines ask how the server is.
const (
	livePath   = "/livez"
	healthPath = "/healthz"
	readyPath  = "/readyz"
)

// withHealth serves /livez, /healthz and /readyz: 200, or 503 and the reason.
//
// /livez is for those who start a server anew: it is 200 while the server answers at all. /healthz
// is 503 while the server is stopping, and while it cannot read its storage or write to it, as on a
// disk that is full. /readyz is for those who send pushes: it is 503 as well while less than
// --min-free-space is left.
func (s *Server) withHealth(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isProbe(r) {
			next.ServeHTTP(w, r)
			return
		}
		why := s.unwell(r)
		status, text := http.StatusOK, "ok\n"
		if why != "" {
			status, text = http.StatusServiceUnavailable, why+"\n"
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text) // only the client can make it fail, by leaving
	})
}

// unwell says what is wrong, as far as the path of r is about that; "" for nothing.
func (s *Server) unwell(r *http.Request) string {
	switch {
	case r.URL.Path == livePath:
		return ""
	case s.stopping.Load():
		return "stopping"
	case s.registry.store.Ping(r.Context()) != nil:
		return "storage is not readable"
	case s.room == nil:
		return ""
	case r.URL.Path == readyPath:
		return s.room.why()
	}
	return s.room.whyUnwritable()
}

// isProbe reports whether r asks for the health, as machines do all the time.
func isProbe(r *http.Request) bool {
	return r.URL.Path == livePath || r.URL.Path == healthPath || r.URL.Path == readyPath
}
