package registrystore_test

import (
	"net/http"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry/sparsetest"
)

// TestManifestsAreWritten as distribution writes what is pushed to it.
func TestManifestsAreWritten(t *testing.T) {
	directory := t.TempDir()
	client := serve(t, directory)
	s, err := registrystore.OpenDirectory(directory)
	require.NoError(t, err)
	f := sparsetest.Fixture(false)
	f.List("top", imagetest.Entries("amd64", "arm64"))
	body, mediaType := f.Document("top")

	d, err := s.PutManifest(t.Context(), "team/app", body)
	require.NoError(t, err)
	assert.Equal(t, f.Digest("top"), d)
	for range 2 {
		require.NoError(t, s.PutTag(t.Context(), "team/app", "v1", d))
	}
	for _, ref := range []string{d.String(), "v1"} {
		answer := client.Get(t, http.MethodGet, "team/app", ref)
		assert.Equal(t, http.StatusOK, answer.Status)
		assert.Equal(t, mediaType, answer.Header.Get("Content-Type"))
		assert.Equal(t, string(body), string(answer.Body))
	}
	require.NoError(t, s.TagHistory(t.Context(), "team/app", "v1", func(noted digest.Digest) error { assert.Equal(t, d, noted); return nil }))
	for range 2 { // the second time, nothing is there
		require.NoError(t, s.RemoveTag(t.Context(), "team/app", "v1"))
	}
	assert.Equal(t, http.StatusNotFound, client.Get(t, http.MethodGet, "team/app", "v1").Status)
	assert.Equal(t, http.StatusOK, client.Get(t, http.MethodGet, "team/app", d.String()).Status)

	_, err = s.PutManifest(t.Context(), "../app", body)
	assert.ErrorContains(t, err, "is no name of a repository")
	assert.ErrorContains(t, s.PutTag(t.Context(), "app", "../v1", d), "is no tag")
	assert.ErrorContains(t, s.RemoveTag(t.Context(), "app", ""), "is no tag")
}

func TestReferrersOfASubjectAreInOrder(t *testing.T) {
	s, err := registrystore.OpenDirectory(t.TempDir())
	require.NoError(t, err)
	subject := digest.FromString("subject")
	none, err := s.ReferrersOf(t.Context(), "app", subject)
	require.NoError(t, err)
	assert.Empty(t, none)
	all := sorted(digest.FromString("1"), digest.FromString("2"), digest.FromString("3"), digest.SHA512.FromString("4"))
	for _, d := range all {
		require.NoError(t, s.PutReferrer(t.Context(), "app", subject, d))
	}
	require.NoError(t, s.PutReferrer(t.Context(), "app", digest.FromString("other"), digest.FromString("5")))
	require.NoError(t, s.PutReferrer(t.Context(), "app", subject, digest.FromString("6")))
	require.NoError(t, s.RemoveReferrer(t.Context(), "app", subject, digest.FromString("6")))
	found, err := s.ReferrersOf(t.Context(), "app", subject)
	require.NoError(t, err)
	assert.Equal(t, all, found)
}
