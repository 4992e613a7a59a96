package registrystore_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
)

// TestCirclesAreNamed: what a symbolic link stands for that leads in a circle may be needed. So
// walks end there, and say which link it is.
func TestCirclesAreNamed(t *testing.T) {
	const root = "docker/registry/v2/"
	walks := map[string]func(*registrystore.Store) error{
		"repositories": func(s *registrystore.Store) error {
			return s.Repositories(t.Context(), func(string) error { return nil })
		},
		"tags": func(s *registrystore.Store) error {
			return s.Tags(t.Context(), "app", func(registrystore.Tag) error { return nil })
		},
		"revisions": func(s *registrystore.Store) error {
			return s.Revisions(t.Context(), "app", func(registrystore.Link) error { return nil })
		},
		"blobs": func(s *registrystore.Store) error {
			return s.Blobs(t.Context(), func(registrystore.Blob) error { return nil })
		},
	}
	for _, c := range []struct{ walk, link, target string }{
		{"repositories", "repositories/self", "self"},
		{"repositories", "repositories/app/up", ".."},
		{"tags", "repositories/app/_manifests/tags", "tags"},
		{"revisions", "repositories/app/_manifests/revisions/sha256", "sha256"},
		{"blobs", "blobs/sha256/44/up", "../.."},
	} {
		t.Run(c.link, func(t *testing.T) {
			directory := t.TempDir()
			link := filepath.Join(directory, root, c.link)
			require.NoError(t, os.MkdirAll(filepath.Dir(link), 0o755))
			require.NoError(t, os.Symlink(c.target, link))
			s, err := registrystore.OpenDirectory(directory)
			require.NoError(t, err)
			assert.ErrorContains(t, walks[c.walk](s), "/"+root+c.link+" is a symbolic link that leads in a circle: remove it")
		})
	}
}
