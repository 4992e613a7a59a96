package copy_test

import (
	"fmt"
	"net/http"
	"testing"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/pkg/compression"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
	"github.com/sparsecopy/sparsecopy/manifest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// accelerated has images with a SOCI index each, as soci convert makes them, but that the indexes
// stand first, and a Nydus image for each.
func accelerated() *imagetest.Fixture {
	f := imagetest.New()
	var indexes, nydus, images []imagetest.Option
	for _, name := range []string{"amd64", "arm64", "s390x"} {
		f.Image(name, imagetest.Platform("linux/"+name))
		f.SOCIIndex("soci-"+name, name)
		f.Image("nydus-"+name, imagetest.Platform("linux/"+name))
		indexes = append(indexes, imagetest.Entries("soci-"+name))
		images = append(images, imagetest.Entry(name, f.SOCI("soci-"+name)))
		nydus = append(nydus, imagetest.Entry("nydus-"+name, imagetest.Nydus()))
	}
	f.List(imagetest.Top, append(append(append(indexes, nydus...), images...), imagetest.Indent("  "))...)
	return f
}

// twoPlatforms selects linux/amd64 and linux/arm64.
func twoPlatforms(action copy.SparseManifestListAction) copy.Options {
	return copy.Options{
		ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/amd64", "linux/arm64"),
		SparseManifestListAction: action,
	}
}

// TestAcceleratorsFollow mirrors two platforms of a list in which what accelerates images stands
// before them.
func TestAcceleratorsFollow(t *testing.T) {
	e := copytest.NewEnv(t)
	f := accelerated()
	present := []string{"amd64", "arm64", "soci-amd64", "soci-arm64", "nydus-amd64", "nydus-arm64"}
	absent := []string{"s390x", "soci-s390x", "nydus-s390x"}
	for action, strict := range map[copy.SparseManifestListAction]bool{
		copy.StripSparseManifestList: true, copy.AutoSparseManifestList: true, copy.KeepSparseManifestList: false,
	} {
		t.Run(action.String(), func(t *testing.T) {
			src := copytest.Places["registry"](t)
			src.Push(f, "v1", imagetest.Top)
			dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Strict: strict}), "app")
			o := twoPlatforms(action)
			for run := range 2 {
				r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
				require.NoError(t, err)
				assert.Equal(t, run == 0, r.Written)
				assert.Empty(t, r.Warnings)
				assert.Empty(t, r.Void)
				want := imagetest.Want{Tag: "v1", Digest: r.DestinationDigest, Fixture: f, Present: present, Absent: absent}
				dst.Check(want)
				kinds := map[string]int{}
				for _, i := range r.Instances {
					kinds[i.Kind]++
					if i.Kind != "" {
						assert.Equal(t, copy.Accelerates, i.Relation)
						assert.Contains(t, f.Digests("amd64", "arm64", "s390x"), i.Subject)
					}
				}
				assert.Equal(t, map[string]int{"": 3, "SOCI index": 3, "Nydus image": 3}, kinds)
			}
			v, err := copy.Verify(t.Context(), e.Policy, dst.Ref("v1"), src.Ref("v1"), &copy.VerifyOptions{Options: e.Options(o)})
			require.NoError(t, err)
			assert.Empty(t, v.Violations)
		})
	}
}

// TestAcceleratorIsMissing copies an image without the SOCI index that the source has lost, and
// says which annotation names nothing now.
func TestAcceleratorIsMissing(t *testing.T) {
	e := copytest.NewEnv(t)
	f := accelerated()
	src := copytest.Places["registry"](t)
	src.Push(f, "v1", imagetest.Top, "soci-amd64")
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Strict: true}), "app")
	r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), twoPlatforms(copy.StripSparseManifestList))
	require.NoError(t, err)
	require.Len(t, r.Void, 1)
	assert.Contains(t, r.Void[0], "the SOCI index "+f.Digest("soci-amd64").String())
	dst.Check(imagetest.Want{
		Tag: "v1", Digest: r.DestinationDigest, Fixture: f, Present: []string{"amd64", "nydus-amd64", "soci-arm64"}, Absent: []string{"soci-amd64"},
	})
}

// TestAcceleratorIsNotTheSystemsImage takes the image, although others with its platform stand
// before it.
func TestAcceleratorIsNotTheSystemsImage(t *testing.T) {
	e := copytest.NewEnv(t)
	f := accelerated()
	src, dst := copytest.Places["registry"](t), copytest.Places["registry"](t)
	src.Push(f, "v1", imagetest.Top)
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{})
	require.NoError(t, err)
	dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest("amd64"), Fixture: f, Only: true})
}

// TestAttestationsWithoutAnnotations ties attestations by the subjects of their manifests, which
// are read only if it depends on them what is copied; and counts those that cannot be tied.
func TestAttestationsWithoutAnnotations(t *testing.T) {
	e := copytest.NewEnv(t)
	f := imagetest.New()
	var images, attestations []imagetest.Option
	for _, name := range []string{"amd64", "arm64", "s390x", "before"} {
		f.Image(name, imagetest.Platform("linux/"+name))
		f.Attestation("att-"+name, name, imagetest.Subject(name), imagetest.Config(imgspecv1.MediaTypeEmptyJSON, []byte("{}")))
		attestations = append(attestations, imagetest.Entry("att-"+name, imagetest.NoAnnotations()))
		if name != "before" {
			images = append(images, imagetest.Entries(name))
		}
	}
	f.List(imagetest.Top, append(attestations, images...)...)
	src := copytest.Places["registry"](t).(copytest.RegistryPlace)
	src.Push(f, "v1", imagetest.Top)
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Strict: true}), "app")
	reads := func(name string) int {
		return src.Count(func(q registrytest.Request) bool {
			return q.Method == http.MethodGet && q.Ref == f.Digest(name).String()
		})
	}

	named := copy.Options{
		ImageListSelection: copy.CopySpecificImages, Instances: f.Digests("amd64"), SparseManifestListAction: copy.StripSparseManifestList,
	}
	r, err := e.Image(t.Context(), dst.Ref("named"), src.Ref("v1"), named)
	require.NoError(t, err)
	assert.Zero(t, reads("att-amd64"), "what is named is copied whatever it is")
	dst.Check(imagetest.Want{Tag: "named", Digest: r.DestinationDigest, Fixture: f, Absent: []string{"att-amd64", "arm64"}})

	o := twoPlatforms(copy.StripSparseManifestList)
	r, err = e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
	require.NoError(t, err)
	assert.Equal(t, []string{"attestations are left behind (1): the list does not name what they describe"}, r.Warnings)
	dst.Check(imagetest.Want{
		Tag: "v1", Digest: r.DestinationDigest, Fixture: f,
		Present: []string{"amd64", "arm64", "att-amd64", "att-arm64"}, Absent: []string{"s390x", "att-s390x", "att-before"},
	})
	for _, name := range []string{"att-amd64", "att-s390x", "att-before"} {
		assert.Equal(t, 1, reads(name), name)
	}

	r, err = e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
	require.NoError(t, err)
	assert.False(t, r.Written)
	v, err := copy.Verify(t.Context(), e.Policy, dst.Ref("v1"), src.Ref("v1"), &copy.VerifyOptions{Options: e.Options(o)})
	require.NoError(t, err)
	assert.Empty(t, v.Violations)
	found, err := copy.Inspect(t.Context(), dst.Ref("v1"), &copy.ReadOptions{SystemContext: e.Sys})
	require.NoError(t, err)
	assert.Equal(t, f.Digest("amd64"), found.Entries[0].Subject)
	assert.Equal(t, f.Digest("amd64"), found.Entries[0].AttestationOf)
}

// TestAcceleratorsOfChangedImages says which entries are about nothing any more after their images
// were converted.
func TestAcceleratorsOfChangedImages(t *testing.T) {
	e := copytest.NewEnv(t)
	f := accelerated()
	src, dst := copytest.Places["registry"](t), copytest.Places["registry"](t)
	src.Push(f, "v1", imagetest.Top)
	o := twoPlatforms(copy.StripSparseManifestList)
	o.ForceManifestMIMEType = manifest.MediaTypeDockerManifest
	r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
	require.NoError(t, err)
	assert.Equal(t, []string{
		"Nydus images are left behind (2): none can be converted to " + manifest.MediaTypeDockerManifest,
		"SOCI indexes are left behind (2): none can be converted to " + manifest.MediaTypeDockerManifest,
		"the list " + f.Digest(imagetest.Top).String() + " is converted to " + manifest.MediaTypeDockerList + ", and loses: manifests[].annotations",
	}, r.Warnings)
	dst.Check(imagetest.Want{Tag: "v1", Digest: r.DestinationDigest, Fixture: f, Absent: []string{"soci-amd64", "nydus-amd64", "s390x"}})

	o = twoPlatforms(copy.StripSparseManifestList)
	sys := *e.Sys
	sys.CompressionFormat = &compression.Zstd
	o.DestinationCtx, o.ForceCompressionFormat = &sys, true
	r, err = e.Image(t.Context(), dst.Ref("v2"), src.Ref("v1"), o)
	require.NoError(t, err)
	for _, image := range []string{"amd64", "arm64"} {
		assert.Contains(t, r.Void, fmt.Sprintf("the SOCI index %s of the image %s, which changes", f.Digest("soci-"+image), f.Digest(image)))
	}
	dst.Check(imagetest.Want{Tag: "v2", Digest: r.DestinationDigest, Fixture: f, Present: []string{"soci-amd64"}, Absent: []string{"s390x"}})
}
