package copy_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/pkg/compression"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// TestOriginalAndAttachments copies what else is attached as it is copied without an original, and
// the signatures of that only once.
func TestOriginalAndAttachments(t *testing.T) {
	for _, keepVoid := range []bool{false, true} {
		t.Run(fmt.Sprintf("KeepVoid=%t", keepVoid), func(t *testing.T) {
			e := copytest.NewEnv(t)
			src := signedSource(t)
			dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Strict: true}), "app")
			o := withOriginal()
			o.Referrers, o.DigestTags, o.KeepVoid = copy.AllReferrers, true, keepVoid
			for run := range 2 {
				r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
				require.NoError(t, err)
				assert.Equal(t, run == 0, r.Written)
				assert.Empty(t, r.Warnings)
				dst.Check(wantOriginal(imagetest.SignedLists(), imagetest.Top, 4))
				ofList := slices.DeleteFunc(r.Attached, func(a copy.AttachedReport) bool { return a.Subject != r.SourceDigest })
				require.Len(t, ofList, 4)
				for _, a := range ofList {
					assert.Equal(t, copy.ReasonOriginal, a.Reason.Code)
					assert.Equal(t, []copy.Outcome{copy.Copied, copy.Present}[run], a.Outcome)
				}
				if run == 1 {
					assert.Zero(t, r.ManifestsCopied)
				}
			}
		})
	}
}

// TestOriginalCannotBeAttached: nothing is copied to where it has no place, nor what is not proven
// by it.
func TestOriginalCannotBeAttached(t *testing.T) {
	e := copytest.NewEnv(t)
	src := signedSource(t, imagetest.SignedTags)
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	dir := filepath.Join(t.TempDir(), "dir")
	toDir, err := directory.NewReference(dir)
	require.NoError(t, err)
	for name, c := range map[string]struct {
		dst    types.ImageReference
		change func(*copy.Options)
		says   string
	}{
		"dir":             {toDir, nil, "AttachOriginal: the transport dir knows no referrers; registries, OCI layouts (oci:) and bundles do"},
		"digest":          {dst.Ref(imagetest.SignedLists().Digest(imagetest.Top).String()), nil, "the destination names the digest"},
		"PreserveDigests": {dst.Ref("v1"), func(o *copy.Options) { o.PreserveDigests = true }, "PreserveDigests is set"},
		"a store":         {copytest.ArchiveRef(t, filepath.Join(t.TempDir(), "archive"), "v1"), nil, "AttachOriginal"},
	} {
		t.Run(name, func(t *testing.T) {
			o := withOriginal()
			if c.change != nil {
				c.change(&o)
			}
			_, err := e.Image(t.Context(), c.dst, src.Ref("v1"), o)
			require.ErrorContains(t, err, c.says)
			assert.NoFileExists(t, dir)
			assert.Empty(t, dst.History("app"))
		})
	}
}

// TestOriginalOfConverted: what changes otherwise than by losing entries cannot be proven. If it is
// signed, it is refused as without an original.
func TestOriginalOfConverted(t *testing.T) {
	e := copytest.NewAttachmentsEnv(t)
	f := imagetest.SignedLists()
	signed := signedSource(t, imagetest.SignedTags)
	unsigned := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	unsigned.Push(f, "v1", imagetest.Top)
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	o := withOriginal()
	sys := *e.Sys
	sys.CompressionFormat = &compression.Zstd
	o.DestinationCtx, o.ForceCompressionFormat = &sys, true
	_, err := e.Image(t.Context(), dst.Ref("v1"), signed.Ref("v1"), o)
	copytest.ErrorAs[*copy.CannotModifyError](t, err)
	assert.Empty(t, dst.History("app"))
	r, err := e.Image(t.Context(), dst.Ref("v1"), unsigned.Ref("v1"), o)
	require.NoError(t, err)
	assert.Contains(t, r.Original.Reason, "changes with its images")
	assert.Contains(t, r.Warnings[0], "the original is not attached: ")
}

// TestOriginalChecksBlobs brings back a blob of an artifact that is there, under CheckBlobs.
func TestOriginalChecksBlobs(t *testing.T) {
	e := copytest.NewEnv(t)
	f := imagetest.SignedLists()
	src := signedSource(t, imagetest.SignedTags)
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Strict: true}), "app")
	o := withOriginal()
	o.CheckBlobs = true
	for run := range 3 {
		if run == 1 {
			require.True(t, dst.DeleteBlob("app", f.Digest(imagetest.Top)))
		}
		r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
		require.NoError(t, err)
		assert.Equal(t, run == 0, r.Written)
		assert.Empty(t, imagetest.Inspect(imagetest.RegistryStore(dst.Registry, "app"), wantOriginal(f, imagetest.Top, 2)))
		assert.Equal(t, run == 2, r.BlobsCopied == 0)
	}
}

// TestOriginalIsPlanned: what Prepare plans is what Execute does, and what Image would.
func TestOriginalIsPlanned(t *testing.T) {
	e := copytest.NewEnv(t)
	src := signedSource(t)
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Strict: true}), "app")
	for run := range 2 {
		o := withOriginal()
		o.CompareDestination = true
		p, err := e.Copier(o).Prepare(t.Context(), e.Policy, dst.Ref("v1"), src.Ref("v1"), e.Options(o))
		require.NoError(t, err)
		require.NotNil(t, p.Plan().Original)
		require.Len(t, p.Plan().Original.Signatures, 4)
		assert.Equal(t, run == 1, p.Plan().Original.Present)
		if run == 0 {
			assert.Empty(t, dst.History("app"), "nothing is written")
		}
		r, err := p.Execute(t.Context())
		require.NoError(t, err)
		require.NoError(t, p.Close())
		assert.Equal(t, p.Plan().Digest, r.DestinationDigest)
		assert.Equal(t, p.Plan().Original.Digest, r.Original.Digest)
		for i, s := range p.Plan().Original.Signatures {
			assert.Equal(t, s.Digest, r.Original.Signatures[i].Digest)
		}
		dst.Check(wantOriginal(imagetest.SignedLists(), imagetest.Top, 4))
	}
}

// TestOriginalOfMany copies two lists to one repository, twice, with one Copier.
func TestOriginalOfMany(t *testing.T) {
	e := copytest.NewEnv(t)
	f := imagetest.SignedLists()
	src := signedSource(t, imagetest.SignedTags)
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Strict: true, NoReferrers: true}), "app")
	o := withOriginal()
	jobs := []copy.Job{{Destination: dst.Ref("v1"), Source: src.Ref("v1")}, {Destination: dst.Ref("v2"), Source: src.Ref("v2")}}
	c := copytest.NewCopier(t, copy.CopierOptions{})
	for run := range 2 {
		for _, r := range c.Images(t.Context(), e.Policy, jobs, &copy.ImagesOptions{Options: e.Options(o)}) {
			require.NoError(t, r.Err)
			assert.Equal(t, run == 0, r.Written)
		}
		dst.Check(wantOriginal(f, imagetest.Top, 2))
		dst.Check(imagetest.Want{Tag: "v2", Fixture: f, Original: "v2", OriginalSignatures: 1})
	}
	upToDate := 0
	p := e.Options(o)
	p.CompareDestination = true
	c.PlanImages(t.Context(), e.Policy, jobs, &copy.ImagesOptions{Options: p}, func(p copy.PlannedImage) {
		assert.NoError(t, p.Err)
		if p.UpToDate {
			upToDate++
		}
	})
	assert.Equal(t, 2, upToDate)
}

// TestOriginalIsVerified: Verify knows what a copy with these options leaves.
func TestOriginalIsVerified(t *testing.T) {
	e := copytest.NewEnv(t)
	src := signedSource(t, imagetest.SignedTags)
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Strict: true}), "app")
	o := withOriginal()
	r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
	require.NoError(t, err)
	verify := func() []copy.Violation {
		v, err := copy.Verify(t.Context(), e.Policy, dst.Ref("v1"), src.Ref("v1"), &copy.VerifyOptions{Options: e.Options(o)})
		require.NoError(t, err)
		return v.Violations
	}
	assert.Empty(t, verify())
	require.True(t, dst.DeleteManifest("app", r.Original.Signatures[0].Digest))
	assert.NotEmpty(t, verify())
}

// TestOriginalOfWhatIsMissing strips what the source does not have, which is known only when the
// images have been asked for, and finds the signatures then.
func TestOriginalOfWhatIsMissing(t *testing.T) {
	e := copytest.NewAttachmentsEnv(t)
	f := imagetest.SignedLists()
	src := signedSource(t, imagetest.SignedTags)
	require.True(t, src.DeleteManifest("app", f.Digest("s390x")))
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Strict: true}), "app")
	o := copy.Options{
		ImageListSelection: copy.CopyAllImages, MissingInstances: copy.SkipMissing,
		SparseManifestListAction: copy.StripSparseManifestList, AttachOriginal: true,
	}
	for run := range 2 {
		r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
		require.NoError(t, err)
		assert.Equal(t, run == 0, r.Written)
		dst.Check(wantOriginal(f, imagetest.Top, 2))
	}
}

// TestOriginalFromAFile: a source that knows no referrers has signatures all the same.
func TestOriginalFromAFile(t *testing.T) {
	e := copytest.NewAttachmentsEnv(t)
	f := imagetest.SignedLists()
	src := signedSource(t, imagetest.SignedTags)
	from, err := directory.NewReference(filepath.Join(t.TempDir(), "dir"))
	require.NoError(t, err)
	_, err = e.Image(t.Context(), from, src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages})
	require.NoError(t, err)
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Strict: true}), "app")
	for run := range 2 {
		r, err := e.Image(t.Context(), dst.Ref("v1"), from, withOriginal())
		require.NoError(t, err)
		assert.Equal(t, run == 0, r.Written)
		dst.Check(wantOriginal(f, imagetest.Top, 1))
		assert.EqualValues(t, "lookaside", r.Original.Signatures[0].Kind)
		assert.Empty(t, r.Void)
	}
}

// TestOriginalSignaturesElsewhere finds signatures that are in another repository.
func TestOriginalSignaturesElsewhere(t *testing.T) {
	e := copytest.NewEnv(t)
	f := imagetest.SignedLists()
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	src.Push(f, "v1", imagetest.Top)
	from := signedSource(t)
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Strict: true}), "app")
	o := withOriginal()
	o.DigestTags, o.ReferrersFrom = true, &copy.ReferrersSource{Reference: from.Ref("any"), SystemContext: e.Sys}
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
	require.NoError(t, err)
	dst.Check(wantOriginal(f, imagetest.Top, 4))
}

// TestOriginalSignaturesUnknown: a source that does not tell what is attached is believed to have
// signatures only by a guard.
func TestOriginalSignaturesUnknown(t *testing.T) {
	for _, action := range []copy.ListSignatureAction{copy.WarnListSignatures, copy.GuardListSignatures} {
		e := copytest.NewEnv(t)
		f := imagetest.SignedLists()
		src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{
			Script: registrytest.Only(registrytest.Matching(http.MethodGet, registrytest.KindReferrers), registrytest.EveryNth(1, registrytest.Fail(403, "DENIED", "no"))),
		}), "app")
		src.Push(f, "v1", imagetest.Top)
		dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
		o := withOriginal()
		o.ListSignatures = action
		r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
		if action == copy.GuardListSignatures {
			require.ErrorContains(t, err, "whether it is signed could not be asked")
			assert.Empty(t, dst.History("app"))
			continue
		}
		require.NoError(t, err)
		require.Len(t, r.Warnings, 1)
		assert.Contains(t, r.Warnings[0], "not all could be asked about signatures")
		dst.Check(wantOriginal(f, imagetest.Top, 0))
	}
}

// TestOriginalAtAnyPace: what is at the destination does not depend on how much is in flight, and
// the report says what was planned.
func TestOriginalAtAnyPace(t *testing.T) {
	src := signedSource(t)
	for name, options := range map[string]registrytest.Options{
		"API": {Strict: true}, "no API": {Strict: true, NoReferrers: true}, "subjects first": {RequireSubjects: true},
	} {
		t.Run(name, func(t *testing.T) {
			want := ""
			for _, parallel := range []uint{0, 1, 2, 7} {
				e := copytest.NewEnv(t)
				dst := copytest.RegistryAt(t, registrytest.Start(t, options), "app")
				o := withOriginal()
				o.MaxParallelDownloads = parallel
				r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
				require.NoError(t, err)
				assert.Equal(t, r.Plan.Original.Digest, r.Original.Digest)
				assert.Equal(t, r.Plan.Digest, r.DestinationDigest)
				got := strings.ReplaceAll(dst.Snapshot("app"), dst.Host(), "HOST")
				if want == "" {
					want = got
				}
				assert.Equal(t, want, got, "parallel %d", parallel)
				again, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
				require.NoError(t, err)
				assert.Zero(t, again.ManifestsCopied)
				assert.Equal(t, want, strings.ReplaceAll(dst.Snapshot("app"), dst.Host(), "HOST"))
			}
		})
	}
}
