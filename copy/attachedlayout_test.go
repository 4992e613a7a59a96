package copy

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/oci/archive"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/endpoint/registry"
	"github.com/sparsecopy/sparsecopy/internal/endpoint/transport"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// attachablePlaces are the places that attachments travel between.
var attachablePlaces = map[string]func(t testing.TB) place{
	"registry with the API": func(t testing.TB) place {
		return registryPlace{t, registrytest.Start(t, registrytest.Options{Strict: true}), "app"}
	},
	"registry without the API": func(t testing.TB) place {
		return registryPlace{t, registrytest.Start(t, registrytest.Options{Strict: true, NoReferrers: true}), "app"}
	},
	"layout": func(t testing.TB) place { return layoutPlace{t, filepath.Join(t.TempDir(), "layout")} },
}

// attachTo pushes a referrer, and makes it known as one of its subject where the place has no API.
func attachTo(t testing.TB, p place, f *imagetest.Fixture, subject, referrer string) {
	switch p := p.(type) {
	case layoutPlace:
		p.push(f, "some name of "+referrer, referrer)
	case registryPlace:
		p.push(f, "", referrer)
		tag := endpoint.ReferrersTag(f.Digest(subject))
		old, _, _ := p.Manifest(p.repo, tag)
		_, mediaType := f.Document(referrer)
		merged, _, err := endpoint.MergeReferrers(old, []imgspecv1.Descriptor{{MediaType: mediaType, Digest: f.Digest(referrer), Size: f.Size(referrer)}})
		require.NoError(t, err)
		p.PutManifest(p.repo, tag, imgspecv1.MediaTypeImageIndex, merged)
	}
}

// manifestAt is what a place has under a digest, nil if nothing.
func manifestAt(p place, d digest.Digest) []byte {
	switch p := p.(type) {
	case layoutPlace:
		content, _ := os.ReadFile(filepath.Join(p.dir, "blobs", d.Algorithm().String(), d.Encoded()))
		return content
	case registryPlace:
		content, _, _ := p.Manifest(p.repo, d.String())
		return content
	}
	return nil
}

// TestAttachmentsBetweenPlaces carries exactly what is attached to two of eight platforms between places of all kinds, the second
// time nothing, and later what has been added.
func TestAttachmentsBetweenPlaces(t *testing.T) {
	f := imagetest.Platforms(8, 1, 100)
	all := []string{"amd64", "arm64", "arm/v7", "ppc64le", "s390x", "386", "riscv64", "arm/v6"}
	subjects := map[string]string{}
	for _, name := range all {
		f.Blob("text of sbom-"+name, sbomType, []byte("of "+name))
		f.Artifact("sbom-"+name, imagetest.ArtifactType(sbomType), imagetest.Subject(name), imagetest.Layers("text of sbom-"+name),
			imagetest.Annotation(imgspecv1.AnnotationRefName, "v1")) // which must not become a name
		f.Blob("text of sig-"+name, signatureType, []byte("sbom of "+name))
		f.Artifact("sig-"+name, imagetest.ArtifactType(signatureType), imagetest.Subject("sbom-"+name), imagetest.Layers("text of sig-"+name))
		f.Blob("text of att-"+name, signatureType, []byte("attestation of "+name))
		f.Artifact("att-"+name, imagetest.Layers("text of att-"+name))
		subjects["sbom-"+name], subjects["sig-"+name] = name, "sbom-"+name
	}
	f.Blob("late", sbomType, []byte("late"))
	f.Artifact("late sbom", imagetest.ArtifactType(sbomType), imagetest.Subject("amd64"), imagetest.Layers("late"))
	o := Options{
		ImageListSelection: CopySpecificImages, InstancePlatforms: platforms("linux/amd64", "linux/arm64"),
		SparseManifestListAction: StripSparseManifestList, Referrers: AllReferrers, DigestTags: true,
	}
	for from, newSource := range attachablePlaces {
		for to, newDestination := range attachablePlaces {
			t.Run(from+" to "+to, func(t *testing.T) {
				t.Parallel()
				e := newEnv(t)
				src, dst := newSource(t), newDestination(t)
				src.push(f, "v1", imagetest.Top)
				for referrer, subject := range subjects {
					attachTo(t, src, f, subject, referrer)
				}
				for _, name := range all {
					src.push(f, digestTag(f.Digest(name), ".att"), "att-"+name)
				}
				r, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), o)
				require.NoError(t, err)
				assert.Empty(t, r.Warnings)
				assert.Len(t, r.Attached, 6)
				for i, name := range all {
					for _, attached := range []string{"sbom-", "sig-", "att-"} {
						assert.Equal(t, i < 2, manifestAt(dst, f.Digest(attached+name)) != nil, attached+name)
					}
					if i < 2 {
						assert.Equal(t, f.Digests("sbom-"+name), referrersAt(t, e, dst, f.Digest(name)))
						assert.Equal(t, f.Digests("sig-"+name), referrersAt(t, e, dst, f.Digest("sbom-"+name)))
						assert.Equal(t, f.Digest("att-"+name), dst.top(digestTag(f.Digest(name), ".att")))
					}
				}
				dst.check(imagetest.Want{Tag: "v1", Digest: r.Plan.Digest, Fixture: f, Present: []string{"amd64", "arm64"}})

				again, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), o)
				require.NoError(t, err)
				assert.False(t, again.Written)
				assert.Zero(t, again.ManifestsCopied)
				for _, a := range again.Attached {
					assert.Equal(t, Present, a.Outcome)
				}

				attachTo(t, src, f, "amd64", "late sbom")
				late, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), o)
				require.NoError(t, err)
				assert.False(t, late.Written, "of the image there is nothing to do")
				assert.Equal(t, 1, late.ManifestsCopied)
				assert.ElementsMatch(t, f.Digests("sbom-amd64", "late sbom"), referrersAt(t, e, dst, f.Digest("amd64")))

				// What was written is a source as good as the first.
				third := newSource(t)
				_, err = e.image(t.Context(), third.ref("v1"), dst.ref("v1"), Options{ImageListSelection: CopyAllImages, Referrers: AllReferrers, DigestTags: true})
				require.NoError(t, err)
				assert.ElementsMatch(t, f.Digests("sbom-amd64", "late sbom"), referrersAt(t, e, third, f.Digest("amd64")))
				assert.Equal(t, f.Digests("sig-arm64"), referrersAt(t, e, third, f.Digest("sbom-arm64")))
				assert.Equal(t, f.Digest("att-arm64"), third.top(digestTag(f.Digest("arm64"), ".att")))
			})
		}
	}
}

// referrersAt returns the referrers of subject at a place, which must have the tag v1.
func referrersAt(t testing.TB, e *env, p place, subject digest.Digest) []digest.Digest {
	var src endpoint.Source
	var err error
	if _, isRegistry := p.(registryPlace); isRegistry {
		var shared registry.Shared
		defer func() { require.NoError(t, shared.Close()) }()
		src, err = registry.OpenSource(t.Context(), p.ref("v1"), e.sys, &shared)
	} else {
		src, err = transport.OpenSource(t.Context(), p.ref("v1"), e.sys)
	}
	require.NoError(t, err)
	defer func() { require.NoError(t, src.Close()) }()
	referrers, err := endpoint.ReferrersAt(src)
	require.NoError(t, err)
	found, err := referrers.Referrers(t.Context(), subject, "")
	require.NoError(t, err)
	var digests []digest.Digest
	for _, r := range found {
		digests = append(digests, r.Digest)
	}
	return digests
}

// TestAttachmentsAreAnnouncedAgain repairs a destination to which a copy has brought a referrer, and died.
func TestAttachmentsAreAnnouncedAgain(t *testing.T) {
	f := attachedFixture()
	for to, newDestination := range attachablePlaces {
		t.Run(to, func(t *testing.T) {
			e := newEnv(t)
			src, dst := attachablePlaces["registry with the API"](t), newDestination(t)
			pushAttached(t, f, src.(registryPlace), true)
			o := Options{Referrers: AllReferrers}
			src.push(f, "one", "amd64")
			switch dst := dst.(type) {
			case layoutPlace:
				dst.push(f, "v1", "amd64")
				dst.push(f, "forgotten", "sbom-amd64")
				dst.push(f, "forgotten", "amd64")
			default:
				dst.push(f, "v1", "amd64")
				dst.push(f, "", "sbom-amd64")
			}
			_, err := e.image(t.Context(), dst.ref("v1"), src.ref("one"), o)
			require.NoError(t, err)
			assert.Equal(t, f.Digests("sbom-amd64"), referrersAt(t, e, dst, f.Digest("amd64")))
		})
	}
}

// TestFailedCopiesLeaveLayoutsAlone: nothing of an image that could not be copied is in index.json.
func TestFailedCopiesLeaveLayoutsAlone(t *testing.T) {
	f := attachedFixture()
	e := newEnv(t)
	src := registryPlace{t, registrytest.Start(t, registrytest.Options{}), "app"}
	dst := layoutPlace{t, filepath.Join(t.TempDir(), "layout")}
	pushAttached(t, f, src, true)
	dst.push(f, "old", "arm64")
	before, err := os.ReadFile(filepath.Join(dst.dir, "index.json"))
	require.NoError(t, err)

	ctx, cancel := context.WithCancel(t.Context())
	o := Options{ImageListSelection: CopyAllImages, Referrers: AllReferrers, DigestTags: true}
	written := 0
	o.ReportWriter = onLine{"Writing manifest to", func() {
		if written++; written == 3+9 { // images, one being there, and what is attached to them and to the list: signatures of SBOMs after these
			cancel()
		}
	}}
	_, err = e.image(ctx, dst.ref("v1"), src.ref("v1"), o)
	require.ErrorIs(t, err, context.Canceled)
	assert.NotNil(t, manifestAt(dst, f.Digest("sbom-amd64")))
	after, err := os.ReadFile(filepath.Join(dst.dir, "index.json"))
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
	e := newEnv(t)
	f := attachedFixture()
	src := registryPlace{t, registrytest.Start(t, registrytest.Options{}), "app"}
	pushAttached(t, f, src, true)
	all := Options{ImageListSelection: CopyAllImages, Referrers: AllReferrers, DigestTags: true}

	dir := filepath.Join(t.TempDir(), "dir")
	toDir, err := directory.NewReference(dir)
	require.NoError(t, err)
	toArchive, err := archive.NewReference(dir, "v1")
	require.NoError(t, err)
	for name, ref := range map[string]types.ImageReference{
		"transport dir":         toDir,
		"transport oci-archive": toArchive,
		"no tag":                layoutRef(t, dir, ""),
	} {
		t.Run(name, func(t *testing.T) {
			src.ResetLog()
			_, err = e.image(t.Context(), ref, src.ref("v1"), all)
			var options *OptionsError
			require.ErrorAs(t, err, &options)
			assert.ErrorContains(t, err, name)
			assert.Zero(t, src.Count(registrytest.Is("GET", registrytest.KindBlob)))
		})
	}
	t.Run("upstream", func(t *testing.T) {
		o := all
		o.ForceManifestMIMEType = "application/vnd.docker.distribution.manifest.v2+json"
		_, err := e.image(t.Context(), places["registry"](t).ref("v1"), src.ref("v1"), o)
		var options *OptionsError
		require.ErrorAs(t, err, &options)
		assert.Contains(t, options.Options, "DigestTags")
	})
}

// TestRequestsForAttachments counts the questions: one for referrers and three for tags, of each manifest.
func TestRequestsForAttachments(t *testing.T) {
	e := newEnv(t)
	f := imagetest.Platforms(8, 1, 100)
	src := registryPlace{t, registrytest.Start(t, registrytest.Options{}), "app"}
	dst := registryPlace{t, registrytest.Start(t, registrytest.Options{}), "app"}
	src.push(f, "v1", imagetest.Top)
	o := Options{ImageListSelection: CopyAllImages}
	_, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), o)
	require.NoError(t, err)
	count := func() (int, int) {
		src.ResetLog()
		dst.ResetLog()
		_, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), o)
		require.NoError(t, err)
		return src.Count(nil), dst.Count(nil)
	}
	plainSrc, plainDst := count()
	o.Referrers, o.DigestTags = AllReferrers, true
	withSrc, withDst := count()
	assert.Equal(t, plainSrc+9*4, withSrc)
	assert.Equal(t, plainDst, withDst, "nothing was found, nothing is asked")
}
