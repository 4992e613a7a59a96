package bundle

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker/reference"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
)

// TestListsThatRepeatThemselves: a list that names another a hundred times, which names another a
// hundred times, and so on, is as deep as it is, and no more.
func TestListsThatRepeatThemselves(t *testing.T) {
	f := imagetest.New()
	f.Image("image", imagetest.Platform("linux/amd64"))
	f.Image("absent", imagetest.Platform("linux/arm64"))
	entries := []imagetest.Option{imagetest.Entries("image", "absent")}
	for i := range 8 {
		name := fmt.Sprintf("list%d", i)
		f.List(name, entries...)
		entries = nil
		for range 100 {
			entries = append(entries, imagetest.Entry(name))
		}
	}
	w, err := Create(filepath.Join(t.TempDir(), "bundle"), nil)
	require.NoError(t, err)
	require.NoError(t, w.begin())
	named, err := reference.ParseNamed("registry.example/app:1")
	require.NoError(t, err)
	d := newDestination(w, &bundleReference{named: named, writer: w}, false)
	put := func(name string) endpoint.Document {
		content, mediaType := f.Document(name)
		doc := endpoint.Document{Digest: f.Digest(name), MediaType: mediaType, Bytes: content}
		require.NoError(t, d.PutManifest(t.Context(), doc))
		return doc
	}
	image := put("image")
	for i := range 8 {
		put(fmt.Sprintf("list%d", i))
	}
	top := f.Digest("list7")
	require.NoError(t, d.PutReferrers(t.Context(), image.Digest, []imgspecv1.Descriptor{{Digest: top}}))
	require.NoError(t, d.PutReferrers(t.Context(), top, []imgspecv1.Descriptor{{Digest: f.Digest("list6")}}))
	require.NoError(t, d.PutTop(t.Context(), image, nil))
	assert.Equal(t, f.Digests("absent"), d.absent(top))
	assert.Len(t, d.parts(top), 9)
	require.Len(t, w.record.Attached, 2)
	for _, a := range w.record.Attached {
		assert.Equal(t, map[digest.Digest]int{top: 1, f.Digest("list6"): 2}[a.Digest], w.depths[a.key()])
		assert.Equal(t, f.Digests("absent"), a.Absent)
	}
}
