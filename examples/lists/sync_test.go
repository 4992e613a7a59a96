package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/examples/internal/mirrorcmd"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// TestSync mirrors everything with the defaults of one sync file, twice: the second run finds all
// there, and writes nothing.
func TestSync(t *testing.T) {
	from := registrytest.Start(t, registrytest.Options{Strict: true})
	_, err := loadAll(from)
	require.NoError(t, err)
	to := registrytest.Start(t, registrytest.Options{})
	file := filepath.Join(t.TempDir(), "sync.yaml")
	require.NoError(t, os.WriteFile(file, []byte(syncFile(from, to)), 0o600))

	first := sync(t, file)
	for _, image := range first.Images {
		assert.Equal(t, "copied", image.Status, "%s: %s", image.Source, image.Error)
	}
	before := len(to.Requests())
	for _, image := range sync(t, file).Images {
		assert.Equal(t, "present", image.Status, image.Source)
	}
	for _, r := range to.Requests()[before:] {
		assert.Contains(t, []string{http.MethodGet, http.MethodHead}, r.Method, r.Path)
	}
}

func syncFile(from, to *registrytest.Registry) string {
	var b strings.Builder
	fmt.Fprintf(&b, "defaults:\n  destination: docker://%s/{repository}\n", to.Host())
	fmt.Fprintf(&b, "  platforms: [%s]\n  sparse: strip\n  single: copy\n", strings.Join(platforms, ", "))
	fmt.Fprint(&b, "  referrers: true\n  digest-tags: true\n  list-signatures: warn\nimages:\n")
	for _, s := range selections {
		fmt.Fprintf(&b, "- source: docker://%s/%s:%s\n", from.Host(), s.repo, s.tag)
	}
	return b.String()
}

// A syncReport is what the command reports of a run.
type syncReport struct {
	Images []struct{ Source, Status, Error string }
}

func sync(t *testing.T, file string) (report syncReport) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	status := mirrorcmd.Run(t.Context(), []string{
		"sync", "--output", "json", "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false", "--state-dir", t.TempDir(), file,
	}, strings.NewReader(""), &stdout, &stderr)
	assert.Equal(t, mirrorcmd.StatusDone, status, stderr.String())
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &report), stdout.String())
	assert.Len(t, report.Images, len(selections))
	return report
}
