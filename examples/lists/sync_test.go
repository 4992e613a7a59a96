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

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/examples/internal/mirrorcmd"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// TestSync mirrors everything with the defaults of one sync file, to a registry that wants all that
// a list names, twice: the second run finds all there, and writes nothing. Then mirror verify holds
// each against its source.
func TestSync(t *testing.T) {
	from := registrytest.Start(t, registrytest.Options{Strict: true})
	_, err := loadAll(from)
	require.NoError(t, err)
	to := registrytest.Start(t, registrytest.Options{ListPolicy: registrytest.Distribution28})
	file := filepath.Join(t.TempDir(), "sync.yaml")
	require.NoError(t, os.WriteFile(file, []byte(syncFile(from, to)), 0o600))

	first := sync(t, file)
	for _, image := range first.Images {
		assert.Equal(t, "copied", image.Status, "%s: %s", image.Source, image.Error)
	}
	before := len(to.Requests())
	for i, image := range sync(t, file).Images {
		assert.Equal(t, "present", image.Status, image.Source)
		assert.Equal(t, selections[i].kind, image.Kind, image.Source)
	}
	for _, r := range to.Requests()[before:] {
		assert.Contains(t, []string{http.MethodGet, http.MethodHead}, r.Method, r.Path)
	}
	for i, image := range first.Images {
		single := map[copy.SingleImageAction]string{copy.CheckSingleImage: "check", copy.CopySingleImage: "copy"}[selections[i].single]
		mirrorCommand(t, "verify", "--platform", strings.Join(platforms, ","), "--single", single, "--sparse", "strip",
			"--referrers", "--digest-tags=all", "--list-signatures", "warn", "--blobs", image.Source, image.Destination)
	}
}

func syncFile(from, to *registrytest.Registry) string {
	var b strings.Builder
	fmt.Fprintf(&b, "defaults:\n  destination: docker://%s/{repository}\n", to.Host())
	fmt.Fprintf(&b, "  platforms: [%s]\n  sparse: strip\n", strings.Join(platforms, ", "))
	fmt.Fprint(&b, "  referrers: true\n  digest-tags: all\n  list-signatures: warn\nimages:\n")
	for _, s := range selections {
		fmt.Fprintf(&b, "- source: docker://%s/%s:%s\n", from.Host(), s.repo, s.tag)
		if s.single == copy.CopySingleImage {
			fmt.Fprint(&b, "  single: copy\n")
		}
	}
	return b.String()
}

// A syncReport is what the command reports of a run.
type syncReport struct {
	Images []struct{ Source, Destination, Status, Kind, Error string }
}

func sync(t *testing.T, file string) (report syncReport) {
	t.Helper()
	out := mirrorCommand(t, "sync", "--output", "json", "--state-dir", t.TempDir(), file)
	require.NoError(t, json.Unmarshal(out, &report), string(out))
	assert.Len(t, report.Images, len(selections))
	return report
}

// mirrorCommand runs the command mirror, which must succeed, and returns what it prints.
func mirrorCommand(t *testing.T, command string, args ...string) []byte {
	t.Helper()
	args = append([]string{command, "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false"}, args...)
	var stdout, stderr bytes.Buffer
	status := mirrorcmd.Run(t.Context(), args, strings.NewReader(""), &stdout, &stderr)
	assert.Equal(t, mirrorcmd.StatusDone, status, "%s: %s", args, stderr.String())
	return stdout.Bytes()
}
