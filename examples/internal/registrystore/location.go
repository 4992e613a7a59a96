package registrystore

import (
	"path/filepath"

	"github.com/opencontainers/go-digest"
)

// Where the storage has something, from its root on, for people who look at it or remove it by
// hand: each is a directory, with nothing else in it. It is "" for what cannot be there, such as a
// repository without a name.

// BlobLocation is where a content is.
func (s *Store) BlobLocation(d digest.Digest) string { return location(blobPath(d)) }

// RevisionLocation is where the link is by which a repository has a manifest.
func (s *Store) RevisionLocation(repository string, d digest.Digest) string {
	return location(linkedPath(repository, revisionsDirectory, d))
}

// LayerLocation is where the link is by which a repository has a blob.
func (s *Store) LayerLocation(repository string, d digest.Digest) string {
	return location(linkedPath(repository, layersDirectory, d))
}

func location(p string, err error) string {
	if err != nil {
		return ""
	}
	return p
}

// IsUpload reports whether a path, of a directory, is that of an upload.
func IsUpload(directory string) bool {
	return filepath.Base(filepath.Dir(directory)) == uploadsDirectory
}
