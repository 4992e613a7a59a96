package main

import (
	"crypto/x509"
	"encoding/pem"
	"io"
	"os"
	"runtime"
	"strings"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// trustAuthorities makes the program trust Mozilla's authorities as of its build where the system
// has none, as in an image of this program alone, or where x509usefallbackroots of GODEBUG asks for
// that. It has to be called before anything is verified.
func trustAuthorities() {
	if !strings.Contains(os.Getenv("GODEBUG"), "x509usefallbackroots") && systemHasAuthorities() {
		return // parsing more than a hundred certificates would take longer than many a command
	}
	x509.SetFallbackRoots(mozillaAuthorities())
}

// mozillaAuthorities are those that this Go can parse: a certificate that it cannot makes no other
// less trusted.
func mozillaAuthorities() *x509.CertPool {
	pool := x509.NewCertPool()
	for root := range bundle.Roots() {
		certificate, err := x509.ParseCertificate(root.Certificate)
		if err != nil {
			continue
		}
		if root.Constraint == nil {
			pool.AddCert(certificate)
		} else {
			pool.AddCertWithConstraint(certificate, root.Constraint)
		}
	}
	return pool
}

// bundleFiles are where crypto/x509 looks for the system's authorities on Linux, in its order: the
// first that can be read counts.
var bundleFiles = []string{
	"/etc/ssl/certs/ca-certificates.crt",
	"/etc/pki/tls/certs/ca-bundle.crt",
	"/etc/ssl/ca-bundle.pem",
	"/etc/pki/tls/cacert.pem",
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
	"/etc/ssl/cert.pem",
}

// systemHasAuthorities reports whether crypto/x509 is certain to find authorities of the system's,
// or asks the system itself. False says that it may find none.
func systemHasAuthorities() bool {
	switch runtime.GOOS {
	case "windows", "darwin", "ios":
		return true
	case "linux":
		files := bundleFiles
		if file := os.Getenv("SSL_CERT_FILE"); file != "" {
			files = []string{file}
		}
		for _, name := range files {
			if file, err := os.Open(name); err == nil {
				defer file.Close()
				return holdsCertificate(file)
			}
		}
	}
	return false
}

// holdsCertificate reports whether there is a certificate at the beginning of r, by the rules of
// crypto/x509. It parses none behind the first good one.
func holdsCertificate(r io.Reader) bool {
	const beginning = 8 << 10
	text, err := io.ReadAll(io.LimitReader(r, beginning))
	if err != nil {
		return false
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" || len(block.Headers) > 0 {
			continue
		}
		if _, err := x509.ParseCertificate(block.Bytes); err == nil {
			return true
		}
	}
	return false
}
