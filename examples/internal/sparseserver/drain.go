package sparseserver

import "net/http"

// Drain begins to stop: /healthz and /readyz answer 503, and connections are closed after the next
// answer, so that whoever sends requests here can find another place for them. Everything is
// answered as before. Shutdown or Close come afterwards.
func (s *Server) Drain() { s.stopping.Store(true) }

// withDraining has clients open a new connection, which may lead them elsewhere, after each answer
// of a server that stops.
func (s *Server) withDraining(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.stopping.Load() {
			w.Header().Set("Connection", "close") // in HTTP/2, net/http makes GOAWAY of it
		}
		next.ServeHTTP(w, r)
	})
}
