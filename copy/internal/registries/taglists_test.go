package registries

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// tagListHabits are ways of listing tags.
var tagListHabits = []habit{
	{"distribution-tag-pages", func(t *testing.T) {
		listsAll(t, 2000, registrytest.Options{PageSize: 1000, Links: registrytest.LinkPath})
	}},
	{"gitlab-absolute-link", func(t *testing.T) { listsAll(t, 7, registrytest.Options{PageSize: 2}) }},
	{"quay-link-without-brackets", func(t *testing.T) { listsAll(t, 7, registrytest.Options{PageSize: 2, Links: registrytest.LinkBare}) }},
	{"link-relative-to-the-page", func(t *testing.T) {
		listsAll(t, 7, registrytest.Options{PageSize: 2, Links: registrytest.LinkRelative})
	}},
	{"link-unquoted-rel", func(t *testing.T) {
		listsAll(t, 7, registrytest.Options{PageSize: 2, Links: registrytest.LinkUnquoted})
	}},
	{"link-after-others", func(t *testing.T) {
		listsAll(t, 7, registrytest.Options{PageSize: 2, Links: registrytest.LinkAfterOthers})
	}},
	{"proxy-link-with-another-scheme", func(t *testing.T) {
		listsAll(t, 7, registrytest.Options{PageSize: 2, Links: registrytest.LinkOtherScheme})
	}},
	{"link-to-another-host", linkToAnotherHost},
	{"tag-list-without-end", tagListWithoutEnd},
	{"names-that-are-no-tags", namesThatAreNoTags},
	{"docker-hub-tags-throttled", tagsThrottled},
	{"proxy-without-v2", listingWithoutPing},
	{"tag-list-that-is-a-page", tagListThatIsAPage},
	{"tag-list-that-is-refused", tagListThatIsRefused},
	{"tag-list-that-is-long", tagListThatIsLong},
	{"harbor-proxy-lists-its-cache", harborProxyListsItsCache},
	{"tag-list-that-ends-early", tagListThatEndsEarly},
	{"distribution-3-without-tags", distributionWithoutTags},
}

// manyTags puts an image with n tags into the repository app.
func manyTags(t *testing.T, r *registrytest.Registry, n int) []string {
	t.Helper()
	f := imagetest.Platforms(1, 1, 100)
	var tags []string
	for i := range n {
		tags = append(tags, fmt.Sprintf("v%04d", i))
	}
	f.PushTo(r, "app", tags[0], imagetest.Top)
	content, mediaType, _ := r.Manifest("app", tags[0])
	for _, tag := range tags[1:] {
		r.PutManifest("app", tag, mediaType, content)
	}
	return tags
}

// listsAll lists n tags as a source and as a destination, without a request too many.
func listsAll(t *testing.T, n int, o registrytest.Options) {
	r := registrytest.Start(t, o)
	want := manyTags(t, r, n)
	e := copytest.NewEnv(t)
	for _, side := range []copy.Side{copy.SourceSide, copy.DestinationSide} {
		r.ResetLog()
		list, err := e.Tags(t, r, side)
		require.NoError(t, err)
		assert.Equal(t, want, list.Tags)
		assert.Empty(t, list.Warnings)
		assert.Equal(t, r.Host()+"/app", list.Repository)
		assert.Len(t, r.Requests(), (n+o.PageSize-1)/o.PageSize, "one request a page, and nothing else")
	}
}

// linkToAnotherHost has all pages but the first elsewhere: they are read without credentials.
func linkToAnotherHost(t *testing.T) {
	for _, bearer := range []bool{false, true} {
		r := registrytest.Start(t, registrytest.Options{PageSize: 4, Links: registrytest.LinkSecond, Auth: &registrytest.Auth{
			Bearer: bearer, Accounts: []registrytest.Account{{Username: "alice", Password: "pw"}}}})
		want := manyTags(t, r, 10)
		e := copytest.NewEnv(t)
		e.Sys.DockerAuthConfig = &types.DockerAuthConfig{Username: "alice", Password: "pw"}
		list, err := e.Tags(t, r, copy.SourceSide)
		require.NoError(t, err)
		assert.Equal(t, want, list.Tags)
		second := 0
		for _, q := range r.Requests() {
			if q.Second {
				second++
				assert.Empty(t, q.Authorization())
			}
		}
		assert.Equal(t, 2, second)
	}
}

// tagListWithoutEnd has links that lead to nothing new. What was read until then is not taken for
// the list.
func tagListWithoutEnd(t *testing.T) {
	for form, want := range map[registrytest.LinkForm]struct {
		text     string
		requests int
	}{
		registrytest.LinkCircle:  {"leads back to a page that was read already", 3},
		registrytest.LinkSame:    {"goes on after 3 pages with nothing new", 4},
		registrytest.LinkForever: {"goes on after 3 pages with nothing new", 6},
	} {
		r := registrytest.Start(t, registrytest.Options{PageSize: 2, Links: form})
		manyTags(t, r, 5)
		list, err := copytest.NewEnv(t).Tags(t, r, copy.SourceSide)
		require.ErrorContains(t, err, want.text)
		assert.ErrorContains(t, err, "source: listing the tags of docker://"+r.Host()+"/app")
		assert.Nil(t, list)
		assert.Len(t, r.Requests(), want.requests)
	}
}

// namesThatAreNoTags has a list with names that nobody can pull.
func namesThatAreNoTags(t *testing.T) {
	long := strings.Repeat("x", 129)
	r := registrytest.Start(t, registrytest.Options{PageSize: 2, ListedTags: []string{"a b", "", "../x", "v1@sha256:0", long, ".hidden", "v0000", "größe"}})
	want := manyTags(t, r, 3)
	list, err := copytest.NewEnv(t).Tags(t, r, copy.SourceSide)
	require.NoError(t, err)
	assert.Equal(t, want, slices.Sorted(slices.Values(list.Tags)), "each once")
	require.Len(t, list.Warnings, 1)
	assert.Contains(t, list.Warnings[0], "and 2 more, which are no valid tags, skipped")
	assert.Contains(t, list.Warnings[0], `"../x"`)
}

// tagsThrottled has a registry that is busy, or stumbles, at every page.
func tagsThrottled(t *testing.T) {
	for _, status := range []int{http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable} {
		var mu sync.Mutex
		seen := map[string]bool{}
		r := registrytest.Start(t, registrytest.Options{PageSize: 2, Script: func(_ int, req *http.Request) registrytest.Answer {
			mu.Lock()
			defer mu.Unlock()
			if at := req.URL.String(); !seen[at] {
				seen[at] = true
				return registrytest.Fail(status, "TOOMANYREQUESTS", "later")
			}
			return registrytest.Answer{}
		}})
		want := manyTags(t, r, 5)
		list, err := copytest.NewEnv(t).Tags(t, r, copy.DestinationSide)
		require.NoError(t, err)
		assert.Equal(t, want, list.Tags)
		assert.Len(t, r.Requests(), 6)
	}
}

// listingWithoutPing has a proxy that lets nobody see /v2/.
func listingWithoutPing(t *testing.T) {
	r := registrytest.Start(t, registrytest.Options{Script: registrytest.Only(func(req *http.Request) bool { return req.URL.Path == "/v2/" },
		func(int, *http.Request) registrytest.Answer { return registrytest.FailHTML(http.StatusForbidden) })})
	want := manyTags(t, r, 3)
	list, err := copytest.NewEnv(t).Tags(t, r, copy.SourceSide)
	require.NoError(t, err)
	assert.Equal(t, want, list.Tags)
	assert.Zero(t, r.Count(registrytest.Is("", registrytest.KindPing)))
}

// tagListThatIsAPage has a proxy that answers 200 with something that is no list: that is no empty
// list.
func tagListThatIsAPage(t *testing.T) {
	r := registrytest.Start(t, registrytest.Options{Script: func(int, *http.Request) registrytest.Answer { return registrytest.FailHTML(http.StatusOK) }})
	list, err := copytest.NewEnv(t).Tags(t, r, copy.SourceSide)
	require.ErrorContains(t, err, "the answer is no list of tags")
	assert.Nil(t, list)
}

// tagListThatIsRefused has registries that hand out manifests and list no tags.
func tagListThatIsRefused(t *testing.T) {
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed} {
		src := signedImages(t, registrytest.Options{Script: registrytest.Only(registrytest.Matching(http.MethodGet, registrytest.KindTags),
			func(int, *http.Request) registrytest.Answer { return registrytest.Fail(status, "UNSUPPORTED", "") })})
		src.copies(copy.CosignDigestTags, "")
		src.copies(copy.AllDigestTags, "AllDigestTags needs a list of all tags, CosignDigestTags does not")
	}
}

// tagListThatIsLong has a repository with more tags than its signatures are worth.
func tagListThatIsLong(t *testing.T) {
	src := signedImages(t, registrytest.Options{PageSize: 1000, Links: registrytest.LinkPath})
	content, mediaType, _ := src.Manifest("app", "v1")
	for i := range 5000 {
		src.PutManifest("app", fmt.Sprintf("t%04d", i), mediaType, content)
	}
	lists := registrytest.Is(http.MethodGet, registrytest.KindTags)
	src.copies(copy.CosignDigestTags, "")
	assert.Equal(t, 2, src.Count(lists), "27 questions are worth two pages")
	src.ResetLog()
	src.copies(copy.AllDigestTags, "")
	assert.Equal(t, 6, src.Count(lists))
}

// harborProxyListsItsCache has a cache that answers for tags which it does not list.
func harborProxyListsItsCache(t *testing.T) {
	src := signedImages(t, registrytest.Options{ListsCache: true})
	src.copies(copy.CosignDigestTags, "")
	src.copies(copy.AllDigestTags, "the list of tags lacks "+copytest.DigestTag(src.f.Digest(imagetest.Top), ".sig")+", which is there")
}

// tagListThatEndsEarly has a registry that lists some tags, and does not say that there are more.
func tagListThatEndsEarly(t *testing.T) {
	src := signedImages(t, registrytest.Options{PageSize: 5, Links: registrytest.LinkNone})
	src.copies(copy.CosignDigestTags, "")
	src.copies(copy.AllDigestTags, "the list of tags lacks v1, which is there")
}

// distributionWithoutTags has a repository in which everything has a digest only.
func distributionWithoutTags(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	e := copytest.NewEnv(t)
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{UnknownWithoutTags: true}), "app")
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Strict: true}), "app")
	src.Push(f, "", imagetest.Top)
	for _, suffixes := range []copy.DigestTagSuffixes{copy.CosignDigestTags, copy.AllDigestTags} {
		r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref(f.Digest(imagetest.Top).String()), copy.Options{
			ImageListSelection: copy.CopyAllImages, DigestTags: true, DigestTagSuffixes: suffixes,
		})
		require.NoError(t, err)
		assert.Empty(t, r.Attached)
		dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f})
	}
}

// signed is a list of eight platforms in a registry, with a signature for each image and for the
// list.
type signed struct {
	copytest.RegistryPlace
	f *imagetest.Fixture
}

func signedImages(t *testing.T, o registrytest.Options) signed {
	f := imagetest.Platforms(8, 1, 100)
	src := copytest.RegistryAt(t, registrytest.Start(t, o), "app")
	src.Push(f, "v1", imagetest.Top)
	for _, d := range f.Manifests(imagetest.Top) {
		name := f.Name(d)
		f.Blob("signature of "+name, copytest.SimpleSigning, []byte(name))
		f.Artifact("sig of "+name, imagetest.Layers("signature of "+name))
		src.Push(f, copytest.DigestTag(d, ".sig"), "sig of "+name)
	}
	src.ResetLog()
	return signed{src, f}
}

// copies checks a copy of the list with its digest tags: all signatures arrive, or nothing does and
// the error says failure.
func (s signed) copies(suffixes copy.DigestTagSuffixes, failure string) {
	e := copytest.NewEnv(s.T)
	dst := copytest.RegistryAt(s.T, registrytest.Start(s.T, registrytest.Options{Strict: true}), "app")
	_, err := e.Image(s.T.Context(), dst.Ref("v1"), s.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages, DigestTags: true, DigestTagSuffixes: suffixes})
	if failure != "" {
		require.ErrorContains(s.T, err, failure)
		assert.Empty(s.T, dst.Tags("app"))
		return
	}
	require.NoError(s.T, err)
	dst.Check(imagetest.Want{Tag: "v1", Digest: s.f.Digest(imagetest.Top), Fixture: s.f})
	tags := slices.DeleteFunc(s.Tags("app"), func(tag string) bool { return !copy.IsDigestTag(tag) })
	assert.Len(s.T, tags, 9)
	for _, tag := range tags {
		dst.Check(imagetest.Want{Tag: tag, Digest: s.Top(tag), Fixture: s.f})
	}
}
