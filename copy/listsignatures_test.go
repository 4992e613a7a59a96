package copy

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
)

// signList attaches an artifact of a type to the top of a fixture.
func signList(f *imagetest.Fixture, name, artifactType string) {
	f.Blob("layer of "+name, artifactType, []byte(name))
	f.Artifact(name, imagetest.ArtifactType(artifactType), imagetest.Subject(imagetest.Top), imagetest.Layers("layer of "+name))
}

// TestListSignatures strips a list to which something is attached, as nothing at the machine says where signatures are.
func TestListSignatures(t *testing.T) {
	listed := func(entryType string) func(*testing.T, *imagetest.Fixture, registryPlace) {
		return func(_ *testing.T, f *imagetest.Fixture, p registryPlace) {
			signList(f, "bundle", sigstoreBundle)
			p.push(f, "", "bundle")
			p.PutManifest("app", endpoint.ReferrersTag(f.Digest(imagetest.Top)), "application/vnd.oci.image.index.v1+json", fmt.Appendf(nil,
				`{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":%q,"size":%d%s}]}`,
				f.Digest("bundle"), f.Size("bundle"), entryType))
		}
	}
	referrer := func(artifactType string) func(*testing.T, *imagetest.Fixture, registryPlace) {
		return func(_ *testing.T, f *imagetest.Fixture, p registryPlace) {
			signList(f, "bundle", artifactType)
			p.push(f, "", "bundle")
		}
	}
	refuse := func(status int, code string) registrytest.Options {
		return registrytest.Options{Script: registrytest.Only(registrytest.Matching(http.MethodGet, registrytest.KindReferrers), registrytest.EveryNth(1, registrytest.Fail(status, code, "no")))}
	}
	const noWarning, signed, unknown = "", "is signed, and changes", "not all could be asked about signatures"
	for name, c := range map[string]struct {
		source  registrytest.Options
		attach  func(*testing.T, *imagetest.Fixture, registryPlace)
		warning string
		refused string // by the guard
	}{
		"nothing":                  {warning: noWarning},
		"an SBOM":                  {attach: referrer(sbomType), warning: noWarning},
		"cosign 3":                 {attach: referrer(sigstoreBundle), warning: signed, refused: "it is signed (referrer "},
		"notation":                 {attach: referrer("application/vnd.cncf.notary.signature"), warning: signed, refused: "it is signed (referrer "},
		"cosign 2, OCI 1.1":        {attach: referrer("application/vnd.dev.cosign.artifact.sig.v1+json"), warning: signed, refused: "it is signed (referrer "},
		"listed without a type":    {registrytest.Options{NoReferrers: true}, listed(""), signed, "it is signed (referrer "},
		"listed with an empty one": {registrytest.Options{NoReferrers: true}, listed(`,"artifactType":"application/vnd.oci.empty.v1+json"`), signed, "it is signed (referrer "},
		"cosign 2": {attach: func(_ *testing.T, f *imagetest.Fixture, p registryPlace) {
			p.push(f, digestTag(f.Digest(imagetest.Top), ".sig"), "amd64")
		}, warning: signed, refused: "it is signed (tag sha256-"},
		"referrers forbidden":   {refuse(403, "DENIED"), nil, unknown, "whether it is signed could not be asked (its referrers: "},
		"referrers broken":      {refuse(500, "UNKNOWN"), nil, unknown, "whether it is signed could not be asked (its referrers: "},
		"referrers not allowed": {refuse(405, "UNSUPPORTED"), nil, noWarning, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, action := range []ListSignatureAction{WarnListSignatures, GuardListSignatures} {
				e := newEnv(t)
				f := imagetest.Platforms(2, 1, 100)
				src := registryPlace{t, registrytest.Start(t, c.source), "app"}
				dst := registryPlace{t, registrytest.Start(t, registrytest.Options{Strict: true}), "app"}
				src.push(f, "v1", imagetest.Top)
				if c.attach != nil {
					c.attach(t, f, src)
				}
				src.ResetLog()
				r, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), Options{
					ImageListSelection: CopySpecificImages, InstancePlatforms: platforms("linux/amd64"), SparseManifestListAction: StripSparseManifestList,
					ListSignatures: action,
				})
				if action == GuardListSignatures && c.refused != "" {
					locked := errorAs[*CannotModifyError](t, err)
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

func errorAs[E error](t *testing.T, err error) (as E) {
	t.Helper()
	require.ErrorAs(t, err, &as)
	return as
}

// TestListSignaturesUnderAuto guards what is done instead, and asks nothing about a list that is not stripped.
func TestListSignaturesUnderAuto(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	f := imagetest.Platforms(2, 1, 100)
	signList(f, "bundle", sigstoreBundle)
	src := registryPlace{t, registrytest.Start(t, registrytest.Options{}), "app"}
	src.push(f, "v1", imagetest.Top)
	src.push(f, "", "bundle")
	o := Options{
		ImageListSelection: CopySpecificImages, InstancePlatforms: platforms("linux/amd64"), SparseManifestListAction: AutoSparseManifestList,
		ListSignatures: GuardListSignatures,
	}
	strict := registryPlace{t, registrytest.Start(t, registrytest.Options{Strict: true}), "app"}
	_, err := e.image(t.Context(), strict.ref("v1"), src.ref("v1"), o)
	refused := errorAs[*SparseRefusedError](t, err)
	assert.Contains(t, refused.NotStripped, "it is signed (referrer "+f.Digest("bundle").String())
	assert.Empty(t, strict.top("v1"))

	lax := registryPlace{t, registrytest.Start(t, registrytest.Options{}), "app"}
	r, err := e.image(t.Context(), lax.ref("v1"), src.ref("v1"), o)
	require.NoError(t, err)
	assert.Equal(t, f.Digest(imagetest.Top), r.DestinationDigest)
	assert.Empty(t, r.Void)

	src.ResetLog()
	o.SparseManifestListAction = KeepSparseManifestList
	_, err = e.image(t.Context(), lax.ref("v2"), src.ref("v1"), o)
	require.NoError(t, err)
	assert.Zero(t, src.Count(registrytest.Is(http.MethodGet, registrytest.KindReferrers)), "what is kept keeps its signatures")

	src.ResetLog()
	o.SparseManifestListAction, o.RemoveListSignatures = StripSparseManifestList, true
	_, err = e.image(t.Context(), strict.ref("v2"), src.ref("v1"), o)
	require.NoError(t, err)
	assert.Zero(t, src.Count(registrytest.Is(http.MethodGet, registrytest.KindReferrers)), "what is not wanted is not looked for")
}

// TestListSignaturesOfLayouts finds them where a layout lists them.
func TestListSignaturesOfLayouts(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	f := imagetest.Platforms(2, 1, 100)
	signList(f, "bundle", sigstoreBundle)
	src := registryPlace{t, registrytest.Start(t, registrytest.Options{}), "app"}
	src.push(f, "v1", imagetest.Top)
	src.push(f, "", "bundle")
	dir := t.TempDir()
	_, err := e.image(t.Context(), layoutRef(t, dir, "v1"), src.ref("v1"), Options{ImageListSelection: CopyAllImages, Referrers: AllReferrers})
	require.NoError(t, err)
	dst := registryPlace{t, registrytest.Start(t, registrytest.Options{Strict: true}), "app"}
	_, err = e.image(t.Context(), dst.ref("v1"), layoutRef(t, dir, "v1"), Options{
		ImageListSelection: CopySpecificImages, InstancePlatforms: platforms("linux/amd64"), SparseManifestListAction: StripSparseManifestList,
		ListSignatures: GuardListSignatures,
	})
	locked := errorAs[*CannotModifyError](t, err)
	assert.Contains(t, locked.Reason, f.Digest("bundle").String())
}

// TestListSignaturesOnce asks nothing twice where attachments are copied too.
func TestListSignaturesOnce(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	f := imagetest.Platforms(2, 1, 100)
	signList(f, "bundle", sigstoreBundle)
	src := registryPlace{t, registrytest.Start(t, registrytest.Options{}), "app"}
	src.push(f, "v1", imagetest.Top)
	src.push(f, "", "bundle")
	src.push(f, digestTag(f.Digest(imagetest.Top), ".sig"), "amd64")
	src.ResetLog()
	dst := registryPlace{t, registrytest.Start(t, registrytest.Options{Strict: true}), "app"}
	_, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), Options{
		ImageListSelection: CopySpecificImages, InstancePlatforms: platforms("linux/amd64"), SparseManifestListAction: StripSparseManifestList,
		ListSignatures: GuardListSignatures, Referrers: AllReferrers, DigestTags: true,
	})
	locked := errorAs[*CannotModifyError](t, err)
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
