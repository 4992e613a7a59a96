package main

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"

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
	assert.False(t, systemHasAuthorities())
	trustAuthorities()
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

// TestBundleFiles holds the files against those that crypto/x509 reads, whose order counts as well.
func TestBundleFiles(t *testing.T) {
	root, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	require.NoError(t, err)
	source, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(root)), "src", "crypto", "x509", "root_linux.go"))
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(source), "var certFiles = []string{")
	require.True(t, found)
	list, _, _ := strings.Cut(rest, "\n}")
	var want []string
	for _, literal := range regexp.MustCompile(`(?m)^\t"([^"]+)",`).FindAllStringSubmatch(list, -1) {
		want = append(want, literal[1])
	}
	assert.Equal(t, want, bundleFiles)
}

// someCertificate is a certificate in PEM.
func someCertificate() string {
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
}

func TestSystemHasAuthorities(t *testing.T) {
	file := filepath.Join(t.TempDir(), "authorities.pem")
	t.Setenv("SSL_CERT_FILE", file)
	assert.False(t, systemHasAuthorities(), "no file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	assert.False(t, systemHasAuthorities(), "none in it")
	require.NoError(t, os.WriteFile(file, []byte(someCertificate()), 0o600))
	assert.True(t, systemHasAuthorities())
	t.Setenv("SSL_CERT_FILE", t.TempDir())
	assert.False(t, systemHasAuthorities(), "a directory")
}

func TestHoldsCertificate(t *testing.T) {
	certificate := someCertificate()
	for _, c := range []struct {
		name, text string
		want       bool
	}{
		{"a certificate", certificate, true},
		{"after a comment", "# Somebody's\n" + certificate, true},
		{"after what is none", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("none")})) + certificate, true},
		{"cut off", certificate[:len(certificate)-30], false},
		{"nothing", "", false},
		{"something else", "nothing here\n", false},
		{"far away", strings.Repeat("#\n", 8<<10) + certificate, false},
	} {
		assert.Equal(t, c.want, holdsCertificate(strings.NewReader(c.text)), c.name)
	}
	assert.False(t, holdsCertificate(iotest.ErrReader(errors.New("unreadable"))))
}
