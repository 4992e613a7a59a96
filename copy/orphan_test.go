package copy_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/cache"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// TestVerifyOrphans: a mirror that has outlived its source is held against what it names itself, in
// whichever way it lost that, and whatever became of the list; and what is lost then is damage,
// also if a cache has it.
func TestVerifyOrphans(t *testing.T) {
	f := imagetest.Platforms(3, 2, 100)
	amd64, arm64, layer := f.Digest("amd64"), f.Digest("arm64"), f.Digest("amd64.1")
	for name, c := range map[string]struct {
		options copy.Options
		source  func(*registrytest.Registry) bool // what happens there
		mirror  func(*registrytest.Registry) bool
		want    []copy.Violation
	}{
		"the tag is gone": {
			options: copytest.Auto("linux/amd64"),
			source:  func(r *registrytest.Registry) bool { return r.DeleteTag("app", "v1") },
		},
		"the tag of a stripped list is gone": {
			options: stripped("linux/amd64", "linux/arm64"),
			source:  func(r *registrytest.Registry) bool { return r.DeleteTag("app", "v1") },
		},
		"an image is gone": {
			options: copytest.Auto("linux/amd64"),
			source:  func(r *registrytest.Registry) bool { return r.DeleteManifest("app", amd64) },
		},
		"an image that nobody wants is gone": {
			options: copytest.Auto("linux/arm64"),
			source:  func(r *registrytest.Registry) bool { return r.DeleteManifest("app", amd64) },
		},
		"a layer is lost with the tag": {
			options: copytest.Auto("linux/amd64"),
			source:  func(r *registrytest.Registry) bool { return r.DeleteTag("app", "v1") },
			mirror:  func(r *registrytest.Registry) bool { return r.DeleteBlob("app", layer) },
			want:    []copy.Violation{{Digest: layer, What: "layer", Platform: "linux/amd64", Problem: "it is missing", Lost: true}},
		},
		"an image is lost at both, and a layer of another one at the mirror": {
			options: stripped("linux/amd64", "linux/arm64"),
			source:  func(r *registrytest.Registry) bool { return r.DeleteManifest("app", arm64) },
			mirror: func(r *registrytest.Registry) bool {
				return r.DeleteManifest("app", arm64) && r.DeleteBlob("app", layer)
			},
			want: []copy.Violation{
				{Digest: layer, What: "layer", Platform: "linux/amd64", Problem: "it is missing"},
				{Digest: arm64, What: "manifest", Platform: "linux/arm64", Problem: "it is missing", Lost: true},
			},
		},
		"all images are lost": {
			options: copytest.Auto("linux/amd64"),
			source:  func(r *registrytest.Registry) bool { return r.DeleteTag("app", "v1") },
			mirror:  func(r *registrytest.Registry) bool { return r.DeleteManifest("app", amd64) },
			want:    []copy.Violation{{Digest: amd64, What: "manifest", Platform: "linux/amd64", Problem: "it is missing", Lost: true}},
		},
		"both tags are gone": {
			options: copytest.Auto("linux/amd64"),
			source:  func(r *registrytest.Registry) bool { return r.DeleteTag("app", "v1") },
			mirror:  func(r *registrytest.Registry) bool { return r.DeleteTag("app", "v1") },
			want:    []copy.Violation{{What: "manifest", Problem: "the destination names nothing", Lost: true}},
		},
	} {
		test := func(t *testing.T, kept copy.DocumentCache) {
			e := copytest.NewEnv(t)
			src, dst := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{})
			f.PushTo(src, "app", "v1", imagetest.Top)
			from, to := copytest.RegistryRef(t, src, "app", "v1"), copytest.RegistryRef(t, dst, "app", "v1")
			copier, o := copytest.NewCopier(t, copy.CopierOptions{Cache: kept}), e.Options(c.options)
			_, err := copier.Image(t.Context(), e.Policy, to, from, o)
			require.NoError(t, err)
			require.True(t, c.source(src))
			if c.mirror != nil {
				require.True(t, c.mirror(dst))
			}

			v, err := copier.Verify(t.Context(), e.Policy, to, from, &copy.VerifyOptions{Options: o, Orphans: true})
			require.NoError(t, err)
			assert.Equal(t, append([]copy.Violation{}, c.want...), v.Violations)
			top, _ := dst.Resolve("app", "v1")
			assert.Equal(t, top, v.Found)
			assert.Equal(t, "docker://"+dst.Host()+"/app:v1", v.Destination)
			if name == "an image that nobody wants is gone" {
				assert.Empty(t, v.Orphaned)
				return
			}
			assert.NotEmpty(t, v.Orphaned)
			_, err = copier.Verify(t.Context(), e.Policy, to, from, &copy.VerifyOptions{Options: o})
			require.EqualError(t, err, v.Orphaned)
		}
		t.Run(name, func(t *testing.T) { test(t, nil) })
		t.Run(name+", and was kept by a cache", func(t *testing.T) { test(t, cache.Memory(0)) })
	}
}

func stripped(platforms ...string) copy.Options {
	o := copytest.Auto(platforms...)
	o.SparseManifestListAction = copy.StripSparseManifestList
	return o
}

// TestVerifyOrphansNeedsEvidence: a source that refuses is not gone, and an error as ever.
func TestVerifyOrphansNeedsEvidence(t *testing.T) {
	e := copytest.NewEnv(t)
	f := imagetest.Platforms(2, 1, 100)
	src := registrytest.Start(t, registrytest.Options{Auth: &registrytest.Auth{Bearer: true}})
	dst := registrytest.Start(t, registrytest.Options{})
	f.PushTo(dst, "app", "v1", imagetest.Top)
	_, err := copy.Verify(t.Context(), e.Policy, copytest.RegistryRef(t, dst, "app", "v1"), copytest.RegistryRef(t, src, "app", "v1"),
		&copy.VerifyOptions{Options: e.Options(copytest.Auto("linux/amd64")), Orphans: true})
	require.Error(t, err)
	assert.NotErrorIs(t, err, copy.ErrNotFound)
	assert.Empty(t, dst.Requests())
}
