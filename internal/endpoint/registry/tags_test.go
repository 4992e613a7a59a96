package registry

import (
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
	"github.com/sparsecopy/sparsecopy/internal/ocihttp"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// tagged starts a registry that has tags in a repository.
func tagged(t *testing.T, o registrytest.Options, repo string, tags ...string) *registrytest.Registry {
	t.Helper()
	r := registrytest.Start(t, o)
	im := newImage(t, 1, 10, r, repo)
	for _, tag := range tags {
		r.PutManifest(repo, tag, im.manifest.MediaType, im.manifest.Bytes)
	}
	return r
}

// TestTagsFollowRegistriesConf lists where registries.conf says that images are read.
func TestTagsFollowRegistriesConf(t *testing.T) {
	own := tagged(t, registrytest.Options{}, "real/app", "own")
	mirror := tagged(t, registrytest.Options{PageSize: 1}, "cache/app", "mirrored")
	blank := registrytest.Start(t, registrytest.Options{Script: func(_ int, req *http.Request) registrytest.Answer {
		return registrytest.Answer{Status: http.StatusNotFound}
	}})
	// Neither is believed: the first has never cached anything, the second fails.
	empty := serve(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"name":"x","tags":null}`) })
	for name, c := range map[string]struct {
		conf          string
		asDestination bool
		want          []string
		repository    string
		failure       string
	}{
		"no configuration": {"", false, nil, "", "registry.invalid"},
		"a rewrite": {"[[registry]]\nprefix = \"registry.invalid/team\"\nlocation = \"OWN/real\"\n", false,
			[]string{"own", "tag"}, "OWN/real/app", ""},
		"a mirror": {"[[registry]]\nprefix = \"registry.invalid/team\"\nlocation = \"OWN/real\"\n[[registry.mirror]]\nlocation = \"MIRROR/cache\"\n", false,
			[]string{"mirrored", "tag"}, "MIRROR/cache/app", ""},
		"mirrors that have nothing": {"[[registry]]\nprefix = \"registry.invalid/team\"\nlocation = \"OWN/real\"\n[[registry.mirror]]\nlocation = \"BLANK/x\"\n" +
			"[[registry.mirror]]\nlocation = \"EMPTY/x\"\n", false, []string{"own", "tag"}, "OWN/real/app", ""},
		"a mirror for digests": {"[[registry]]\nprefix = \"registry.invalid/team\"\nlocation = \"OWN/real\"\n[[registry.mirror]]\nlocation = \"MIRROR/cache\"\n" +
			"pull-from-mirror = \"digest-only\"\n", false, []string{"own", "tag"}, "OWN/real/app", ""},
		"a destination has neither": {"[[registry]]\nprefix = \"registry.invalid/team\"\nlocation = \"OWN/real\"\n", true, nil, "", "registry.invalid"},
		"blocked":                   {"[[registry]]\nprefix = \"registry.invalid\"\nlocation = \"OWN/real\"\nblocked = true\n", false, nil, "", "is blocked"},
		"a blocked destination":     {"[[registry]]\nlocation = \"registry.invalid\"\nblocked = true\n", true, nil, "", "is blocked"},
	} {
		t.Run(name, func(t *testing.T) {
			names := strings.NewReplacer("OWN", own.Host(), "MIRROR", mirror.Host(), "BLANK", blank.Host(), "EMPTY", empty)
			sys, dir := hermetictest.System(t)
			sys.DockerInsecureSkipTLSVerify = types.OptionalBoolTrue
			write(t, filepath.Join(dir, "registries.conf"), names.Replace(c.conf))
			sh := quick()
			sh.Retry.Attempts = 1
			list, err := Tags(t.Context(), parseRef(t, "registry.invalid/team/app"), c.asDestination, sys, sh)
			if c.failure != "" {
				require.ErrorContains(t, err, c.failure)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.want, slices.Sorted(slices.Values(list.Tags)))
			assert.Equal(t, names.Replace(c.repository), list.Repository)
		})
	}
}

func TestTagsOfWhatIsNotThere(t *testing.T) {
	r := registrytest.Start(t, registrytest.Options{})
	_, err := Tags(t.Context(), parseRef(t, r.Host()+"/none"), false, insecure(t), quick())
	require.ErrorIs(t, err, endpoint.ErrNotFound)
	requireStatus(t, err, http.StatusNotFound)
}

func TestParseTags(t *testing.T) {
	for body, want := range map[string]struct{ tags, others []string }{
		`{"name":"a","tags":["1","2"]}`:            {[]string{"1", "2"}, nil},
		`{"name":"a","tags":[]}`:                   {},
		`{"name":"a","tags":null}`:                 {},
		`{"name":"a"}`:                             {},
		`{"tags":["1"]}`:                           {[]string{"1"}, nil},
		`{"name":"","tags":["1",null,2,{"x":[]}]}`: {[]string{"1"}, []string{"null", "2", `{"x":[]}`}},
	} {
		tags, others, err := parseTags([]byte(body))
		require.NoError(t, err, body)
		assert.Equal(t, want.tags, tags, body)
		assert.Equal(t, want.others, others, body)
	}
	for _, body := range []string{"", "<html>", "[]", "{}", `{"errors":[{"code":"UNAUTHORIZED"}]}`, `{"name":"a","tags":{}}`, `{"name":1,"tags":[]}`, `{"name":"a","tags":["1"`} {
		_, _, err := parseTags([]byte(body))
		assert.ErrorIs(t, err, errNoTagList, body)
	}
}

func TestNextLink(t *testing.T) {
	for _, c := range []struct{ header, want string }{
		{`</v2/a/tags/list?last=x&n=5>; rel="next"`, "/v2/a/tags/list?last=x&n=5"},
		{`<https://h.example/x?a=b,c;d>;rel=next`, "https://h.example/x?a=b,c;d"},
		{`<list?last=x> ; REL = "Next"`, "list?last=x"},
		{`</x>; rel="prev next"`, "/x"},
		{`</x>; title="a, b; rel=next"; rel="prev", </y>; rel='next'`, ""},
		{`</x>; rel=prev; rel=next`, ""},
		{`</x>; rel="next-page", </y>; rel=next`, "/y"},
		{`</x>, </y>; rel="next"`, "/y"},
		{`/x?n=1; rel="next"`, "/x?n=1"},
		{`</x>; title="say \"next\""; rel=next`, "/x"},
		{`</x>; title=; rel=next`, "/x"},
		{`</x>; rel`, ""},
		{`</x>; rel="next`, ""},
		{`</x`, ""},
		{`<>; rel=next, </y>; rel=next`, "/y"},
		{`, ,; </y>; rel=next`, ""},
		{``, ""},
	} {
		assert.Equal(t, c.want, nextLink(http.Header{"Link": {c.header}}), c.header)
	}
	assert.Equal(t, "/y", nextLink(http.Header{"Link": {"</x>; rel=self", "</y>; rel=next"}}))
}

// FuzzNextLink reads whatever Link header: it ends, and a page of the registry's own host name is
// asked for at the registry itself.
func FuzzNextLink(f *testing.F) {
	for _, seed := range []string{
		`</v2/app/tags/list?last=x>; rel="next"`, `<http://registry.example:80/x>; rel=next`, `<//user:secret@registry.example/x>;rel=NEXT`,
		`<list?a=b,c>; title="x\";,"; rel="last next"`, `a;b=c,d;rel=next`, `<;>,;,rel=next`, `<ftp://x/y>;rel=next`, `<https://elsewhere.example/x#y>;rel=next`,
		"<\x00>;rel=next", `"`, `<x>;="`,
	} {
		f.Add(seed)
	}
	h := &host{Host: ocihttp.NewHost("registry.example", false)}
	page := &url.URL{Scheme: "https", Host: "registry.example", Path: "/v2/app/tags/list"}
	f.Fuzz(func(t *testing.T, link string) {
		next, err := (&repository{host: h}).linkedPage(&http.Response{Header: http.Header{"Link": {link}}, Request: &http.Request{URL: page}})
		if err != nil || next == nil {
			return
		}
		assert.Contains(t, []string{"https", "http"}, next.Scheme)
		assert.NotEmpty(t, next.Host)
		assert.Nil(t, next.User)
		assert.Empty(t, next.Fragment)
		if strings.EqualFold(next.Hostname(), "registry.example") {
			assert.True(t, h.Owns(next), "%s", next)
		}
		_, err = http.NewRequest(http.MethodGet, next.String(), nil)
		assert.NoError(t, err, "%q", link)
	})
}

// FuzzParseTags reads whatever page: what it calls no list has no tags, and what it returns was in
// it.
func FuzzParseTags(f *testing.F) {
	for _, seed := range []string{`{"name":"a","tags":["1","2"]}`, `{"name":"a","tags":null}`, `{"tags":[null,1,{},"x"]}`, `{"Tags":["a"],"tags":[]}`, `[]`, `{`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, page []byte) {
		tags, others, err := parseTags(page)
		if err != nil {
			assert.Empty(t, tags)
			assert.Empty(t, others)
		}
		assert.LessOrEqual(t, len(tags)+len(others), len(page))
	})
}

// TestDigestTags: what a source can hand out is what any of its endpoints has. A mirror that does
// not list its tags is passed over, but not if only some pages are wanted.
func TestDigestTags(t *testing.T) {
	tag := func(name string) string { return "sha256-" + strings.Repeat(name, 64) + ".sig" }
	own := tagged(t, registrytest.Options{PageSize: 2}, "app", "v1", tag("a"), tag("b"))
	mirror := tagged(t, registrytest.Options{}, "app", "v1", tag("b"), tag("c"), "sha256-abcdef01.sig")
	lacks := registrytest.Start(t, registrytest.Options{})
	refuses := tagged(t, registrytest.Options{Script: registrytest.Only(registrytest.Matching(http.MethodGet, registrytest.KindTags),
		func(int, *http.Request) registrytest.Answer {
			return registrytest.Fail(http.StatusForbidden, "DENIED", "no")
		})}, "app", "v1")
	for name, c := range map[string]struct {
		mirrors []*registrytest.Registry
		pages   int
		want    []string // nil for an error
	}{
		"no mirror":                  {nil, 0, []string{tag("a"), tag("b")}},
		"a mirror":                   {[]*registrytest.Registry{mirror}, 0, []string{tag("a"), tag("b"), tag("c")}},
		"a few pages":                {[]*registrytest.Registry{mirror}, 2, []string{tag("a"), tag("b"), tag("c")}},
		"too many pages":             {[]*registrytest.Registry{mirror}, 1, nil},
		"a mirror without it":        {[]*registrytest.Registry{lacks}, 2, []string{tag("a"), tag("b")}},
		"a mirror that refuses":      {[]*registrytest.Registry{refuses}, 0, []string{tag("a"), tag("b")}},
		"it refuses, and a few will": {[]*registrytest.Registry{refuses}, 2, nil},
	} {
		t.Run(name, func(t *testing.T) {
			sys, dir := hermetictest.System(t)
			sys.DockerInsecureSkipTLSVerify = types.OptionalBoolTrue
			conf := fmt.Sprintf("[[registry]]\nlocation = %q\n", own.Host())
			for _, m := range c.mirrors {
				conf += fmt.Sprintf("[[registry.mirror]]\nlocation = %q\n", m.Host())
			}
			write(t, filepath.Join(dir, "registries.conf"), conf)
			own.ResetLog()
			s, err := OpenRepository(parseRef(t, own.Host()+"/app"), sys, quick())
			require.NoError(t, err)
			defer s.Close()
			assert.Empty(t, own.Requests(), "nobody is asked yet")
			assert.Equal(t, "docker://"+own.Host()+"/app", s.Repository())
			tags, err := s.DigestTags(t.Context(), c.pages)
			if c.want == nil {
				require.Error(t, err)
				assert.Empty(t, tags)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.want, slices.Sorted(slices.Values(tags)))
		})
	}
	s, err := OpenRepository(parseRef(t, own.Host()+"/none"), insecure(t), quick())
	require.NoError(t, err)
	defer s.Close()
	_, err = s.DigestTags(t.Context(), 0)
	require.ErrorIs(t, err, endpoint.ErrNotFound)
}

// TestLongTagPages: where only some pages are wanted, a page that is very long is more than that.
func TestLongTagPages(t *testing.T) {
	long := registrytest.Start(t, registrytest.Options{ListedTags: []string{strings.Repeat("x", maxShortTagPage)}})
	newImage(t, 1, 10, long, "app")
	s, err := OpenRepository(parseRef(t, long.Host()+"/app"), insecure(t), quick())
	require.NoError(t, err)
	defer s.Close()
	_, err = s.DigestTags(t.Context(), 3)
	var limit *endpoint.LongTagListError
	require.ErrorAs(t, err, &limit)
	_, err = s.DigestTags(t.Context(), 0)
	require.NoError(t, err)
}
