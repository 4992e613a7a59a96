package registries

import (
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/clock/clocktest"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// sparseHabits are answers to sparse lists.
var sparseHabits = []habit{
	{"distribution-names-each-child", func(t *testing.T) { refusesAs(t, registrytest.Distribution3, clearly) }},
	{"nexus-blob-unknown", func(t *testing.T) { refusesAs(t, registrytest.Nexus, clearly) }},
	{"ecr-digests-in-a-message", func(t *testing.T) { refusesAs(t, registrytest.ECR, clearly) }},
	{"olareg-digest-in-a-sentence", func(t *testing.T) { refusesAs(t, registrytest.Olareg, clearly) }},
	{"quay-digest-in-a-text", func(t *testing.T) { refusesAs(t, registrytest.Quay, clearly) }},
	{"go-containerregistry-404", func(t *testing.T) { refusesAs(t, registrytest.GoContainerRegistry, clearly) }},
	{"zot-names-no-child", func(t *testing.T) { refusesAs(t, registrytest.Zot, unclearly) }},
	{"gitea-404-without-digest", func(t *testing.T) { refusesAs(t, registrytest.Gitea, unclearly) }},
	{"unclear-for-another-reason", unclearOtherwise},
	{"distribution-3-blobs-in-a-list", blobsInAList},
	{"digest-of-something-else", digestOfSomethingElse},
	{"cue-labs-500", serverErrorNeverStrips},
	{"refused-list-has-no-tags", refusedListHasNoTags},
	{"demanded-child-cannot-be-asked-for", demandedChildUntold},
	{"demands-of-a-list-with-missing-children", demandsOfMissing},
	{"destination-answers-no-question", destinationTellsNothing},
	{"ghcr-deletes-children", lostChildOfAStrippedList},
	{"children-of-a-stripped-list-cannot-be-asked-for", untoldChildOfAStrippedList},
	{"quay-links-children-at-first", wideningDoesNotHold},
	{"quay-links-children-at-first-tags", childTags},
	{"sparse-registry-widening", wideningHolds},
	{"sparse-registry-policies-of-repositories", policiesOfRepositories},
}

// How a registry says that it is absent children for which it refuses a list.
const (
	clearly   = false
	unclearly = true
)

// only is a selection of linux/amd64 alone.
func only(action copy.SparseManifestListAction) copy.Options {
	o := copytest.Auto("linux/amd64")
	o.SparseManifestListAction = action
	return o
}

// listsPut are the distinct lists that were put, whatever became of that.
func listsPut(r *registrytest.Registry) []string {
	var lists []string
	for _, q := range r.Requests() {
		if q.Method == http.MethodPut && q.Kind == registrytest.KindManifest && q.Header.Get("Content-Type") == imgspecv1.MediaTypeImageIndex {
			lists = append(lists, q.Ref)
		}
	}
	slices.Sort(lists)
	return slices.Compact(lists)
}

// refusesAs: whatever words a registry has for absent children, Auto strips, Keep says so and tries
// nothing else, and where nothing may be stripped, both reasons are given. A list is put by its
// digest, to find out, only where the answer is unclear, and only under Auto.
func refusesAs(t *testing.T, policy registrytest.ListPolicy, unclear bool) {
	f := imagetest.Platforms(4, 1, 100)
	e := copytest.NewEnv(t)
	src := copytest.Places["registry"](t)
	src.Push(f, "v1", imagetest.Top)
	start := func() copytest.RegistryPlace {
		return copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{ListPolicy: policy}), "app")
	}

	dst := start()
	r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), only(copy.AutoSparseManifestList))
	require.NoError(t, err)
	assert.Equal(t, copy.StripSparseManifestList, r.Action)
	assert.NotEmpty(t, r.Refusal)
	dst.Check(imagetest.Want{Tag: "v1", Digest: r.DestinationDigest, Fixture: f, Present: []string{"amd64"}, Absent: []string{"arm64", "arm/v7", "ppc64le"}})
	probed := []string{"v1"}
	if unclear {
		probed = []string{r.DestinationDigest.String(), "v1"}
	}
	assert.Equal(t, probed, listsPut(dst.Registry))

	for name, options := range map[string]copy.Options{"keep": only(copy.KeepSparseManifestList), "auto": only(copy.AutoSparseManifestList)} {
		options.PreserveDigests = name == "auto"
		dst := start()
		_, err = e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), options)
		var refused *copy.SparseRefusedError
		require.ErrorAs(t, err, &refused, name)
		assert.Equal(t, unclear, refused.Unclear, name)
		assert.Equal(t, unclear, strings.Contains(err.Error(), "may be because it is sparse: 3 children are absent"), err)
		assert.ElementsMatch(t, f.Digests("arm64", "arm/v7", "ppc64le"), refused.Absent)
		require.ErrorAs(t, err, new(*copy.RegistryError), name)
		assert.NotEmpty(t, refused.NotStripped, name)
		assert.Equal(t, []string{"v1"}, listsPut(dst.Registry), "nothing is probed")
		assert.Empty(t, dst.Tags("app"))
	}

	dst = start()
	_, err = e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages, SparseManifestListAction: copy.AutoSparseManifestList})
	require.NoError(t, err)
	dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f})
}

// unclearOtherwise: an answer that may be about absent children is about something else, as the
// refusal of the stripped list shows, which is put by its digest first: no tag names it. The same
// where a child that was there before cannot be asked for.
func unclearOtherwise(t *testing.T) {
	f := imagetest.Platforms(4, 1, 100)
	src := copytest.Places["registry"](t)
	src.Push(f, "v1", imagetest.Top)
	refuse := func(l registrytest.ListPut) registrytest.Answer {
		return registrytest.Fail(http.StatusBadRequest, "MANIFEST_INVALID", "annotations are not allowed here")
	}
	e := copytest.NewEnv(t)
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{ListPolicy: refuse}), "app")
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), only(copy.AutoSparseManifestList))
	refused := copytest.ErrorAs[*copy.SparseRefusedError](t, err)
	assert.True(t, refused.Unclear)
	require.Error(t, refused.StrippedRefusal)
	assert.Empty(t, dst.Tags("app"))

	var kept atomic.Bool
	dst = copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{ListPolicy: registrytest.Zot, Script: func(_ int, q *http.Request) registrytest.Answer {
		if q.Method == http.MethodPut && strings.HasSuffix(q.URL.Path, "/v1") {
			kept.Store(true)
		}
		if kept.Load() && q.Method == http.MethodHead {
			return registrytest.Fail(http.StatusForbidden, "DENIED", "no more")
		}
		return registrytest.Answer{}
	}}), "app")
	dst.Push(f, "other", "amd64")
	dst.Push(f, "v1", "arm64") // so that what is wanted is asked for before anything is read
	dst.DeleteManifest("app", f.Digest("arm64"))
	_, err = e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), only(copy.AutoSparseManifestList))
	refused = copytest.ErrorAs[*copy.SparseRefusedError](t, err)
	assert.True(t, refused.Unclear)
	assert.Contains(t, refused.NotStripped, "whether "+f.Digest("amd64").String()+" is still there could not be asked")
	assert.Empty(t, dst.Top("v1"))
}

// blobsInAList: a list has an entry for a layer, as BuildKit's caches have, which distribution 3
// refuses with the words for absent children, although it has that layer. Nothing is stripped from
// such a list, so that the error says what it is, under Keep and under Auto; distribution 2.8 takes
// it.
func blobsInAList(t *testing.T) {
	f := imagetest.New()
	f.Layer("layer")
	f.Image("amd64", imagetest.Platform("linux/amd64"), imagetest.Layers("layer"))
	f.List(imagetest.Top, imagetest.Entries("amd64", "layer"))
	e := copytest.NewEnv(t)
	src := copytest.Places["registry"](t)
	src.Push(f, "v1", imagetest.Top)
	for _, action := range []copy.SparseManifestListAction{copy.KeepSparseManifestList, copy.AutoSparseManifestList} {
		dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{ListPolicy: registrytest.Distribution3}), "app")
		_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), only(action))
		_, layerThere := dst.Content("app", f.Digest("layer"))
		assert.True(t, layerThere)
		assert.Equal(t, 1, copytest.ErrorAs[*copy.BlobsRefusedError](t, err).Blobs)
		assert.Empty(t, dst.Top("v1"))

		dst = copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{ListPolicy: registrytest.Distribution28}), "app")
		_, err = e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), only(action))
		require.NoError(t, err)
		dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f, Present: []string{"amd64", "layer"}})
	}
}

// digestOfSomethingElse: an answer with a code for what is not there names something that is no
// child of the list. It is not about sparse lists, whether the digest stands in the detail, in a
// sentence or in the message.
func digestOfSomethingElse(t *testing.T) {
	f := imagetest.Platforms(3, 1, 100)
	src := copytest.Places["registry"](t)
	src.Push(f, "v1", imagetest.Top)
	other := digest.FromString("something else")
	for name, answer := range map[string]registrytest.Error{
		"detail":   {Code: "MANIFEST_BLOB_UNKNOWN", Message: "blob unknown to registry", Detail: other},
		"sentence": {Code: "MANIFEST_BLOB_UNKNOWN", Message: "manifest unknown", Detail: map[string]string{"message": "no signature " + other.String() + " of it"}},
		"message":  {Code: "MANIFEST_INVALID", Message: "the base image " + other.String() + " is unknown"},
	} {
		e := copytest.NewEnv(t)
		dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{ListPolicy: func(l registrytest.ListPut) registrytest.Answer {
			if len(l.Missing()) == 0 {
				return registrytest.Answer{}
			}
			return registrytest.Answer{Status: http.StatusBadRequest, Errors: append(registrytest.Distribution3(l).Errors, answer)}
		}}), "app")
		_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), only(copy.AutoSparseManifestList))
		require.ErrorAs(t, err, new(*copy.RegistryError), name)
		require.NotErrorAs(t, err, new(*copy.SparseRefusedError), name)
		assert.Empty(t, dst.Top("v1"), name)
		assert.Equal(t, []string{"v1"}, listsPut(dst.Registry), name)
	}
}

// serverErrorNeverStrips: a server error is about the server, whatever its words.
func serverErrorNeverStrips(t *testing.T) {
	f := imagetest.Platforms(3, 1, 100)
	e := copytest.NewEnv(t)
	src := copytest.Places["registry"](t)
	src.Push(f, "v1", imagetest.Top)
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{ListPolicy: registrytest.CueLabs}), "app")
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), only(copy.AutoSparseManifestList))
	assert.Equal(t, http.StatusInternalServerError, copytest.ErrorAs[*copy.RegistryError](t, err).Status)
	require.NotErrorAs(t, err, new(*copy.SparseRefusedError))
	assert.Empty(t, dst.Top("v1"))
	r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), only(copy.StripSparseManifestList))
	require.NoError(t, err)
	dst.Check(imagetest.Want{Tag: "v1", Digest: r.DestinationDigest, Fixture: f, Present: []string{"amd64"}})
}

// refusedListHasNoTags: where a kept list is refused, nothing is left that is attached to it.
func refusedListHasNoTags(t *testing.T) {
	f := copytest.AttachedFixture()
	e := copytest.NewEnv(t)
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	copytest.PushAttached(t, f, src, true)
	for name, policy := range map[string]registrytest.ListPolicy{"clearly": registrytest.Distribution3, "unclearly": registrytest.Zot} {
		for _, noAPI := range []bool{false, true} {
			dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{ListPolicy: policy, NoReferrers: noAPI}), "app")
			o := only(copy.KeepSparseManifestList)
			o.Referrers, o.DigestTags = copy.AllReferrers, true
			_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
			copytest.ErrorAs[*copy.SparseRefusedError](t, err)
			assert.Empty(t, dst.Tags("app"), name)
		}
	}
}

// refusingHEAD is a script that answers HEAD of a manifest with one digest.
func refusingHEAD(d digest.Digest, answer registrytest.Answer) registrytest.Script {
	return registrytest.Only(func(q *http.Request) bool {
		return q.Method == http.MethodHead && strings.HasSuffix(q.URL.Path, "/manifests/"+d.String())
	}, registrytest.EveryNth(1, answer))
}

// notAnswers are answers that say nothing about what is there.
var notAnswers = map[string]registrytest.Answer{
	"401":      registrytest.Fail(http.StatusUnauthorized, "UNAUTHORIZED", "authentication required"),
	"403":      registrytest.Fail(http.StatusForbidden, "DENIED", "requested access to the resource is denied"),
	"404 page": registrytest.FailHTML(http.StatusNotFound),
	"429":      registrytest.Fail(http.StatusTooManyRequests, "TOOMANYREQUESTS", "slow down"),
	"500":      registrytest.Fail(http.StatusInternalServerError, "UNKNOWN", "unknown error"),
	"closed":   registrytest.Close(),
}

// demandedChildUntold: a registry demands a child that an earlier copy has brought, and does not
// tell that it has it. The list is kept, as the registry wants it, and what was not answered is
// said. What is not demanded is not asked for.
func demandedChildUntold(t *testing.T) {
	f := imagetest.Platforms(4, 1, 100)
	for name, answer := range notAnswers {
		for _, action := range []copy.SparseManifestListAction{copy.AutoSparseManifestList, copy.KeepSparseManifestList} {
			e := copytest.NewEnv(t)
			src := copytest.Places["registry"](t)
			src.Push(f, "v1", imagetest.Top)
			dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{
				Announce: &registrytest.Announcement{Sparse: true, Architectures: []string{"ppc64le"}}, ListPolicy: registrytest.RequireArchitectures("ppc64le"),
				Script: refusingHEAD(f.Digest("ppc64le"), answer),
			}), "app")
			dst.Push(f, "earlier", "ppc64le")
			r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), only(action))
			require.NoError(t, err, name)
			assert.Equal(t, copy.KeepSparseManifestList, r.Action, name)
			assert.Equal(t, f.Digest(imagetest.Top), dst.Top("v1"), name)
			dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f, Present: []string{"amd64", "ppc64le"}, Absent: []string{"arm64", "arm/v7"}})
			if said := strings.Join(r.Warnings, "\n"); name != "404 page" { // which is as good as an absence to a reader, and no proof
				assert.Contains(t, said, "whether the destination has "+f.Digest("ppc64le").String()+" could not be asked", name)
			}
			for _, other := range []string{"arm64", "arm/v7"} {
				assert.Zero(t, dst.Count(func(q registrytest.Request) bool { return q.Ref == f.Digest(other).String() }), other)
			}
		}
	}

	// One that takes no sparse lists demands all, of which it has all but one: that one is proof
	// enough.
	e := copytest.NewEnv(t)
	src := copytest.Places["registry"](t)
	src.Push(f, "v1", imagetest.Top)
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{
		Announce: &registrytest.Announcement{}, Strict: true, Script: refusingHEAD(f.Digest("ppc64le"), notAnswers["403"]),
	}), "app")
	dst.Push(f, "earlier", "ppc64le")
	r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), only(copy.AutoSparseManifestList))
	require.NoError(t, err)
	assert.Equal(t, copy.StripSparseManifestList, r.Action)
	assert.Empty(t, r.Refusal, "nothing was tried in vain")
	assert.Contains(t, r.ActionReason, "does not take them")
	dst.Push(f, "earlier", "arm64")
	dst.Push(f, "earlier", "arm/v7")
	_, err = e.Image(t.Context(), dst.Ref("v2"), src.Ref("v1"), only(copy.AutoSparseManifestList))
	require.NoError(t, err)
	assert.Equal(t, f.Digest(imagetest.Top), dst.Top("v2"), "it has all of them")
}

// demandsOfMissing: a list becomes sparse only because children are missing at its source, which is
// known late. What the registry says about sparse lists counts all the same, before anything is
// copied.
func demandsOfMissing(t *testing.T) {
	f := imagetest.Platforms(3, 1, 100)
	e := copytest.NewEnv(t)
	src := copytest.Places["registry"](t)
	src.Push(f, "v1", imagetest.Top, "arm64")
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Announce: &registrytest.Announcement{}, Strict: true}), "app")
	o := copy.Options{ImageListSelection: copy.CopyAllImages, MissingInstances: copy.SkipMissing}
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
	refused := copytest.ErrorAs[*copy.SparseRefusedError](t, err)
	assert.Contains(t, refused.Refusal.Error(), "it announces")
	assert.Empty(t, dst.Snapshot("app"), "not a blob is copied")

	o.SparseManifestListAction = copy.AutoSparseManifestList
	r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
	require.NoError(t, err)
	assert.Equal(t, copy.StripSparseManifestList, r.Action)
	assert.Empty(t, r.Refusal, "nothing was tried in vain")
	dst.Check(imagetest.Want{Tag: "v1", Digest: r.DestinationDigest, Fixture: f, Present: []string{"amd64", "arm/v7"}, Absent: []string{"arm64"}})

	options := e.Options(o)
	options.CompareDestination = true
	other := copytest.RegistryAt(t, dst.Registry, "other")
	prepared, err := copy.Prepare(t.Context(), e.Policy, other.Ref("v1"), src.Ref("v1"), options)
	require.NoError(t, err)
	assert.Contains(t, prepared.Plan().ActionReason, "it announces that it does not take them")
	require.NoError(t, prepared.Close())
}

// destinationTellsNothing: a plan that was to be compared with its destination says what that did
// not answer, and is one without it.
func destinationTellsNothing(t *testing.T) {
	f := imagetest.Platforms(3, 1, 100)
	e := copytest.NewEnv(t)
	src := copytest.Places["registry"](t)
	src.Push(f, "v1", imagetest.Top)
	for name, answer := range notAnswers {
		if name == "404 page" { // that is how registries without such questions answer
			continue
		}
		for what, matches := range map[string]func(*http.Request) bool{
			"what the destination names":   func(q *http.Request) bool { return strings.HasSuffix(q.URL.Path, "/v1") },
			"whether the destination has ": func(q *http.Request) bool { return strings.HasSuffix(q.URL.Path, f.Digest("amd64").String()) },
			"whether the destination takes sparse lists, and keeps what is added to one, could not be asked": func(q *http.Request) bool { return q.URL.Path == "/api/v1/registry/capabilities" },
		} {
			dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{
				Announce: &registrytest.Announcement{Sparse: true}, Script: registrytest.Only(matches, registrytest.EveryNth(1, answer)),
			}), "app")
			dst.Push(f, "v1", "arm64")
			o := e.Options(only(copy.KeepSparseManifestList))
			o.CompareDestination = true
			prepared, err := copy.Prepare(t.Context(), e.Policy, dst.Ref("v1"), src.Ref("v1"), o)
			require.NoError(t, err)
			assert.Contains(t, strings.Join(prepared.Plan().Warnings, "\n"), what, name)
			assert.Contains(t, prepared.Plan().String(), "warning: "+what, name)
			assert.Equal(t, f.Digests("amd64"), prepared.Plan().Copies)
			require.NoError(t, prepared.Close())
		}
	}
}

// strippedOptions are selections of two images whose list is stripped at a strict registry.
func strippedOptions() map[string]copy.Options {
	o := copytest.Auto("linux/amd64", "linux/arm64")
	strip := o
	strip.SparseManifestListAction = copy.StripSparseManifestList
	return map[string]copy.Options{"auto": o, "strip": strip}
}

// lostChildOfAStrippedList: something has deleted a child of a stripped list, or its list in a
// list. A second copy finds that, and brings it.
func lostChildOfAStrippedList(t *testing.T) {
	for name, o := range strippedOptions() {
		f := imagetest.Platforms(4, 1, 100)
		e := copytest.NewEnv(t)
		src := copytest.Places["registry"](t)
		src.Push(f, "v1", imagetest.Top)
		dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Strict: true}), "app")
		first, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
		require.NoError(t, err)
		settled, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
		require.NoError(t, err)
		assert.Equal(t, copy.CheckedChildren, settled.Checked, name)
		assert.False(t, settled.Written)

		dst.DeleteManifest("app", f.Digest("arm64"))
		dst.ResetLog()
		r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
		require.NoError(t, err)
		assert.Equal(t, first.DestinationDigest, r.DestinationDigest)
		assert.Equal(t, 1, len(r.Plan.Copies), name)
		assert.NotContains(t, listsPut(dst.Registry), f.Digest(imagetest.Top).String())
		want := imagetest.Want{Tag: "v1", Digest: first.DestinationDigest, Fixture: f, Present: []string{"amd64", "arm64"}, Late: []string{"arm64"}}
		dst.Check(want)
		assert.Empty(t, r.Refusal, "%s: the tag names the stripped list, and nothing else is tried", name)
	}

	f := imagetest.Nested()
	e := copytest.NewEnv(t)
	src, dst := copytest.Places["registry"](t), copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Strict: true}), "app")
	src.Push(f, "v1", imagetest.Top)
	o := copy.Options{
		ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/arm/v6", "linux/s390x"), SparseManifestListAction: copy.StripSparseManifestList,
	}
	first, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
	require.NoError(t, err)
	lists := first.Plan.List.NestedLists()
	require.NotEmpty(t, lists)
	dst.DeleteManifest("app", lists[0])
	_, err = e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
	require.NoError(t, err)
	_, _, there := dst.Manifest("app", lists[0].String())
	assert.True(t, there)
}

// untoldChildOfAStrippedList: a registry does not tell whether it has a child of a stripped list.
// That list was written after it, so that there is nothing to copy; but only the list was looked
// at, which is said. If another one is lost, that is copied.
func untoldChildOfAStrippedList(t *testing.T) {
	f := imagetest.Platforms(4, 1, 100)
	for name, o := range strippedOptions() {
		for how, answer := range notAnswers {
			e := copytest.NewEnv(t)
			src := copytest.Places["registry"](t)
			src.Push(f, "v1", imagetest.Top)
			var settled atomic.Bool
			refuse := refusingHEAD(f.Digest("arm64"), answer)
			dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Strict: true, Script: func(n int, q *http.Request) registrytest.Answer {
				if !settled.Load() {
					return registrytest.Answer{}
				}
				return refuse(n, q)
			}}), "app")
			first, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
			require.NoError(t, err)
			settled.Store(true)
			r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
			require.NoError(t, err)
			assert.False(t, r.Written)
			assert.Zero(t, r.ManifestsCopied)
			assert.Equal(t, copy.CheckedList, r.Checked, "%s, %s", name, how)
			assert.Equal(t, first.DestinationDigest, r.DestinationDigest)
			if how != "404 page" {
				assert.Contains(t, strings.Join(r.Warnings, "\n"), "whether the destination has "+f.Digest("arm64").String()+" could not be asked", how)
			}

			dst.DeleteManifest("app", f.Digest("amd64"))
			_, err = e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
			require.NoError(t, err)
			dst.Check(imagetest.Want{Tag: "v1", Digest: first.DestinationDigest, Fixture: f, Present: []string{"amd64", "arm64"}, Late: []string{"amd64", "arm64"}})
		}
	}
}

// quay is a registry that takes sparse lists, and keeps what is added to one only as long as nobody
// collects.
func quay(t *testing.T) copytest.RegistryPlace {
	return copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Announce: &registrytest.Announcement{Sparse: true}}), "app")
}

// wideningDoesNotHold: what a copy would add to a list that is there, by whatever tag, would be
// collected. It is refused before anything is written, with every action, and at every level; and
// so is bringing back what was lost.
func wideningDoesNotHold(t *testing.T) {
	f := imagetest.Platforms(4, 1, 100)
	e := copytest.NewEnv(t)
	src := copytest.Places["registry"](t)
	src.Push(f, "v1", imagetest.Top)
	two := copytest.Auto("linux/amd64", "linux/arm64")
	keep := two
	keep.SparseManifestListAction = copy.KeepSparseManifestList
	check := keep
	check.CheckBlobs = true
	for name, o := range map[string]copy.Options{
		"keep": keep, "auto": two, "check": check, "all": {ImageListSelection: copy.CopyAllImages}, "all, checked": {ImageListSelection: copy.CopyAllImages, CheckBlobs: true},
	} {
		for _, tag := range []string{"v1", "other"} {
			if tag == "other" && o.CheckBlobs { // which asks for nothing where the tag names nothing
				continue
			}
			dst := quay(t)
			_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), only(copy.KeepSparseManifestList))
			require.NoError(t, err)
			before := dst.Snapshot("app")
			_, err = e.Image(t.Context(), dst.Ref(tag), src.Ref("v1"), o)
			widen := copytest.ErrorAs[*copy.WidenError](t, err)
			assert.Equal(t, f.Digest(imagetest.Top), widen.List, name)
			want := f.Digests("arm64")
			if o.ImageListSelection == copy.CopyAllImages {
				want = f.Digests("arm64", "arm/v7", "ppc64le")
			}
			assert.ElementsMatch(t, want, widen.Children, name)
			assert.Equal(t, before, dst.Snapshot("app"), name)

			_, err = e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), only(copy.KeepSparseManifestList))
			require.NoError(t, err, "what is there already is no widening")
			dst.Collect("app")
			dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f, Present: []string{"amd64"}, Absent: []string{"arm64", "arm/v7", "ppc64le"}})
		}
	}

	dst := quay(t)
	strip := two
	strip.SparseManifestListAction = copy.StripSparseManifestList
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), strip)
	require.NoError(t, err)
	dst.DeleteManifest("app", f.Digest("arm64"))
	_, err = e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), strip)
	assert.Equal(t, f.Digests("arm64"), copytest.ErrorAs[*copy.WidenError](t, err).Children)

	nested := imagetest.Nested()
	src.Push(nested, "nested", imagetest.Top)
	dst = quay(t)
	o := only(copy.KeepSparseManifestList)
	o.InstancePlatforms = copytest.Platforms("linux/arm64")
	_, err = e.Image(t.Context(), dst.Ref("v1"), src.Ref("nested"), o)
	require.NoError(t, err)
	o.InstancePlatforms = copytest.Platforms("linux/arm64", "linux/arm/v6")
	_, err = e.Image(t.Context(), dst.Ref("v1"), src.Ref("nested"), o)
	copytest.ErrorAs[*copy.WidenError](t, err)
}

// childTags: with a tag of its own, what is added stays. It has the tag from the moment at which it
// is there, and that is before the list is put. A plan says so.
func childTags(t *testing.T) {
	f := imagetest.Nested()
	e := copytest.NewEnv(t)
	src := copytest.Places["registry"](t)
	src.Push(f, "v1", imagetest.Top)
	o := only(copy.KeepSparseManifestList)
	o.WidenedChildTags = true
	dst := quay(t)
	var late []string
	for _, filters := range [][]string{{"linux/arm64"}, {"linux/arm64", "linux/arm/v6"}, {"linux/*"}} {
		o.InstancePlatforms = copytest.Platforms(filters...)
		options := e.Options(o)
		options.CompareDestination = true
		prepared, err := copy.Prepare(t.Context(), e.Policy, dst.Ref("v1"), src.Ref("v1"), options)
		require.NoError(t, err)
		planned := prepared.Plan()
		require.NoError(t, prepared.Close())
		r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
		require.NoError(t, err)
		assert.Equal(t, planned.Widened, r.Plan.Widened)
		for _, d := range r.Plan.Widened {
			assert.Contains(t, planned.String(), "tag "+copytest.DigestTag(d, ".child"))
			tagged, ok := dst.Resolve("app", copytest.DigestTag(d, ".child"))
			require.True(t, ok)
			assert.Equal(t, d, tagged)
			late = append(late, d.String())
		}
		dst.Collect("app")
		settled, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
		require.NoError(t, err)
		assert.False(t, settled.Written)
		assert.Zero(t, settled.ManifestsCopied)
	}
	assert.Len(t, late, len(dst.Tags("app"))-1)
	dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f, Late: late})
	for _, event := range dst.History("app") { // nobody can collect it in between
		if event.Kind == registrytest.EventManifest && slices.Contains(late, event.Digest.String()) {
			q := dst.Requests()[event.Request-1]
			assert.True(t, strings.HasSuffix(q.Ref, ".child"), q.Ref)
		}
	}
	o.WidenedChildTags = false
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
	require.NoError(t, err, "there is nothing to add")

	// One that says that widening holds gets no such tags, and none that says nothing of sparse
	// lists, however it answers where there is no API.
	o.WidenedChildTags = true
	silent := []registrytest.Options{{}, {Announce: &registrytest.Announcement{Sparse: true, Widening: true}}}
	for _, answer := range []registrytest.Answer{
		registrytest.Fail(400, "UNSUPPORTED", "no such thing"), registrytest.Fail(404, "NOT_FOUND", "no such thing"),
		registrytest.Fail(405, "UNSUPPORTED", "no such thing"), registrytest.FailHTML(404), registrytest.FailHTML(200),
	} {
		script := registrytest.Only(registrytest.Matching(http.MethodGet, registrytest.KindOther), registrytest.EveryNth(1, answer))
		silent = append(silent, registrytest.Options{Script: script})
	}
	for _, options := range silent {
		dst := copytest.RegistryAt(t, registrytest.Start(t, options), "app")
		for _, filters := range [][]string{{"linux/arm64"}, {"linux/arm64", "linux/arm/v6"}} {
			o.InstancePlatforms = copytest.Platforms(filters...)
			r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
			require.NoError(t, err)
			assert.Empty(t, r.Warnings)
		}
		assert.Equal(t, []string{"v1"}, dst.Tags("app"))
	}

	// Where it is not told whether widening holds, nothing is refused, and the tag is made all the
	// same.
	flat := imagetest.Platforms(3, 1, 100)
	src.Push(flat, "flat", imagetest.Top)
	for _, tags := range []bool{false, true} {
		dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Script: registrytest.Only(
			registrytest.Matching(http.MethodGet, registrytest.KindOther), registrytest.EveryNth(1, notAnswers["403"]))}), "app")
		o.WidenedChildTags = tags
		for _, filters := range [][]string{{"linux/amd64"}, {"linux/amd64", "linux/arm64"}} {
			o.InstancePlatforms = copytest.Platforms(filters...)
			r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("flat"), o)
			require.NoError(t, err)
			adds := len(filters) > 1
			assert.Equal(t, adds, strings.Contains(strings.Join(r.Warnings, "\n"), "keeps what is added to one, could not be asked"), r.Warnings)
			assert.Equal(t, tags && adds, slices.Contains(dst.Tags("app"), copytest.DigestTag(flat.Digest("arm64"), ".child")))
		}
	}

	// The same where it is not told whether the list, or the child, is there.
	for tag, untold := range map[string]digest.Digest{"first": flat.Digest("arm64"), "second": flat.Digest(imagetest.Top)} {
		for _, tags := range []bool{false, true} {
			dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{
				Announce: &registrytest.Announcement{Sparse: true}, Script: refusingHEAD(untold, notAnswers["403"]),
			}), "app")
			o.WidenedChildTags = tags
			o.InstancePlatforms = copytest.Platforms("linux/amd64")
			_, err := e.Image(t.Context(), dst.Ref("first"), src.Ref("flat"), o)
			require.NoError(t, err)
			o.InstancePlatforms = copytest.Platforms("linux/amd64", "linux/arm64")
			r, err := e.Image(t.Context(), dst.Ref(tag), src.Ref("flat"), o)
			require.NoError(t, err)
			assert.Contains(t, strings.Join(r.Warnings, "\n"), "whether the destination has "+untold.String()+" could not be asked")
			assert.Equal(t, tags, slices.Contains(dst.Tags("app"), copytest.DigestTag(flat.Digest("arm64"), ".child")))
		}
	}
}

// wideningHolds: our own registry says that what is added to a list stays.
func wideningHolds(t *testing.T) {
	f := imagetest.Platforms(4, 1, 100)
	e := copytest.NewEnv(t)
	src := copytest.Places["registry"](t)
	src.Push(f, "v1", imagetest.Top)
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Announce: &registrytest.Announcement{Sparse: true, Widening: true}}), "app")
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), only(copy.KeepSparseManifestList))
	require.NoError(t, err)
	_, err = e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages})
	require.NoError(t, err)
	dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f, Late: []string{"arm64", "arm/v7", "ppc64le"}})
}

// policiesOfRepositories: our own registry announces the strictest of its policies, and that of a
// repository to whom asks for it. It is asked for that only where the strictest would not do.
func policiesOfRepositories(t *testing.T) {
	f := imagetest.Platforms(4, 1, 100)
	src := copytest.Places["registry"](t)
	src.Push(f, "v1", imagetest.Top)
	own := func(platforms ...string) *registrytest.Announcement {
		return &registrytest.Announcement{Sparse: true, Widening: true, More: &registrytest.MoreAnnounced{Platforms: platforms}}
	}
	off := registrytest.Announcement{More: &registrytest.MoreAnnounced{WithoutPlatform: true}}
	requires := func(platforms ...string) registrytest.Announcement { return *own(platforms...) }
	for name, c := range map[string]struct {
		forAll    registrytest.Announcement
		app       *registrytest.Announcement // nil if there is no answer for the repository alone
		refused   string                     // "" if the list is kept
		questions int
	}{
		"off for all, on for this one":       {off, own("linux/amd64"), "", 2},
		"off for all, more for this one":     {off, own("linux/amd64", "linux/arm/v7"), "the destination requires the instance", 2},
		"off, and no answer for one":         {off, nil, "does not take them", 2},
		"what is required for all is copied": {requires("linux/amd64"), own(), "", 1},
		"what is required for all is not":    {requires("linux/arm64"), own(), "", 2},
		"nothing is required":                {requires(), nil, "", 1},
	} {
		t.Run(name, func(t *testing.T) {
			e := copytest.NewEnv(t)
			if c.app != nil {
				more := *c.forAll.More
				more.Repositories = map[string]*registrytest.Announcement{"app": c.app}
				c.forAll.More = &more
			}
			dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Announce: &c.forAll}), "app")
			_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), only(copy.KeepSparseManifestList))
			assert.Equal(t, c.questions, dst.Count(registrytest.Is(http.MethodGet, registrytest.KindOther)))
			if c.refused != "" {
				require.ErrorContains(t, err, c.refused)
				assert.Empty(t, dst.Snapshot("app"), "not a blob is copied")
				return
			}
			require.NoError(t, err)
			dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f, Absent: []string{"arm64", "arm/v7", "ppc64le"}})
		})
	}
	t.Run("a list that was stripped is kept from then on", func(t *testing.T) {
		e := copytest.NewEnv(t)
		announce := off
		dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Announce: &announce}), "app")
		clock := &clocktest.Shifted{}
		copier := copy.NewCopier(copy.CopierOptions{Clock: clock})
		defer copier.Close()
		for _, want := range []copy.SparseManifestListAction{copy.StripSparseManifestList, copy.KeepSparseManifestList} {
			r, err := e.ImageWith(t.Context(), copier, dst.Ref("v1"), src.Ref("v1"), only(copy.AutoSparseManifestList))
			require.NoError(t, err)
			assert.Equal(t, want, r.Action)
			dst.SetAnnouncement(&registrytest.Announcement{More: &registrytest.MoreAnnounced{
				WithoutPlatform: true, Repositories: map[string]*registrytest.Announcement{"app": own()},
			}})
			clock.Advance(time.Hour)
		}
	})
}
