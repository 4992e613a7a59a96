package sparseserver

import (
	"net"
	"net/http"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

func (s *Server) serveMetrics(address string) error {
	if address == "" {
		return nil
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.Handler())
	s.metrics = &http.Server{Handler: mux, ReadHeaderTimeout: headerTimeout, Addr: listener.Addr().String()}
	go func() { _ = s.metrics.Serve(listener) }() // fails only when it is closed
	return nil
}
