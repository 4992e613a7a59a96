package copy_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/oci/archive"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// TestAttachmentsBetweenPlaces carries exactly what is attached to two of eight platforms between
// places of all kinds, the second time nothing, and later what has been added.
func TestAttachmentsBetweenPlaces(t *testing.T) {
	f := imagetest.Platforms(8, 1, 100)
	all := []string{"amd64", "arm64", "arm/v7", "ppc64le", "s390x", "386", "riscv64", "arm/v6"}
	subjects := map[string]string{}
	for _, name := range all {
		f.Blob("text of sbom-"+name, copytest.SbomType, []byte("of "+name))
		f.Artifact("sbom-"+name, imagetest.ArtifactType(copytest.SbomType), imagetest.Subject(name), imagetest.Layers("text of sbom-"+name),
			imagetest.Annotation(imgspecv1.AnnotationRefName, "v1")) // which must not become a name
		f.Blob("text of sig-"+name, copytest.SignatureType, []byte("sbom of "+name))
		f.Artifact("sig-"+name, imagetest.ArtifactType(copytest.SignatureType), imagetest.Subject("sbom-"+name), imagetest.Layers("text of sig-"+name))
		f.Blob("text of att-"+name, copytest.SignatureType, []byte("attestation of "+name))
		f.Artifact("att-"+name, imagetest.Layers("text of att-"+name))
		subjects["sbom-"+name], subjects["sig-"+name] = name, "sbom-"+name
	}
	f.Blob("late", copytest.SbomType, []byte("late"))
	f.Artifact("late sbom", imagetest.ArtifactType(copytest.SbomType), imagetest.Subject("amd64"), imagetest.Layers("late"))
	o := copy.Options{
		ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/amd64", "linux/arm64"),
		SparseManifestListAction: copy.StripSparseManifestList, Referrers: copy.AllReferrers, DigestTags: true,
	}
	for from, newSource := range copytest.AttachablePlaces {
		for to, newDestination := range copytest.AttachablePlaces {
			t.Run(from+" to "+to, func(t *testing.T) {
				t.Parallel()
				e := copytest.NewEnv(t)
				src, dst := newSource(t), newDestination(t)
				src.Push(f, "v1", imagetest.Top)
				for referrer, subject := range subjects {
					copytest.AttachTo(t, src, f, subject, referrer)
				}
				for _, name := range all {
					src.Push(f, copytest.DigestTag(f.Digest(name), ".att"), "att-"+name)
				}
				r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
				require.NoError(t, err)
				assert.Empty(t, r.Warnings)
				assert.Len(t, r.Attached, 6)
				for i, name := range all {
					for _, attached := range []string{"sbom-", "sig-", "att-"} {
						assert.Equal(t, i < 2, copytest.ManifestAt(dst, f.Digest(attached+name)) != nil, attached+name)
					}
					if i < 2 {
						assert.Equal(t, f.Digests("sbom-"+name), copytest.ReferrersAt(t, e, dst, f.Digest(name)))
						assert.Equal(t, f.Digests("sig-"+name), copytest.ReferrersAt(t, e, dst, f.Digest("sbom-"+name)))
						assert.Equal(t, f.Digest("att-"+name), dst.Top(copytest.DigestTag(f.Digest(name), ".att")))
					}
				}
				dst.Check(imagetest.Want{Tag: "v1", Digest: r.Plan.Digest, Fixture: f, Present: []string{"amd64", "arm64"}})

				again, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
				require.NoError(t, err)
				assert.False(t, again.Written)
				assert.Zero(t, again.ManifestsCopied)
				for _, a := range again.Attached {
					assert.Equal(t, copy.Present, a.Outcome)
				}

				copytest.AttachTo(t, src, f, "amd64", "late sbom")
				late, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
				require.NoError(t, err)
				assert.False(t, late.Written, "of the image there is nothing to do")
				assert.Equal(t, 1, late.ManifestsCopied)
				assert.ElementsMatch(t, f.Digests("sbom-amd64", "late sbom"), copytest.ReferrersAt(t, e, dst, f.Digest("amd64")))

				// What was written is a source as good as the first.
				third := newSource(t)
				_, err = e.Image(t.Context(), third.Ref("v1"), dst.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages, Referrers: copy.AllReferrers, DigestTags: true})
				require.NoError(t, err)
				assert.ElementsMatch(t, f.Digests("sbom-amd64", "late sbom"), copytest.ReferrersAt(t, e, third, f.Digest("amd64")))
				assert.Equal(t, f.Digests("sig-arm64"), copytest.ReferrersAt(t, e, third, f.Digest("sbom-arm64")))
				assert.Equal(t, f.Digest("att-arm64"), third.Top(copytest.DigestTag(f.Digest("arm64"), ".att")))
			})
		}
	}
}

// TestAttachmentsAreAnnouncedAgain repairs a destination to which a copy has brought a referrer,
// and died.
func TestAttachmentsAreAnnouncedAgain(t *testing.T) {
	f := copytest.AttachedFixture()
	for to, newDestination := range copytest.AttachablePlaces {
		t.Run(to, func(t *testing.T) {
			e := copytest.NewEnv(t)
			src, dst := copytest.AttachablePlaces["registry with the API"](t), newDestination(t)
			copytest.PushAttached(t, f, src.(copytest.RegistryPlace), true)
			o := copy.Options{Referrers: copy.AllReferrers}
			src.Push(f, "one", "amd64")
			switch dst := dst.(type) {
			case copytest.LayoutPlace:
				dst.Push(f, "v1", "amd64")
				dst.Push(f, "forgotten", "sbom-amd64")
				dst.Push(f, "forgotten", "amd64")
			default:
				dst.Push(f, "v1", "amd64")
				dst.Push(f, "", "sbom-amd64")
			}
			_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("one"), o)
			require.NoError(t, err)
			assert.Equal(t, f.Digests("sbom-amd64"), copytest.ReferrersAt(t, e, dst, f.Digest("amd64")))
		})
	}
}

// TestFailedCopiesLeaveLayoutsAlone: nothing of an image that could not be copied is in index.json.
func TestFailedCopiesLeaveLayoutsAlone(t *testing.T) {
	f := copytest.AttachedFixture()
	e := copytest.NewEnv(t)
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	dst := copytest.LayoutAt(t, filepath.Join(t.TempDir(), "layout"))
	copytest.PushAttached(t, f, src, true)
	dst.Push(f, "old", "arm64")
	before, err := os.ReadFile(filepath.Join(dst.Dir, "index.json"))
	require.NoError(t, err)

	ctx, cancel := context.WithCancel(t.Context())
	o := copy.Options{ImageListSelection: copy.CopyAllImages, Referrers: copy.AllReferrers, DigestTags: true}
	written := 0
	o.ReportWriter = onLine{"Writing manifest to", func() {
		if written++; written == 3+9 { // images, one being there, and what is attached to them and to the list: signatures of SBOMs after these
			cancel()
		}
	}}
	_, err = e.Image(ctx, dst.Ref("v1"), src.Ref("v1"), o)
	require.ErrorIs(t, err, context.Canceled)
	assert.NotNil(t, copytest.ManifestAt(dst, f.Digest("sbom-amd64")))
	after, err := os.ReadFile(filepath.Join(dst.Dir, "index.json"))
	require.NoError(t, err)
	assert.Equal(t, string(before), string(after))
}

// onLine calls f when a line that begins with text is written.
type onLine struct {
	text string
	f    func()
}

func (w onLine) Write(p []byte) (int, error) {
	if len(p) >= len(w.text) && string(p[:len(w.text)]) == w.text {
		w.f()
	}
	return len(p), nil
}

var _ io.Writer = onLine{}

// TestAttachmentsNeedEnds refuses what an end cannot carry, before anything is copied.
func TestAttachmentsNeedEnds(t *testing.T) {
	e := copytest.NewEnv(t)
	f := copytest.AttachedFixture()
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	copytest.PushAttached(t, f, src, true)
	all := copy.Options{ImageListSelection: copy.CopyAllImages, Referrers: copy.AllReferrers, DigestTags: true}

	dir := filepath.Join(t.TempDir(), "dir")
	toDir, err := directory.NewReference(dir)
	require.NoError(t, err)
	toArchive, err := archive.NewReference(dir, "v1")
	require.NoError(t, err)
	for name, ref := range map[string]types.ImageReference{
		"transport dir":         toDir,
		"transport oci-archive": toArchive,
		"no tag":                copytest.LayoutRef(t, dir, ""),
	} {
		t.Run(name, func(t *testing.T) {
			src.ResetLog()
			_, err = e.Image(t.Context(), ref, src.Ref("v1"), all)
			var options *copy.OptionsError
			require.ErrorAs(t, err, &options)
			assert.ErrorContains(t, err, name)
			assert.Zero(t, src.Count(registrytest.Is("GET", registrytest.KindBlob)))
		})
	}
}

// TestRequestsForAttachments counts the questions: two for referrers of each manifest, by the API
// and by the tag beside it, and, in the place of three for tags of each, a list of tags and the
// list's three, by which that is checked.
func TestRequestsForAttachments(t *testing.T) {
	e := copytest.NewEnv(t)
	f := imagetest.Platforms(8, 1, 100)
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	src.Push(f, "v1", imagetest.Top)
	o := copy.Options{ImageListSelection: copy.CopyAllImages}
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
	require.NoError(t, err)
	count := func() (int, int) {
		src.ResetLog()
		dst.ResetLog()
		_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
		require.NoError(t, err)
		return src.Count(nil), dst.Count(nil)
	}
	plainSrc, plainDst := count()
	o.Referrers, o.DigestTags = copy.AllReferrers, true
	withSrc, withDst := count()
	assert.Equal(t, plainSrc+9+9+1+3, withSrc)
	assert.Equal(t, plainDst, withDst, "nothing was found, nothing is asked")
}
