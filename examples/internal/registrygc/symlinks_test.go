package registrygc_test

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/examples/internal/registrygc"
	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
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

// TestAStorageWithoutRepositoriesStays: their directory may be that of a disk which is not mounted.
func TestAStorageWithoutRepositoriesStays(t *testing.T) {
	r := newDirectory(t)
	old := time.Now().Add(time.Hour)
	_, err := registrygc.MakePlan(t.Context(), r.store, registrygc.Options{}, old)
	require.NoError(t, err, "nothing was ever stored")
	d := r.push("app", "v1", image("", r.pushBlob("app", "{}")))
	r.must(http.StatusAccepted, http.MethodDelete, "/v2/app/manifests/"+d.String(), "", "")
	plan, err := registrygc.MakePlan(t.Context(), r.store, registrygc.Options{}, old)
	require.NoError(t, err, "all was deleted")
	assert.Len(t, plan.Blobs, 2)

	repositories := filepath.Join(r.store.Directory(), "docker/registry/v2/repositories")
	require.NoError(t, os.RemoveAll(repositories))
	require.NoError(t, os.Mkdir(repositories, 0o755))
	_, err = registrygc.MakePlan(t.Context(), r.store, registrygc.Options{}, old)
	assert.ErrorIs(t, err, registrystore.ErrNoRepositories)
	_, err = registrygc.MakePlan(t.Context(), r.store, registrygc.Options{Grace: 24 * time.Hour}, time.Now())
	assert.ErrorIs(t, err, registrystore.ErrNoRepositories, "also while all is young")
}
