package registrygc_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/examples/internal/registrygc"
)

// TestWhatIsElsewhereStays: of what is behind a symbolic link that leads nowhere, such as a disk
// that is not mounted, or has a file in its place, nobody knows what it needs.
func TestWhatIsElsewhereStays(t *testing.T) {
	for _, of := range []string{
		"", "_manifests", "_manifests/tags", "_manifests/tags/v1", "_manifests/tags/v1/current", "_manifests/revisions", "_layers", "_layers/sha256",
	} {
		for what, put := range map[string]func(string) error{
			"link": func(path string) error { return os.Symlink("nowhere", path) },
			"file": func(path string) error { return os.WriteFile(path, nil, 0o600) },
		} {
			if what == "file" && (of == "" || of == "_manifests" || of == "_layers/sha256") {
				continue // which cannot have been a repository's
			}
			t.Run(what+" in place of "+of, func(t *testing.T) {
				r := newDirectory(t)
				r.push("app", "v1", image("", r.pushBlob("app", "{}"), r.pushBlob("app", "layer")))
				path := filepath.Join(r.store.Directory(), "docker/registry/v2/repositories/app", of)
				require.NoError(t, os.RemoveAll(path))
				require.NoError(t, put(path))
				plan, err := registrygc.MakePlan(t.Context(), r.store, registrygc.Options{Untagged: true}, time.Now().Add(time.Hour))
				if err == nil {
					assert.NotEmpty(t, plan.Damage)
					assert.Empty(t, plan.Blobs)
				}
			})
		}
	}
}
