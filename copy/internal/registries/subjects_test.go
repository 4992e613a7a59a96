package registries

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// subjectHabits are habits that concern the order of writing, subjects and referrers.
var subjectHabits = []habit{
	{"gitlab-subject-first", subjectFirst},
	{"gitlab-subject-lost", subjectLost},
	{"gitlab-subject-of-others", subjectOfOthers},
	{"gitlab-unknown-artifact-type", unknownArtifactType},
	{"gitlab-docker-subject", dockerSubject},
	{"gitlab-digest-for-tag-source", digestForTagAtSource},
	{"gitlab-digest-for-tag-destination", digestForTagAtDestination},
	{"cosign-copy-tags-images", taggedByDigest},
	{"referrers-tag-of-others", entriesOfOthers},
	{"referrers-tag-of-images", indexOfImagesUnderTheTag},
	{"notation-tag-beside-the-api", tagBesideTheAPI},
	{"quay-referrers-stale", staleReferrers},
	{"ghcr-referrers-redirect", referrersElsewhere},
	{"ghcr-referrers-behind-a-firewall", referrersUnreachable},
	{"referrers-page", referrersPages},
	{"harbor-referrers-as-json", func(t *testing.T) { referrersAs(t, registrytest.Options{Referrers: registrytest.ReferrersJSON}) }},
	{"referrers-bare", func(t *testing.T) { referrersAs(t, registrytest.Options{Referrers: registrytest.ReferrersBare}) }},
	{"ggcr-referrers-of-configs", func(t *testing.T) { referrersAs(t, registrytest.Options{Referrers: registrytest.ReferrersOfConfigs}) }},
	{"referrers-in-pages", func(t *testing.T) {
		for _, links := range []registrytest.LinkForm{registrytest.LinkDefault, registrytest.LinkPath, registrytest.LinkUnquoted, registrytest.LinkAfterOthers} {
			referrersAs(t, registrytest.Options{PageSize: 1, Links: links})
		}
	}},
	{"ghcr-referrers-tag-types", typesInTag},
	{"ecr-subject-header", func(t *testing.T) { referrersListed(t, registrytest.Options{NoReferrers: true, SubjectHeader: true}) }},
	{"distribution-platforms-list-closes", listsWithoutPlatforms},
	{"cosign-3-and-notation-sign-lists", signedLists},
}

// subjectFirst: whatever is copied of a list, and however many go at a time, no attestation comes
// before its image.
func subjectFirst(t *testing.T) {
	f := copytest.BuildKitFixture()
	e := copytest.NewEnv(t)
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	src.Push(f, "v1", imagetest.Top)
	two := copy.Options{ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/arm64", "linux/ppc64le")}
	strip, auto := two, two
	strip.SparseManifestListAction, auto.SparseManifestListAction = copy.StripSparseManifestList, copy.AutoSparseManifestList
	attached := auto
	attached.Referrers = copy.AllReferrers
	for name, o := range map[string]copy.Options{
		"all": {ImageListSelection: copy.CopyAllImages}, "one at a time": {ImageListSelection: copy.CopyAllImages, MaxParallelDownloads: 1},
		"strip": strip, "auto": auto, "single": {},
		"with what is attached": {ImageListSelection: copy.CopyAllImages, Referrers: copy.AllReferrers}, "auto, with what is attached": attached,
	} {
		dst := copytest.RegistryAt(t, registrytest.Start(t, copytest.GitLab()), "app")
		r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
		require.NoError(t, err, name)
		dst.Check(imagetest.Want{Tag: "v1", Digest: r.DestinationDigest, Fixture: f})
		refused := dst.Count(func(q registrytest.Request) bool { return q.Method == http.MethodPut && q.Status >= 400 })
		assert.Equal(t, o.SparseManifestListAction == copy.AutoSparseManifestList, refused == 1, "%s: only the sparse list is refused", name)
		assert.LessOrEqual(t, refused, 1, name)
		assert.Equal(t, "v1", dst.History("app")[len(dst.History("app"))-1].Tag, "%s: the tag comes last", name)
	}

	// One platform more, of which the image is there already.
	dst := copytest.RegistryAt(t, registrytest.Start(t, copytest.GitLab()), "app")
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), strip)
	require.NoError(t, err)
	dst.Push(f, "", "s390x")
	_, err = e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages})
	require.NoError(t, err)
	dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f})
}

// subjectLost: an image that was there when it was asked for, and is not when its attestation
// comes, is put again, once, with what it lacks.
func subjectLost(t *testing.T) {
	f := copytest.BuildKitFixture()
	e := copytest.NewEnv(t)
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	src.Push(f, "v1", imagetest.Top)
	for name, forever := range map[string]bool{"once": false, "for good": true} {
		var dst copytest.RegistryPlace
		var before atomic.Bool
		o := copytest.GitLab()
		o.Script = registrytest.Only(func(q *http.Request) bool {
			return q.Method == http.MethodPut && strings.HasSuffix(q.URL.Path, f.Digest("att-arm64").String())
		}, func(int, *http.Request) registrytest.Answer {
			if !before.Swap(true) || forever {
				dst.DeleteManifest("app", f.Digest("arm64"))
				dst.DeleteBlob("app", f.Digest("arm64.layer"))
			}
			return registrytest.Answer{}
		})
		dst = copytest.RegistryAt(t, registrytest.Start(t, o), "app")
		dst.Push(f, "v1", "arm64")
		_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages, MaxParallelDownloads: 1})
		puts := dst.Count(func(q registrytest.Request) bool {
			return q.Method == http.MethodPut && q.Ref == f.Digest("att-arm64").String()
		})
		assert.Equal(t, 2, puts, name)
		if forever {
			require.ErrorContains(t, err, "MANIFEST_BLOB_UNKNOWN")
			assert.Empty(t, dst.Top("v1")) // with the image, the tag that named it was deleted
			continue
		}
		require.NoError(t, err, name)
		dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f})
	}
}

// subjectOfOthers: what refers to something that is not copied cannot be copied either, and the
// error says so.
func subjectOfOthers(t *testing.T) {
	f := copytest.BuildKitFixture()
	e := copytest.NewEnv(t)
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	src.Push(f, "v1", imagetest.Top)
	src.Push(f, "att", "att-s390x")
	for tag, o := range map[string]copy.Options{
		"att": {},
		"v1": {
			ImageListSelection: copy.CopySpecificImages, Instances: []digest.Digest{f.Digest("att-s390x")}, SparseManifestListAction: copy.AutoSparseManifestList,
		},
	} {
		dst := copytest.RegistryAt(t, registrytest.Start(t, copytest.GitLab()), "app")
		_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref(tag), o)
		var wants *copy.SubjectError
		require.ErrorAs(t, err, &wants, tag)
		assert.Equal(t, f.Digest("att-s390x"), wants.Digest)
		assert.Equal(t, f.Digest("s390x"), wants.Subject)
		assert.Empty(t, dst.Manifests("app"), tag)
	}

	// What is attached to a list that changes has nothing to refer to either.
	signed := copytest.AttachedFixture()
	src.Push(signed, "v2", imagetest.Top)
	src.Push(signed, "", "sig-top")
	dst := copytest.RegistryAt(t, registrytest.Start(t, copytest.GitLab()), "app")
	_, err := e.Image(t.Context(), dst.Ref("v2"), src.Ref("v2"), copy.Options{
		ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/amd64"), SparseManifestListAction: copy.StripSparseManifestList,
		Referrers: copy.AllReferrers, KeepVoid: true,
	})
	var wants *copy.SubjectError
	require.ErrorAs(t, err, &wants)
	assert.Equal(t, signed.Digest(imagetest.Top), wants.Subject)
	assert.Empty(t, dst.Top("v2"))
}

// unknownArtifactType: what the destination does not take of what is attached is named, with its
// type, and the tag stays. An attestation in a list that it does not take is no reason to convert
// images.
func unknownArtifactType(t *testing.T) {
	f := copytest.AttachedFixture()
	e := copytest.NewEnv(t)
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	copytest.PushAttached(t, f, src, true)
	o := copytest.GitLab()
	o.TypePolicy = registrytest.GitLabTypes(copytest.SbomType, "application/vnd.cncf.helm.config.v1+json")
	dst := copytest.RegistryAt(t, registrytest.Start(t, o), "app")
	all := copy.Options{ImageListSelection: copy.CopyAllImages, Referrers: copy.AllReferrers}
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), all)
	var refused *copy.AttachmentError
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, copytest.SignatureType, refused.ArtifactType)
	require.ErrorContains(t, err, "unknown media type")
	assert.Empty(t, dst.Top("v1"))
	all.ReferrerTypes = []string{copytest.SbomType}
	_, err = e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), all)
	require.NoError(t, err)
	dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f})
	assert.NotNil(t, copytest.ManifestAt(dst, f.Digest("sbom-amd64")))

	built := copytest.BuildKitFixture()
	src.Push(built, "v2", imagetest.Top)
	_, err = e.Image(t.Context(), dst.Ref("v2"), src.Ref("v2"), copy.Options{ImageListSelection: copy.CopyAllImages})
	require.ErrorContains(t, err, "unknown media type: "+copytest.AttestationType)
	require.ErrorContains(t, err, "Attestations")
	assert.Empty(t, dst.Top("v2"))
}

// dockerSubject: a referrer of a Docker image is refused; that is named, and the tag stays.
func dockerSubject(t *testing.T) {
	f := imagetest.DockerList()
	f.Artifact("sbom", imagetest.ArtifactType(copytest.SbomType), imagetest.Subject("arm64"))
	e := copytest.NewEnv(t)
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	src.Push(f, "v1", imagetest.Top)
	src.Push(f, "", "sbom")
	dst := copytest.RegistryAt(t, registrytest.Start(t, copytest.GitLab()), "app")
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages, Referrers: copy.AllReferrers})
	var refused *copy.AttachmentError
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, f.Digest("arm64"), refused.Subject)
	assert.Empty(t, dst.Top("v1"))
	_, err = e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages})
	require.NoError(t, err)
	dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f})
}

// digestForTagAtSource: where the referrers tag is taken for the digest, it names the image or list
// itself, which lists no referrers.
func digestForTagAtSource(t *testing.T) {
	e := copytest.NewEnv(t)
	for name, f := range map[string]*imagetest.Fixture{"index": copytest.BuildKitFixture(), "Docker list": imagetest.DockerList(), "nested": imagetest.Nested()} {
		src := copytest.RegistryAt(t, registrytest.Start(t, copytest.GitLab()), "app")
		src.Push(f, "v1", imagetest.Top)
		src.Push(f, "one", "arm64")
		for _, tag := range []string{"v1", "one"} {
			for to, newDestination := range copytest.AttachablePlaces {
				if to == "layout" && name == "Docker list" {
					continue // is converted
				}
				dst := newDestination(t)
				r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref(tag), copy.Options{ImageListSelection: copy.CopyAllImages, Referrers: copy.AllReferrers, DigestTags: true})
				require.NoError(t, err, "%s, %s, to %s", name, tag, to)
				assert.Empty(t, r.Attached, "%s, %s, to %s", name, tag, to)
				assert.Empty(t, r.Warnings, "%s, %s, to %s", name, tag, to)
				dst.Check(imagetest.Want{Tag: "v1", Digest: src.Top(tag), Fixture: f})
			}
		}
		// Nothing is known of signatures that would guard it from being stripped: there are none.
		dst := copytest.Places["registry"](t)
		_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{
			ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/arm64"),
			SparseManifestListAction: copy.StripSparseManifestList, ListSignatures: copy.GuardListSignatures,
		})
		require.NoError(t, err, name)
	}
}

// digestForTagAtDestination: such a destination gets the referrers, and is not told of them; a
// warning says that. The second run has nothing to do, and says it again.
func digestForTagAtDestination(t *testing.T) {
	f := copytest.AttachedFixture()
	e := copytest.NewEnv(t)
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	copytest.PushAttached(t, f, src, true)
	dst := copytest.RegistryAt(t, registrytest.Start(t, copytest.GitLab()), "app")
	o := copytest.Followers()
	subjects := []string{imagetest.Top, "amd64", "arm64", "arm/v7", "ppc64le", "sbom-amd64", "sbom-arm64", "sbom-arm/v7", "sbom-ppc64le"}
	for run := range 2 {
		dst.ResetLog()
		r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
		require.NoError(t, err)
		assert.Len(t, r.Warnings, len(subjects))
		for _, name := range subjects {
			assert.Contains(t, strings.Join(r.Warnings, "\n"), "referrers of "+f.Digest(name).String()+" cannot be listed")
		}
		if run == 1 {
			assert.Zero(t, r.ManifestsCopied)
			assert.Zero(t, dst.Count(func(q registrytest.Request) bool { return q.Method != http.MethodGet && q.Method != http.MethodHead }))
		}
		for _, a := range r.Attached {
			assert.Equal(t, []copy.Outcome{copy.Copied, copy.Present}[run], a.Outcome)
		}
	}
	for _, name := range []string{"sbom-amd64", "sig-sbom-arm64", "sig-top"} {
		assert.NotNil(t, copytest.ManifestAt(dst, f.Digest(name)), name)
	}
	assert.NotNil(t, copytest.ManifestAt(dst, f.Digest("cosign-amd64")))
	for _, tag := range dst.Tags("app") {
		assert.True(t, tag == "v1" || strings.HasSuffix(tag, ".sig"), "tag %s was written", tag)
	}
	dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f})
}

// taggedByDigest: where a digest is the name of a tag, as `cosign copy` makes it, that tag names
// the image itself, or another one. It lists no referrers, and is never written over.
func taggedByDigest(t *testing.T) {
	f := copytest.AttachedFixture()
	e := copytest.NewEnv(t)
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{NoReferrers: true}), "app")
	src.Push(f, "v1", imagetest.Top)
	for _, name := range []string{imagetest.Top, "amd64", "arm64"} {
		src.Push(f, endpoint.ReferrersTag(f.Digest(name)), name)
	}
	src.Push(f, endpoint.ReferrersTag(f.Digest("arm/v7")), "amd64") // somebody's mistake
	dst := copytest.Places["registry"](t)
	r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copytest.Followers())
	require.NoError(t, err)
	assert.Empty(t, r.Attached)
	assert.Empty(t, r.Warnings)

	with := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	copytest.PushAttached(t, f, with, true)
	before := map[string]digest.Digest{}
	for _, name := range []string{imagetest.Top, "amd64", "arm64", "arm/v7"} {
		before[name] = src.Top(endpoint.ReferrersTag(f.Digest(name)))
	}
	r, err = e.Image(t.Context(), src.Ref("v2"), with.Ref("v1"), copytest.Followers())
	require.NoError(t, err)
	for name, was := range before {
		assert.Equal(t, was, src.Top(endpoint.ReferrersTag(f.Digest(name))), name)
		assert.Contains(t, strings.Join(r.Warnings, "\n"), "referrers of "+f.Digest(name).String()+" cannot be listed")
	}
	assert.Len(t, r.Warnings, len(before))
	assert.NotNil(t, copytest.ManifestAt(src, f.Digest("sbom-amd64")))
	assert.Equal(t, f.Digests("sbom-ppc64le"), copytest.ReferrersAt(t, e, src, f.Digest("ppc64le")), "the others are listed")
	src.Check(imagetest.Want{Tag: "v2", Digest: f.Digest(imagetest.Top), Fixture: f})
}

// entriesOfOthers: entries of a referrers tag whose manifests refer to something else, or to
// nothing, are no referrers. Where they are listed at the destination, they stay.
func entriesOfOthers(t *testing.T) {
	f := copytest.AttachedFixture()
	e := copytest.NewEnv(t)
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{NoReferrers: true}), "app")
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{NoReferrers: true}), "app")
	src.Push(f, "v1", "amd64")
	copytest.AttachTo(t, src, f, "amd64", "sbom-amd64")
	copytest.AttachTo(t, src, f, "amd64", "sbom-arm64") // another's
	copytest.AttachTo(t, src, f, "amd64", "arm64")      // an image
	copytest.AttachTo(t, dst, f, "amd64", "cosign-ppc64le")
	copytest.AttachTo(t, dst, f, "amd64", "sig-top")
	r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{Referrers: copy.AllReferrers})
	require.NoError(t, err)
	require.Len(t, r.Attached, 1)
	assert.Equal(t, f.Digest("sbom-amd64"), r.Attached[0].Digest)
	require.Len(t, r.Warnings, 2)
	for _, warning := range r.Warnings {
		assert.Contains(t, warning, "refers to something else")
	}
	assert.Equal(t, f.Digests("cosign-ppc64le", "sig-top", "sbom-amd64"), copytest.ReferrersAt(t, e, dst, f.Digest("amd64")))
}

// indexOfImagesUnderTheTag: an index of images, whoever has named it so, lists no referrers, and
// gets no entries.
func indexOfImagesUnderTheTag(t *testing.T) {
	f := copytest.AttachedFixture()
	f.List("images", imagetest.Entries("arm64", "ppc64le"))
	e := copytest.NewEnv(t)
	tag := endpoint.ReferrersTag(f.Digest("amd64"))
	for _, api := range []bool{true, false} {
		src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{NoReferrers: !api}), "app")
		src.Push(f, "v1", "amd64")
		src.Push(f, tag, "images")
		r, err := e.Image(t.Context(), copytest.Places["registry"](t).Ref("v1"), src.Ref("v1"), copytest.Followers())
		require.NoError(t, err)
		assert.Empty(t, r.Attached)
		assert.Empty(t, r.Warnings)

		with := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
		copytest.PushAttached(t, f, with, true)
		for run := range 2 {
			r, err = e.Image(t.Context(), src.Ref("v2"), with.Ref("v1"), copytest.Followers())
			require.NoError(t, err)
			assert.Equal(t, f.Digest("images"), src.Top(tag))
			assert.NotNil(t, copytest.ManifestAt(src, f.Digest("sbom-amd64")))
			assert.Equal(t, api, len(r.Warnings) == 0, r.Warnings)
			assert.Equal(t, run == 1, r.ManifestsCopied == 0)
		}
		if !api {
			assert.Contains(t, r.Warnings[0], "referrers of "+f.Digest("amd64").String()+" cannot be listed")
			assert.Contains(t, r.Warnings[0], "an index of images")
		}
		src.Check(imagetest.Want{Tag: "v2", Digest: f.Digest(imagetest.Top), Fixture: f})
	}
}

// tagBesideTheAPI: what a referrers tag lists beside an API that lists it, too, is copied once, to
// places of all kinds. At a destination with the API such a tag stays as it is. The second run
// writes nothing.
func tagBesideTheAPI(t *testing.T) {
	f := copytest.AttachedFixture()
	e := copytest.NewEnv(t)
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	copytest.PushAttached(t, f, src, false)
	for name, o := range map[string]registrytest.Options{"API": {Strict: true}, "no API": {Strict: true, NoReferrers: true}} {
		dst := copytest.RegistryAt(t, registrytest.Start(t, o), "app")
		copytest.AttachTo(t, dst, f, "amd64", "cosign-amd64")
		tag := endpoint.ReferrersTag(f.Digest("amd64"))
		before := dst.Top(tag)
		for run := range 2 {
			dst.ResetLog()
			r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copytest.Followers())
			require.NoError(t, err, name)
			assert.Empty(t, r.Warnings, name)
			assert.Len(t, r.Attached, 11, name)
			assert.Equal(t, o.NoReferrers, dst.Top(tag) != before, name)
			puts := dst.Count(func(q registrytest.Request) bool { return q.Method == http.MethodPut || q.Method == http.MethodPost })
			assert.Equal(t, run == 1, puts == 0, name)
		}
		assert.Contains(t, copytest.ReferrersAt(t, e, dst, f.Digest("amd64")), f.Digest("sbom-amd64"), name)
		assert.Contains(t, copytest.ReferrersAt(t, e, dst, f.Digest("amd64")), f.Digest("cosign-amd64"), name)
		dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f})
	}
}

// staleReferrers: what the API does not list yet, and the tag does, is copied, and guards a list
// from being stripped.
func staleReferrers(t *testing.T) {
	f := copytest.AttachedFixture()
	copytest.SignList(f, "bundle", copytest.BundleType)
	e := copytest.NewEnv(t)
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Referrers: registrytest.ReferrersStale}), "app")
	copytest.PushAttached(t, f, src, false)
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Strict: true}), "app")
	for run := range 2 {
		r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copytest.Followers())
		require.NoError(t, err)
		assert.Empty(t, r.Warnings)
		assert.Len(t, r.Attached, 11)
		assert.Equal(t, run == 1, r.ManifestsCopied == 0)
	}
	for subject, referrer := range map[string]string{"amd64": "sbom-amd64", "sbom-amd64": "sig-sbom-amd64", imagetest.Top: "sig-top"} {
		assert.Equal(t, f.Digests(referrer), copytest.ReferrersAt(t, e, dst, f.Digest(subject)), subject)
	}
	dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f})

	copytest.AttachTo(t, src, f, imagetest.Top, "bundle")
	_, err := e.Image(t.Context(), dst.Ref("v2"), src.Ref("v1"), copy.Options{
		ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/amd64"),
		SparseManifestListAction: copy.StripSparseManifestList, ListSignatures: copy.GuardListSignatures,
	})
	var signed *copy.CannotModifyError
	require.ErrorAs(t, err, &signed)
	assert.Empty(t, dst.Top("v2"))
}

// referrersListed: at both ends, referrers are found and listed.
func referrersListed(t *testing.T, o registrytest.Options) {
	f := copytest.AttachedFixture()
	e := copytest.NewEnv(t)
	src := copytest.RegistryAt(t, registrytest.Start(t, o), "app")
	copytest.PushAttached(t, f, src, !o.NoReferrers && o.ReferrersPage == 0)
	dst := copytest.RegistryAt(t, registrytest.Start(t, o), "app")
	r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copytest.Followers())
	require.NoError(t, err)
	assert.Empty(t, r.Warnings)
	assert.Len(t, r.Attached, 11)
	for subject, referrer := range map[string]string{"amd64": "sbom-amd64", "sbom-amd64": "sig-sbom-amd64", imagetest.Top: "sig-top"} {
		assert.Equal(t, f.Digests(referrer), copytest.ReferrersAt(t, e, dst, f.Digest(subject)), subject)
	}
	dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f})
	again, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copytest.Followers())
	require.NoError(t, err)
	assert.Zero(t, again.ManifestsCopied)
}

// listsWithoutPlatforms: where the connection is closed for an index whose entries have no
// platform, no referrers can be listed, and no such list be had, kept or stripped. The tag stays.
func listsWithoutPlatforms(t *testing.T) {
	closes := registrytest.Options{ListPolicy: registrytest.Distribution3Listed("linux/amd64"), NoReferrers: true}
	f := copytest.AttachedFixture()
	f.List("without platforms", imagetest.Entry("amd64", imagetest.NoPlatform()), imagetest.Entry("arm64", imagetest.NoPlatform()))
	e := copytest.NewEnv(t)
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	copytest.PushAttached(t, f, src, true)
	src.Push(f, "v2", "without platforms")
	for _, c := range []struct {
		tag, words string
		options    copy.Options
	}{
		{"v1", "announcing referrers of", copytest.Followers()},
		{"v2", "writing docker://", copy.Options{ImageListSelection: copy.CopyAllImages}},
		{"v2", "writing docker://", copy.Options{
			ImageListSelection: copy.CopySpecificImages, Instances: f.Digests("amd64"), SparseManifestListAction: copy.AutoSparseManifestList,
		}},
	} {
		dst := copytest.RegistryAt(t, registrytest.Start(t, closes), "app")
		dst.Push(f, c.tag, "ppc64le")
		r, err := e.Image(t.Context(), dst.Ref(c.tag), src.Ref(c.tag), c.options)
		require.ErrorContains(t, err, c.words)
		assert.ErrorIs(t, err, io.EOF)
		assert.Empty(t, r.Refusal, "a closed connection says nothing about sparse lists")
		imagetest.CheckUnchanged(t, dst.Registry, dst.Repo, c.tag, f.Digest("ppc64le"))
	}
}

// referrersElsewhere: where the question for referrers leads to the pages of a website, there is no
// referrers API, whatever these say of themselves, and nobody is asked a second time.
func referrersElsewhere(t *testing.T) {
	for _, status := range []int{200, 403, 404, 406, 429, 503} {
		referrersListed(t, registrytest.Options{ReferrersPage: status})
	}
	f := copytest.AttachedFixture()
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{ReferrersPage: http.StatusTooManyRequests}), "app")
	src.Push(f, "v1", "amd64")
	_, err := copytest.NewEnv(t).Image(t.Context(), copytest.Places["registry"](t).Ref("v1"), src.Ref("v1"), copy.Options{Referrers: copy.AllReferrers})
	require.NoError(t, err)
	assert.Equal(t, 2, src.Count(registrytest.Is(http.MethodGet, registrytest.KindReferrers)), "the question, and the page")
}

// referrersUnreachable: where the question leads to a host that cannot be reached, the tag is asked
// for; what it does not list is unknown.
func referrersUnreachable(t *testing.T) {
	f := copytest.AttachedFixture()
	e := copytest.NewEnv(t)
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{ReferrersPage: http.StatusOK, Script: registrytest.Only(func(q *http.Request) bool {
		return strings.HasPrefix(q.Host, "localhost:")
	}, registrytest.EveryNth(1, registrytest.Close()))}), "app")
	src.Push(f, "v1", "amd64")
	copytest.AttachTo(t, src, f, "amd64", "sbom-amd64")
	dst := copytest.Places["registry"](t)
	r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{Referrers: copy.AllReferrers})
	require.NoError(t, err)
	require.Len(t, r.Attached, 1)
	assert.Equal(t, copy.Copied, r.Attached[0].Outcome)
	require.Len(t, r.Warnings, 1)
	assert.Contains(t, r.Warnings[0], "whether "+f.Digest("sbom-amd64").String()+" has referrers could not be asked")
	assert.Zero(t, r.Source.Retries)
}

// referrersPages: where pages answer the question for referrers and for the tag, nobody knows
// whether there are any. That is said of each subject at the source; at the destination nothing is
// written over what may be there.
func referrersPages(t *testing.T) {
	f := copytest.AttachedFixture()
	e := copytest.NewEnv(t)
	portal := registrytest.Options{Script: registrytest.Only(func(q *http.Request) bool {
		return strings.Contains(q.URL.Path, "/referrers/") || strings.Contains(q.URL.Path, "/manifests/sha256-")
	}, registrytest.EveryNth(1, registrytest.FailHTML(http.StatusOK)))}
	src := copytest.RegistryAt(t, registrytest.Start(t, portal), "app")
	src.Push(f, "v1", imagetest.Top)
	r, err := e.Image(t.Context(), copytest.Places["registry"](t).Ref("v1"), src.Ref("v1"), copytest.Followers())
	require.NoError(t, err)
	assert.Empty(t, r.Attached)
	said := strings.Join(r.Warnings, "\n")
	assert.Len(t, r.Warnings, 5)
	for _, name := range []string{imagetest.Top, "amd64", "arm64", "arm/v7", "ppc64le"} {
		assert.Contains(t, said, "whether "+f.Digest(name).String()+" has ")
		assert.Contains(t, said, "referrers could not be asked")
	}

	with := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	copytest.PushAttached(t, f, with, true)
	for name, o := range map[string]copy.Options{
		"referrers": {ImageListSelection: copy.CopyAllImages, Referrers: copy.AllReferrers}, "tags": {ImageListSelection: copy.CopyAllImages, DigestTags: true},
	} {
		dst := copytest.RegistryAt(t, registrytest.Start(t, portal), "app")
		_, err = e.Image(t.Context(), dst.Ref("v1"), with.Ref("v1"), o)
		require.ErrorIs(t, err, endpoint.ErrUnknown, name)
		assert.Empty(t, dst.Tags("app"), name)
	}
}

// sigstoreFixture is an image with a signature and an SBOM, whose types only the manifests state:
// their configs are empty.
func sigstoreFixture() *imagetest.Fixture {
	f := imagetest.Platforms(2, 1, 100)
	empty := imagetest.Config(imgspecv1.MediaTypeEmptyJSON, []byte("{}"))
	f.Blob("bundle", copytest.BundleType, []byte(`{"mediaType":"`+copytest.BundleType+`"}`))
	f.Artifact("signature", imagetest.ArtifactType(copytest.BundleType), imagetest.Subject("amd64"), empty, imagetest.Layers("bundle"))
	f.Artifact("sbom", imagetest.ArtifactType(copytest.SbomType), imagetest.Subject("amd64"), empty, imagetest.Layers("bundle"))
	return f
}

// referrersAs: however an API lists referrers, those of a type that is asked for are copied, and no
// others.
func referrersAs(t *testing.T, o registrytest.Options) {
	f := sigstoreFixture()
	e := copytest.NewEnv(t)
	src := copytest.RegistryAt(t, registrytest.Start(t, o), "app")
	dst := copytest.RegistryAt(t, registrytest.Start(t, o), "app")
	src.Push(f, "v1", "amd64")
	src.Push(f, "", "signature")
	src.Push(f, "", "sbom")
	for _, c := range []struct {
		types  []string
		copied []string
	}{
		{[]string{copytest.BundleType}, []string{"signature"}},
		{[]string{copytest.BundleType, "a/b"}, []string{"signature"}},
		{[]string{"a/b"}, nil},
		{nil, []string{"signature", "sbom"}},
	} {
		for run := range 2 {
			tag := fmt.Sprintf("v%d", len(c.types))
			r, err := e.Image(t.Context(), dst.Ref(tag), src.Ref("v1"), copy.Options{Referrers: copy.AllReferrers, ReferrerTypes: c.types})
			require.NoError(t, err)
			assert.Empty(t, r.Warnings)
			var copied []digest.Digest
			for _, a := range r.Attached {
				if a.Outcome == copy.Copied || a.Outcome == copy.Present {
					copied = append(copied, a.Digest)
				}
			}
			assert.ElementsMatch(t, f.Digests(c.copied...), copied, "%v", c.types)
			if run == 1 {
				assert.Zero(t, r.ManifestsCopied)
			}
		}
	}
	for _, name := range []string{"signature", "sbom"} {
		assert.NotNil(t, copytest.ManifestAt(dst, f.Digest(name)), name)
	}
	dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest("amd64"), Fixture: f})
}

// typesInTag: what a referrers tag states as the types of its entries was written by clients, some
// of which are wrong. The manifests say what they are: a signature that is asked for is copied, and
// one that guards a list is found.
func typesInTag(t *testing.T) {
	f := sigstoreFixture()
	f.Artifact("of list", imagetest.ArtifactType(copytest.BundleType), imagetest.Subject(imagetest.Top), imagetest.Config(imgspecv1.MediaTypeEmptyJSON, []byte("{}")))
	e := copytest.NewEnv(t)
	for _, stated := range []string{"", imgspecv1.MediaTypeEmptyJSON, copytest.SbomType, imgspecv1.MediaTypeImageConfig} {
		src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{NoReferrers: true}), "app")
		src.Push(f, "v1", imagetest.Top)
		for _, r := range []struct{ referrer, subject string }{{"signature", "amd64"}, {"sbom", "amd64"}, {"of list", imagetest.Top}} {
			src.Push(f, "", r.referrer)
			tag := endpoint.ReferrersTag(f.Digest(r.subject))
			old, _, _ := src.Manifest("app", tag)
			merged, _, err := endpoint.MergeReferrers(old, []imgspecv1.Descriptor{{
				MediaType: imgspecv1.MediaTypeImageManifest, Digest: f.Digest(r.referrer), Size: f.Size(r.referrer), ArtifactType: stated,
			}})
			require.NoError(t, err)
			src.PutManifest("app", tag, imgspecv1.MediaTypeImageIndex, merged)
		}
		for to, newDestination := range copytest.AttachablePlaces {
			dst := newDestination(t)
			for _, types := range [][]string{{copytest.BundleType}, {copytest.BundleType, "a/b"}} {
				_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages, Referrers: copy.AllReferrers, ReferrerTypes: types})
				require.NoError(t, err)
				assert.NotNil(t, copytest.ManifestAt(dst, f.Digest("signature")), "%s, %q", to, stated)
				assert.Nil(t, copytest.ManifestAt(dst, f.Digest("sbom")), "%s, %q", to, stated)
			}
		}
		var kept *copy.CannotModifyError
		_, err := e.Image(t.Context(), copytest.Places["registry"](t).Ref("v1"), src.Ref("v1"), copy.Options{
			ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/amd64"),
			SparseManifestListAction: copy.StripSparseManifestList, ListSignatures: copy.GuardListSignatures,
		})
		require.ErrorAs(t, err, &kept, "%q", stated)
		assert.Contains(t, kept.Reason, f.Digest("of list").String())
	}
}

// signedLists: a list that is signed, by whatever tool, is not stripped where that is guarded. Each
// question is one request.
func signedLists(t *testing.T) {
	for _, artifactType := range []string{copytest.SigstoreBundle, "application/vnd.cncf.notary.signature"} {
		e := copytest.NewEnv(t)
		f := imagetest.Platforms(2, 1, 100)
		copytest.SignList(f, "signature", artifactType)
		src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
		src.Push(f, "v1", imagetest.Top)
		src.Push(f, "", "signature")
		src.Push(f, copytest.DigestTag(f.Digest(imagetest.Top), ".sig"), "amd64")
		src.ResetLog()
		dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Strict: true}), "app")
		_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{
			ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/amd64"), SparseManifestListAction: copy.StripSparseManifestList,
			ListSignatures: copy.GuardListSignatures,
		})
		locked := copytest.ErrorAs[*copy.CannotModifyError](t, err)
		assert.Contains(t, locked.Reason, "referrer "+f.Digest("signature").String())
		assert.Contains(t, locked.Reason, "tag sha256-")
		assert.Empty(t, dst.History("app"))
		asked := src.Count(func(r registrytest.Request) bool {
			return r.Kind == registrytest.KindReferrers || strings.HasSuffix(r.Ref, ".sig")
		})
		assert.Equal(t, 2, asked)
	}
}
