package bundle_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// lenient is a registry that takes lists of blobs.
func lenient(t *testing.T) *registrytest.Registry {
	return registrytest.Start(t, registrytest.Options{ListPolicy: registrytest.Distribution28, IgnoreMounts: true})
}

// TestCachesThereAndBack carries a build cache whose list names blobs in the place of manifests, in
// a directory and in an archive; another bundle since then has nothing of it, and is loaded where
// the first one was.
func TestCachesThereAndBack(t *testing.T) {
	f := imagetest.Cache(3, 1000)
	for _, file := range []string{"bundle", "bundle.tar"} {
		c := newCarrier(t, registrytest.Options{ListPolicy: registrytest.Distribution28})
		f.PushTo(c.src, "app", "1", imagetest.Top)
		f.PushTo(c.src, "other", "1", imagetest.Top)
		path, summary := c.create(file, "", all(), "app:1")
		assert.Equal(t, 4, summary.Carried)
		assert.Empty(t, summary.Record.Images[0].Absent)
		require.Len(t, summary.Record.Blobs, 4)
		assert.Equal(t, f.Digest(imagetest.Top), summary.Record.Blobs[0].Manifest)
		if file == "bundle" {
			imagetest.CheckLayout(t, path, imagetest.Want{Tag: c.src.Host() + "/app:1", Digest: f.Digest(imagetest.Top), Fixture: f, Only: true})
		}
		later, summary := c.create("later.tar", path, all(), "other:1")
		assert.Equal(t, []int{0, 4}, []int{summary.Carried, summary.Left})
		c.src.Close()

		dst := lenient(t)
		b := c.open(path, nil)
		_, err := c.load(b, dst, "app:1", all())
		require.NoError(t, err)
		want := imagetest.Want{Tag: "1", Digest: f.Digest(imagetest.Top), Fixture: f, Only: true}
		imagetest.CheckRegistry(t, dst, "app", want)
		r, err := c.load(b, dst, "app:1", all())
		require.NoError(t, err)
		assert.False(t, r.Written)
		c.forget()
		_, err = c.load(c.open(later, c.loadedAt(dst)), dst, "other:1", all())
		require.NoError(t, err)
		imagetest.CheckRegistry(t, dst, "other", want)
		count, err := c.open(path, nil).Signatures(t.Context(), c.src.Host()+"/app:1")
		require.NoError(t, err, "no blob is read as a manifest")
		assert.Zero(t, count)
	}
}

// TestCacheWithoutABlob: what was missing at the source is absent, the record says, and what else
// is lacking is damage.
func TestCacheWithoutABlob(t *testing.T) {
	f := imagetest.Cache(3, 1000)
	c := newCarrier(t, registrytest.Options{ListPolicy: registrytest.Distribution28})
	f.PushTo(c.src, "app", "1", imagetest.Top, "layer.1")
	path, summary := c.create("bundle", "", all(), "app:1")
	assert.Equal(t, f.Digests("layer.1"), summary.Record.Images[0].Absent)
	assert.Len(t, summary.Record.Blobs, 3)
	dst := registrytest.Start(t, registrytest.Options{})
	r, err := c.load(c.open(path, nil), dst, "app:1", all())
	require.NoError(t, err)
	assert.True(t, r.Instances[1].Missing)
	imagetest.CheckRegistry(t, dst, "app", imagetest.Want{Tag: "1", Digest: f.Digest(imagetest.Top), Fixture: f, Absent: []string{"layer.1"}, Only: true})
}
