package sparseserver

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"

	"github.com/sparsecopy/sparsecopy/internal/clock"
)

// loadCertificate reads a certificate and its key; nil stands for no TLS.
func loadCertificate(certificate, key string) (*tls.Certificate, error) {
	switch {
	case certificate == "" && key == "":
		return nil, nil
	case certificate == "" || key == "":
		return nil, errors.New("TLS needs both a certificate and a key: set --tls-certificate and --tls-key")
	}
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("certificate %s, key %s: %w", certificate, key, err)
	}
	return &pair, nil
}

// tlsConfig is that of the listener, nil for no TLS. Each new connection gets the certificate that
// is in force.
func (s *Server) tlsConfig() *tls.Config {
	if s.certificate.Load() == nil {
		return nil
	}
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.certificate.Load(), nil },
	}
}

// warnOfTime says so if clients will not take a certificate because of the time; nil is none.
func warnOfTime(certificate *tls.Certificate, log *slog.Logger) {
	if certificate == nil {
		return
	}
	now, leaf := clock.System.Now(), certificate.Leaf
	switch {
	case now.After(leaf.NotAfter):
		log.Warn("the certificate has expired", "not_after", leaf.NotAfter)
	case now.Before(leaf.NotBefore):
		log.Warn("the certificate is not valid yet", "not_before", leaf.NotBefore)
	}
}
