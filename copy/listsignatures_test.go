package copy_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// TestListSignatures strips a list to which something is attached, as nothing at the machine says
// where signatures are.
func TestListSignatures(t *testing.T) {
	listed := func(entryType string) func(*testing.T, *imagetest.Fixture, copytest.RegistryPlace) {
		return func(_ *testing.T, f *imagetest.Fixture, p copytest.RegistryPlace) {
			copytest.SignList(f, "bundle", copytest.SigstoreBundle)
			p.Push(f, "", "bundle")
			p.PutManifest("app", endpoint.ReferrersTag(f.Digest(imagetest.Top)), "application/vnd.oci.image.index.v1+json", fmt.Appendf(nil,
				`{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":%q,"size":%d%s}]}`,
				f.Digest("bundle"), f.Size("bundle"), entryType))
		}
	}
	referrer := func(artifactType string) func(*testing.T, *imagetest.Fixture, copytest.RegistryPlace) {
		return func(_ *testing.T, f *imagetest.Fixture, p copytest.RegistryPlace) {
			copytest.SignList(f, "bundle", artifactType)
			p.Push(f, "", "bundle")
		}
	}
	refuse := func(status int, code string) registrytest.Options {
		return registrytest.Options{Script: registrytest.Only(registrytest.Matching(http.MethodGet, registrytest.KindReferrers), registrytest.EveryNth(1, registrytest.Fail(status, code, "no")))}
	}
	const noWarning, signed, unknown = "", "is signed, and changes", "not all could be asked about signatures"
	for name, c := range map[string]struct {
		source  registrytest.Options
		attach  func(*testing.T, *imagetest.Fixture, copytest.RegistryPlace)
		warning string
		refused string // by the guard
	}{
		"nothing":                  {warning: noWarning},
		"an SBOM":                  {attach: referrer(copytest.SbomType), warning: noWarning},
		"cosign 3":                 {attach: referrer(copytest.SigstoreBundle), warning: signed, refused: "it is signed (referrer "},
		"notation":                 {attach: referrer("application/vnd.cncf.notary.signature"), warning: signed, refused: "it is signed (referrer "},
		"cosign 2, OCI 1.1":        {attach: referrer("application/vnd.dev.cosign.artifact.sig.v1+json"), warning: signed, refused: "it is signed (referrer "},
		"listed without a type":    {registrytest.Options{NoReferrers: true}, listed(""), signed, "it is signed (referrer "},
		"listed with an empty one": {registrytest.Options{NoReferrers: true}, listed(`,"artifactType":"application/vnd.oci.empty.v1+json"`), signed, "it is signed (referrer "},
		"cosign 2": {attach: func(_ *testing.T, f *imagetest.Fixture, p copytest.RegistryPlace) {
			p.Push(f, copytest.DigestTag(f.Digest(imagetest.Top), ".sig"), "amd64")
		}, warning: signed, refused: "it is signed (tag sha256-"},
		"referrers forbidden":   {refuse(403, "DENIED"), nil, unknown, "whether it is signed could not be asked (its referrers: "},
		"referrers broken":      {refuse(500, "UNKNOWN"), nil, unknown, "whether it is signed could not be asked (its referrers: "},
		"referrers not allowed": {refuse(405, "UNSUPPORTED"), nil, noWarning, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, action := range []copy.ListSignatureAction{copy.WarnListSignatures, copy.GuardListSignatures} {
				e := copytest.NewEnv(t)
				f := imagetest.Platforms(2, 1, 100)
				src := copytest.RegistryAt(t, registrytest.Start(t, c.source), "app")
				dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Strict: true}), "app")
				src.Push(f, "v1", imagetest.Top)
				if c.attach != nil {
					c.attach(t, f, src)
				}
				src.ResetLog()
				r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{
					ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/amd64"), SparseManifestListAction: copy.StripSparseManifestList,
					ListSignatures: action,
				})
				if action == copy.GuardListSignatures && c.refused != "" {
					locked := copytest.ErrorAs[*copy.CannotModifyError](t, err)
					assert.Equal(t, f.Digest(imagetest.Top), locked.List)
					assert.Contains(t, locked.Reason, c.refused)
					assert.Contains(t, locked.Reason, "RemoveListSignatures")
					assert.Empty(t, dst.History("app"), "nothing is written")
					continue
				}
				require.NoError(t, err)
				if c.warning == noWarning {
					assert.Empty(t, r.Warnings)
				} else {
					require.Len(t, r.Warnings, 1)
					assert.Contains(t, r.Warnings[0], c.warning)
				}
				assert.Equal(t, c.warning == signed, len(r.Void) == 1, "%v", r.Void)
				assert.NotEqual(t, f.Digest(imagetest.Top), r.DestinationDigest, "stripped")
			}
		})
	}
}

// TestListSignaturesOfTransformed: a list that changes because an image in it is transformed is one
// that changes, although that is only known when the image has been read.
func TestListSignaturesOfTransformed(t *testing.T) {
	t.Parallel()
	f := partlyPlain(2)
	copytest.SignList(f, "bundle", copytest.SigstoreBundle)
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	src.Push(f, "v1", imagetest.Top)
	src.Push(f, "", "bundle")
	for action, guarded := range map[copy.ListSignatureAction]bool{copy.WarnListSignatures: false, copy.GuardListSignatures: true} {
		e := copytest.NewEnv(t)
		dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
		r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages, ListSignatures: action})
		if guarded {
			locked := copytest.ErrorAs[*copy.CannotModifyError](t, err)
			assert.Contains(t, locked.Reason, "it is signed (referrer ")
			assert.Empty(t, dst.History("app"), "nothing is written")
			continue
		}
		require.NoError(t, err)
		assert.NotEqual(t, f.Digest(imagetest.Top), r.DestinationDigest)
		require.Len(t, r.Void, 1)
		assert.Contains(t, r.Void[0], "signatures of the list "+f.Digest(imagetest.Top).String())
		assert.Contains(t, r.Warnings[0], "is signed, and changes")
	}
}

// TestListSignaturesUnderAuto guards what is done instead, and asks nothing about a list that is
// not stripped.
func TestListSignaturesUnderAuto(t *testing.T) {
	t.Parallel()
	e := copytest.NewEnv(t)
	f := imagetest.Platforms(2, 1, 100)
	copytest.SignList(f, "bundle", copytest.SigstoreBundle)
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	src.Push(f, "v1", imagetest.Top)
	src.Push(f, "", "bundle")
	o := copy.Options{
		ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/amd64"), SparseManifestListAction: copy.AutoSparseManifestList,
		ListSignatures: copy.GuardListSignatures,
	}
	strict := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Strict: true}), "app")
	_, err := e.Image(t.Context(), strict.Ref("v1"), src.Ref("v1"), o)
	refused := copytest.ErrorAs[*copy.SparseRefusedError](t, err)
	assert.Contains(t, refused.NotStripped, "it is signed (referrer "+f.Digest("bundle").String())
	assert.Empty(t, strict.Top("v1"))

	lax := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	r, err := e.Image(t.Context(), lax.Ref("v1"), src.Ref("v1"), o)
	require.NoError(t, err)
	assert.Equal(t, f.Digest(imagetest.Top), r.DestinationDigest)
	assert.Empty(t, r.Void)

	src.ResetLog()
	o.SparseManifestListAction = copy.KeepSparseManifestList
	_, err = e.Image(t.Context(), lax.Ref("v2"), src.Ref("v1"), o)
	require.NoError(t, err)
	assert.Zero(t, src.Count(registrytest.Is(http.MethodGet, registrytest.KindReferrers)), "what is kept keeps its signatures")

	src.ResetLog()
	o.SparseManifestListAction, o.RemoveListSignatures = copy.StripSparseManifestList, true
	_, err = e.Image(t.Context(), strict.Ref("v2"), src.Ref("v1"), o)
	require.NoError(t, err)
	assert.Zero(t, src.Count(registrytest.Is(http.MethodGet, registrytest.KindReferrers)), "what is not wanted is not looked for")
}

// TestListSignaturesOfLayouts finds them where a layout lists them.
func TestListSignaturesOfLayouts(t *testing.T) {
	t.Parallel()
	e := copytest.NewEnv(t)
	f := imagetest.Platforms(2, 1, 100)
	copytest.SignList(f, "bundle", copytest.SigstoreBundle)
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	src.Push(f, "v1", imagetest.Top)
	src.Push(f, "", "bundle")
	dir := t.TempDir()
	_, err := e.Image(t.Context(), copytest.LayoutRef(t, dir, "v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages, Referrers: copy.AllReferrers})
	require.NoError(t, err)
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Strict: true}), "app")
	_, err = e.Image(t.Context(), dst.Ref("v1"), copytest.LayoutRef(t, dir, "v1"), copy.Options{
		ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/amd64"), SparseManifestListAction: copy.StripSparseManifestList,
		ListSignatures: copy.GuardListSignatures,
	})
	locked := copytest.ErrorAs[*copy.CannotModifyError](t, err)
	assert.Contains(t, locked.Reason, f.Digest("bundle").String())
}

// TestListSignaturesOnce asks nothing twice where attachments are copied too.
func TestListSignaturesOnce(t *testing.T) {
	t.Parallel()
	e := copytest.NewEnv(t)
	f := imagetest.Platforms(2, 1, 100)
	copytest.SignList(f, "bundle", copytest.SigstoreBundle)
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	src.Push(f, "v1", imagetest.Top)
	src.Push(f, "", "bundle")
	src.Push(f, copytest.DigestTag(f.Digest(imagetest.Top), ".sig"), "amd64")
	src.ResetLog()
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Strict: true}), "app")
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{
		ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/amd64"), SparseManifestListAction: copy.StripSparseManifestList,
		ListSignatures: copy.GuardListSignatures, Referrers: copy.AllReferrers, DigestTags: true,
	})
	locked := copytest.ErrorAs[*copy.CannotModifyError](t, err)
	assert.Contains(t, locked.Reason, "referrer "+f.Digest("bundle").String())
	assert.Contains(t, locked.Reason, "tag sha256-")
	asked := map[string]int{}
	for _, r := range src.Requests() {
		if strings.Contains(r.Path, "/referrers/") || strings.HasSuffix(r.Path, ".sig") {
			asked[r.Path]++
		}
	}
	for path, n := range asked {
		assert.Equal(t, 1, n, path)
	}
	assert.Contains(t, asked, "/v2/app/referrers/"+f.Digest(imagetest.Top).String())
}
