package copy_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// withOriginal are options that strip a list to two platforms, and attach its original.
func withOriginal() copy.Options {
	return copy.Options{
		ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/amd64", "linux/arm64"),
		SparseManifestListAction: copy.StripSparseManifestList, AttachOriginal: true,
	}
}

// signedSource is a registry with a list that is signed in both of cosign's formats.
func signedSource(t *testing.T) copytest.RegistryPlace {
	src := registrytest.Start(t, registrytest.Options{})
	imagetest.PushSigned(src, "app", imagetest.SignedTags, imagetest.SignedBundles)
	return copytest.RegistryAt(t, src, "app")
}

// TestOriginal attaches a signed list and its signatures to what is left of it, once.
func TestOriginal(t *testing.T) {
	for name, at := range copytest.AttachablePlaces {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := copytest.NewEnv(t)
			src, dst := signedSource(t), at(t)
			r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), withOriginal())
			require.NoError(t, err)
			require.NotNil(t, r.Original)
			assert.Equal(t, copy.Copied, r.Original.Outcome)
			require.Len(t, r.Original.Signatures, 4)
			referrers := copytest.ReferrersAt(t, e, dst, dst.Top("v1"))
			assert.Contains(t, referrers, r.Original.Digest)
			for _, s := range r.Original.Signatures {
				assert.Equal(t, copy.Copied, s.Outcome)
				assert.Contains(t, referrers, s.Digest)
				assert.NotEmpty(t, copytest.ManifestAt(dst, s.Of), "as it was, for other tools: %s", s.Kind)
			}
			assert.Empty(t, r.Warnings)
			assert.Empty(t, r.Void)

			again, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), withOriginal())
			require.NoError(t, err)
			assert.False(t, again.Written)
			assert.Zero(t, again.ManifestsCopied+again.BlobsCopied)
			assert.Equal(t, copy.Present, again.Original.Outcome)
			for i, s := range again.Original.Signatures {
				assert.Equal(t, copy.Present, s.Outcome)
				assert.Equal(t, r.Original.Signatures[i].Digest, s.Digest)
			}
		})
	}
}
