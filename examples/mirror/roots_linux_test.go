package main

import (
	"crypto/x509"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// TestAuthoritiesWhereTheSystemHasNone verifies Mozilla's authorities by themselves, in a process
// that finds no others: it reads those of the system once.
func TestAuthoritiesWhereTheSystemHasNone(t *testing.T) {
	const nowhere, child = "/nowhere", "MIRROR_TEST_WITHOUT_AUTHORITIES"
	if os.Getenv(child) == "" {
		again := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
		again.Env = append(os.Environ(), child+"=1", "SSL_CERT_FILE="+nowhere, "SSL_CERT_DIR="+nowhere)
		output, err := again.CombinedOutput()
		require.NoError(t, err, string(output))
		return
	}
	verified := 0
	for root := range bundle.Roots() {
		if root.Constraint != nil {
			continue // it vouches for certificates of some age only
		}
		certificate, err := x509.ParseCertificate(root.Certificate)
		require.NoError(t, err)
		_, err = certificate.Verify(x509.VerifyOptions{CurrentTime: certificate.NotAfter})
		assert.NoError(t, err, certificate.Subject)
		verified++
	}
	assert.Greater(t, verified, 50)
}
