package copy_test

import (
	"fmt"
	"net/http"
	"path"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/digesttag"
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

// signedSource is a repository with a list that is signed in some of cosign's formats, or in all of
// them if none is given.
func signedSource(t *testing.T, forms ...imagetest.SignedForm) copytest.RegistryPlace {
	if len(forms) == 0 {
		forms = []imagetest.SignedForm{imagetest.SignedTags, imagetest.SignedBundles}
	}
	src := registrytest.Start(t, registrytest.Options{})
	imagetest.PushSigned(src, "app", forms...)
	return copytest.RegistryAt(t, src, "app")
}

// strippedDigest is that of the list that withOriginal makes.
func strippedDigest(t *testing.T) digest.Digest {
	dst := copytest.LayoutAt(t, filepath.Join(t.TempDir(), "layout"))
	r, err := copytest.NewEnv(t).Image(t.Context(), dst.Ref("v1"), signedSource(t, imagetest.SignedTags).Ref("v1"), withOriginal())
	require.NoError(t, err)
	return r.DestinationDigest
}

// wantOriginal is what a destination looks like to which withOriginal copied.
func wantOriginal(f *imagetest.Fixture, list string, signatures int) imagetest.Want {
	return imagetest.Want{
		Tag: "v1", Fixture: f, Present: []string{"amd64", "arm64"}, Absent: []string{"s390x"}, Original: list, OriginalSignatures: signatures,
	}
}

// TestOriginal attaches a signed list and its signatures to what is left of it, once.
func TestOriginal(t *testing.T) {
	f := imagetest.SignedLists()
	for name, at := range copytest.AttachablePlaces {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := copytest.NewEnv(t)
			src, dst := signedSource(t), at(t)
			r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), withOriginal())
			require.NoError(t, err)
			dst.Check(wantOriginal(f, imagetest.Top, 4))
			assert.Equal(t, copy.Copied, r.Original.Outcome)
			assert.Equal(t, copy.ArtifactForm, r.Original.Form)
			referrers := copytest.ReferrersAt(t, e, dst, dst.Top("v1"))
			assert.Contains(t, referrers, r.Original.Digest)
			for _, s := range r.Original.Signatures {
				assert.Equal(t, copy.Copied, s.Outcome)
				assert.Contains(t, referrers, s.Digest)
				assert.NotEmpty(t, copytest.ManifestAt(dst, s.Of), "as it was, for other tools: %s", s.Kind)
			}
			assert.Empty(t, r.Warnings)
			assert.Empty(t, r.Void)
			assert.LessOrEqual(t, r.BlobsCopied+r.BlobsReused, r.Plan.Blobs, "each blob once")

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

// TestOriginalOfNested attaches lists with all that is nested in them.
func TestOriginalOfNested(t *testing.T) {
	e := copytest.NewEnv(t)
	f := imagetest.SignedLists()
	src := signedSource(t, imagetest.SignedBundles)
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Strict: true}), "app")
	o := withOriginal()
	r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("nested"), o)
	require.NoError(t, err)
	dst.Check(wantOriginal(f, "nested", len(r.Original.Signatures)))
	assert.NotEmpty(t, r.Original.Signatures)
}

// TestOriginalBetweenPlaces: it is the same artifact wherever it goes, and from wherever the list
// comes.
func TestOriginalBetweenPlaces(t *testing.T) {
	e := copytest.NewEnv(t)
	f := imagetest.SignedLists()
	o := withOriginal()
	src := signedSource(t, imagetest.SignedTags)
	layout := copytest.LayoutAt(t, filepath.Join(t.TempDir(), "layout"))
	all := copy.Options{ImageListSelection: copy.CopyAllImages, DigestTags: true, Referrers: copy.AllReferrers}
	_, err := e.Image(t.Context(), layout.Ref("v1"), src.Ref("v1"), all)
	require.NoError(t, err)
	var signatures []digest.Digest
	for name, from := range map[string]copytest.Place{"registry": src, "layout": layout} {
		dst := copytest.LayoutAt(t, filepath.Join(t.TempDir(), "layout"))
		r, err := e.Image(t.Context(), dst.Ref("v1"), from.Ref("v1"), o)
		require.NoError(t, err, name)
		dst.Check(wantOriginal(f, imagetest.Top, 2))
		for _, s := range r.Original.Signatures {
			signatures = append(signatures, s.Digest)
		}
	}
	require.Len(t, signatures, 4)
	assert.Equal(t, signatures[:2], signatures[2:])
}

// TestOriginalUnsigned: without signatures, a list can still be held against its original; and
// whoever removes signatures leaves them behind.
func TestOriginalUnsigned(t *testing.T) {
	for name, change := range map[string]func(*copy.Options){
		"RemoveSignatures":     func(o *copy.Options) { o.RemoveSignatures = true },
		"RemoveListSignatures": func(o *copy.Options) { o.RemoveListSignatures = true },
	} {
		t.Run(name, func(t *testing.T) {
			e := copytest.NewEnv(t)
			src := signedSource(t)
			dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
			o := withOriginal()
			change(&o)
			r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
			require.NoError(t, err)
			dst.Check(wantOriginal(imagetest.SignedLists(), imagetest.Top, 0))
			assert.Empty(t, r.Original.Signatures)
			assert.Zero(t, src.Count(registrytest.Is(http.MethodGet, registrytest.KindReferrers)), "nobody looks for them")
		})
	}
}

// TestOriginalOfWhole: what is not stripped needs no original.
func TestOriginalOfWhole(t *testing.T) {
	e := copytest.NewEnv(t)
	f := imagetest.SignedLists()
	src := signedSource(t, imagetest.SignedTags)
	for name, change := range map[string]func(*copy.Options){
		"kept": func(o *copy.Options) { o.SparseManifestListAction = copy.KeepSparseManifestList },
		"all":  func(o *copy.Options) { o.ImageListSelection, o.InstancePlatforms = copy.CopyAllImages, nil },
		"one":  func(o *copy.Options) { *o = copy.Options{AttachOriginal: true} },
	} {
		dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
		o := withOriginal()
		change(&o)
		r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
		require.NoError(t, err, name)
		assert.Nil(t, r.Original, name)
		dst.Check(imagetest.Want{Tag: "v1", Fixture: f, Optional: []string{"arm/v7", "ppc64le", "s390x", "riscv64", "386", "arm/v6"}})
	}
}

// TestOriginalUnderAuto attaches the original when the registry has refused the kept list, and to
// what was stripped before.
func TestOriginalUnderAuto(t *testing.T) {
	for _, strict := range []bool{true, false} {
		t.Run(fmt.Sprintf("strict=%t", strict), func(t *testing.T) {
			e := copytest.NewAttachmentsEnv(t)
			src := signedSource(t)
			dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Strict: strict}), "app")
			o := withOriginal()
			o.SparseManifestListAction = copy.AutoSparseManifestList
			for run := range 2 {
				r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
				require.NoError(t, err)
				assert.Equal(t, run == 0, r.Written)
				if !strict {
					assert.Nil(t, r.Original)
					continue
				}
				assert.Equal(t, copy.StripSparseManifestList, r.Action)
				assert.Equal(t, []copy.Outcome{copy.Copied, copy.Present}[run], r.Original.Outcome)
				dst.Check(wantOriginal(imagetest.SignedLists(), imagetest.Top, 4))
			}
		})
	}
}

// TestOriginalIsRepaired: what is lacking of it comes back, and the tag is not touched.
func TestOriginalIsRepaired(t *testing.T) {
	f := imagetest.SignedLists()
	for name, at := range copytest.AttachablePlaces {
		if name == "layout" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			e := copytest.NewEnv(t)
			src, dst := signedSource(t, imagetest.SignedTags), at(t).(copytest.RegistryPlace)
			r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), withOriginal())
			require.NoError(t, err)
			for what, lost := range map[string]digest.Digest{"original": r.Original.Digest, "signature": r.Original.Signatures[0].Digest} {
				require.True(t, dst.DeleteManifest("app", lost), what)
				dst.ResetLog()
				again, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), withOriginal())
				require.NoError(t, err)
				assert.Equal(t, map[string]int{"original": 1, "signature": 2}[what], again.ManifestsCopied, "a signature is kept as it was, too")
				assert.False(t, again.Written)
				assert.Zero(t, dst.PutsOf("v1"))
				assert.Empty(t, imagetest.Inspect(imagetest.RegistryStore(dst.Registry, "app"), wantOriginal(f, imagetest.Top, 2)))
			}
		})
	}
}

// TestOriginalIsListedAgain: what is there and is not listed, because the tag is gone that lists
// it, or could not be written, is listed again by a copy that looks at blobs, and by one that adds
// to it.
func TestOriginalIsListedAgain(t *testing.T) {
	e := copytest.NewEnv(t)
	var refuses atomic.Bool
	src, tag := signedSource(t, imagetest.SignedTags), digesttag.Name(strippedDigest(t), "")
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{NoReferrers: true, Script: func(_ int, q *http.Request) registrytest.Answer {
		if refuses.Load() && q.Method == http.MethodPut && path.Base(q.URL.Path) == tag {
			return registrytest.Fail(http.StatusForbidden, "DENIED", "not for you")
		}
		return registrytest.Answer{}
	}}), "app")
	o, check := withOriginal(), withOriginal()
	check.CheckBlobs = true
	copies := func(o copy.Options, signatures int) {
		t.Helper()
		r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
		require.NoError(t, err)
		assert.Len(t, copytest.ReferrersAt(t, e, dst, r.DestinationDigest), 1+signatures)
	}
	copies(o, 2)
	unlist := func() { require.True(t, dst.DeleteTag("app", tag)) }

	unlist()
	copies(check, 2)

	unlist()
	imagetest.PushSigned(src.Registry, "app", imagetest.SignedBundles)
	copies(o, 4)

	require.True(t, dst.DeleteManifest("app", copytest.ReferrersAt(t, e, dst, dst.Top("v1"))[0]))
	unlist()
	refuses.Store(true)
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
	require.ErrorContains(t, err, "not for you")
	refuses.Store(false)
	copies(check, 4)
}

// TestOriginalMoreSignatures: a list that was signed once more gets that, and keeps the others.
func TestOriginalMoreSignatures(t *testing.T) {
	e := copytest.NewEnv(t)
	src := signedSource(t, imagetest.SignedTags)
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Strict: true}), "app")
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), withOriginal())
	require.NoError(t, err)
	imagetest.PushSigned(src.Registry, "app", imagetest.SignedBundles)
	r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), withOriginal())
	require.NoError(t, err)
	assert.False(t, r.Written)
	assert.Empty(t, imagetest.Inspect(imagetest.RegistryStore(dst.Registry, "app"), wantOriginal(imagetest.SignedLists(), imagetest.Top, 4)))
}

// TestOriginalOtherSelection: another selection is another list, with artifacts of its own.
func TestOriginalOtherSelection(t *testing.T) {
	e := copytest.NewEnv(t)
	f := imagetest.SignedLists()
	src := signedSource(t, imagetest.SignedTags)
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Strict: true}), "app")
	o := withOriginal()
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
	require.NoError(t, err)
	o.InstancePlatforms = copytest.Platforms("linux/amd64", "linux/arm64", "linux/s390x")
	r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
	require.NoError(t, err)
	assert.True(t, r.Written)
	dst.Check(imagetest.Want{Tag: "v1", Fixture: f, Present: []string{"amd64", "s390x"}, Original: imagetest.Top, OriginalSignatures: 2})
}

// TestOriginalRefusedAhead: a registry that wants the list first gets it first, by its digest.
func TestOriginalRefusedAhead(t *testing.T) {
	e := copytest.NewEnv(t)
	src := signedSource(t)
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{RequireSubjects: true}), "app")
	r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), withOriginal())
	require.NoError(t, err)
	dst.Check(wantOriginal(imagetest.SignedLists(), imagetest.Top, 4))
	require.Len(t, r.Warnings, 2, "bundles have the original as their subject, which is not here")
	for _, text := range r.Warnings {
		assert.Contains(t, text, "a signature of the original is not kept as it was, for other tools")
	}
	again, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), withOriginal())
	require.NoError(t, err)
	assert.Zero(t, again.ManifestsCopied)
	assert.Empty(t, again.Warnings)
}

// TestOriginalFails: whatever of it is not stored, the tag is not written.
func TestOriginalFails(t *testing.T) {
	f := imagetest.SignedLists()
	others := []string{"v1", f.Digest("amd64").String(), f.Digest("arm64").String(), strippedDigest(t).String()}
	for name, refuse := range map[string]func(*http.Request) bool{
		"blobs": func(q *http.Request) bool { return q.Method == http.MethodPut && q.ContentLength == 2 },
		"manifests": func(q *http.Request) bool {
			ref := path.Base(q.URL.Path)
			return registrytest.Matching(http.MethodPut, registrytest.KindManifest)(q) && !slices.Contains(others, ref)
		},
		"referrers": func(q *http.Request) bool {
			return registrytest.Matching(http.MethodGet, registrytest.KindReferrers)(q)
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := copytest.NewEnv(t)
			src := signedSource(t, imagetest.SignedTags)
			dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{
				Script: registrytest.Only(refuse, registrytest.EveryNth(1, registrytest.Fail(403, "DENIED", "not for you"))),
			}), "app")
			r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), withOriginal())
			failed := copytest.ErrorAs[*copy.Error](t, err)
			assert.Equal(t, copy.DestinationSide, failed.Side)
			require.ErrorContains(t, err, "not for you")
			assert.Empty(t, dst.Top("v1"))
			assert.Empty(t, r.Original.Outcome)
			assert.False(t, r.Written)
		})
	}
}
