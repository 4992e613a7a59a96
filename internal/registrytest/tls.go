package registrytest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sparsecopy/sparsecopy/internal/clock"
)

// certificates are those of one registry, all signed by an authority of its own.
type certificates struct {
	authority tls.Certificate
	server    tls.Certificate
	client    tls.Certificate
	pool      *x509.CertPool // of the authority
}

// newCertificates returns nil without TLS.
func newCertificates(o Options) *certificates {
	if !o.TLS {
		return nil
	}
	return issueAll(issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: "registrytest authority"},
		IsCA:    true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil))
}

// issueAll returns the certificates that an authority signs.
func issueAll(authority tls.Certificate) *certificates {
	c := &certificates{authority: authority, pool: x509.NewCertPool()}
	c.pool.AddCert(authority.Leaf)
	c.server = issue(&x509.Certificate{
		Subject:  pkix.Name{CommonName: "registrytest server"},
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, &authority)
	c.client = issue(&x509.Certificate{
		Subject:  pkix.Name{CommonName: "registrytest client"},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, &authority)
	return c
}

// RenewCertificate restarts the registry with another certificate, of another authority if so.
// Without TLS it panics.
func (r *Registry) RenewCertificate(otherAuthority bool) {
	if otherAuthority {
		r.certs = newCertificates(r.opts)
	} else {
		r.certs = issueAll(r.certs.authority)
	}
	r.Restart()
}

// issue makes a certificate from a template, signed by parent, or by itself if parent is nil.
func issue(template *x509.Certificate, parent *tls.Certificate) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	template.SerialNumber = big.NewInt(clock.System.Now().UnixNano())
	template.NotBefore = clock.System.Now().Add(-time.Hour)
	template.NotAfter = clock.System.Now().Add(24 * time.Hour)
	signer, signerKey := template, any(key)
	if parent != nil {
		signer, signerKey = parent.Leaf, parent.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer, &key.PublicKey, signerKey)
	must(err)
	leaf, err := x509.ParseCertificate(der)
	must(err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// must panics on errors that have no cause in a test: no random numbers, a wrong template.
func must(err error) {
	if err != nil {
		panic(fmt.Sprintf("registrytest: %v", err))
	}
}

// configure sets up a server for TLS and its protocols; c is nil without TLS.
func (c *certificates) configure(s *http.Server, o Options) {
	s.Protocols = new(http.Protocols)
	s.Protocols.SetHTTP1(true)
	if c == nil {
		return
	}
	s.Protocols.SetHTTP2(o.HTTP2)
	s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{c.server}}
	if o.RequireClientCert {
		s.TLSConfig.ClientCAs = c.pool
		s.TLSConfig.ClientAuth = tls.RequireAndVerifyClientCert
	}
}

// ClientTLS is the configuration of a client that trusts the registry and has the client
// certificate; nil without TLS.
func (r *Registry) ClientTLS() *tls.Config {
	if r.certs == nil {
		return nil
	}
	return &tls.Config{RootCAs: r.certs.pool, Certificates: []tls.Certificate{r.certs.client}}
}

// CA is the certificate of the registry's authority as PEM; nil without TLS.
func (r *Registry) CA() []byte {
	if r.certs == nil {
		return nil
	}
	return encodePEM("CERTIFICATE", r.certs.authority.Leaf.Raw)
}

// WriteCertsDir makes dir/host:port with what clients need to trust the registry: ca.crt, and with
// RequireClientCert also client.cert and client.key. Other registries may write to the same dir,
// which is then one certs.d directory (containers-certs.d(5)). Without TLS it makes an empty
// directory.
func (r *Registry) WriteCertsDir(dir string) error {
	for _, s := range []*server{r.main, r.second} {
		if s == nil {
			continue
		}
		if err := r.writeCerts(filepath.Join(dir, s.host)); err != nil {
			return err
		}
	}
	return nil
}

func (r *Registry) writeCerts(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil || r.certs == nil {
		return err
	}
	files := map[string][]byte{"ca.crt": r.CA()}
	if r.opts.RequireClientCert {
		key, err := x509.MarshalPKCS8PrivateKey(r.certs.client.PrivateKey)
		if err != nil {
			return err
		}
		files["client.cert"] = encodePEM("CERTIFICATE", r.certs.client.Certificate[0])
		files["client.key"] = encodePEM("PRIVATE KEY", key)
	}
	for _, name := range sortedKeys(files) {
		if err := os.WriteFile(filepath.Join(dir, name), files[name], 0o600); err != nil {
			return err
		}
	}
	return nil
}

func encodePEM(what string, der []byte) []byte {
	return []byte(strings.TrimSpace(string(pem.EncodeToMemory(&pem.Block{Type: what, Bytes: der}))) + "\n")
}
