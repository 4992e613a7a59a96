package registry

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/ocihttp"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

const sbomType = "application/spdx+json"

// sboms is an image with n SBOMs, and another referrer.
func sboms(n int) *imagetest.Fixture {
	f := imagetest.Platforms(1, 1, 100)
	for i := range n {
		f.Artifact(fmt.Sprint("sbom", i), imagetest.ArtifactType(sbomType), imagetest.Subject("amd64"))
	}
	f.Artifact("other", imagetest.Subject("amd64"))
	return f
}

func push(f *imagetest.Fixture, r *registrytest.Registry, n int) {
	f.PushTo(r, "app", "tag", "amd64")
	for i := range n {
		f.PushTo(r, "app", "", fmt.Sprint("sbom", i))
	}
	f.PushTo(r, "app", "", "other")
}

// listUnder puts an index of documents under the referrers tag.
func listUnder(t *testing.T, f *imagetest.Fixture, r *registrytest.Registry, names ...string) {
	index, _, err := endpoint.MergeReferrers(nil, descriptors(f, names...))
	require.NoError(t, err)
	r.PutManifest("app", endpoint.ReferrersTag(f.Digest("amd64")), imgspecv1.MediaTypeImageIndex, index)
}

func descriptors(f *imagetest.Fixture, names ...string) []imgspecv1.Descriptor {
	var all []imgspecv1.Descriptor
	for _, name := range names {
		_, mediaType := f.Document(name)
		all = append(all, imgspecv1.Descriptor{MediaType: mediaType, Digest: f.Digest(name), Size: f.Size(name), ArtifactType: sbomType})
	}
	return all
}

func listed(t *testing.T, s endpoint.ReferrerSource, d digest.Digest, artifactType string) []digest.Digest {
	t.Helper()
	found, err := s.Referrers(t.Context(), d, artifactType)
	require.NoError(t, err)
	var digests []digest.Digest
	for _, r := range found {
		digests = append(digests, r.Digest)
	}
	return digests
}

// TestReferrersPages reads all pages, and those of one type where the registry filters.
func TestReferrersPages(t *testing.T) {
	f := sboms(7)
	for _, size := range []int{0, 1, 3, 8} {
		r := registrytest.Start(t, registrytest.Options{PageSize: size})
		push(f, r, 7)
		listUnder(t, f, r, "sbom0") // which the API lists, too
		s := openSource(t, r.Host()+"/app:tag", insecure(t), quick())
		all := []string{"sbom0", "sbom1", "sbom2", "sbom3", "sbom4", "sbom5", "sbom6"}
		assert.ElementsMatch(t, f.Digests(all...), listed(t, s, f.Digest("amd64"), sbomType))
		assert.ElementsMatch(t, f.Digests(append(all, "other")...), listed(t, s, f.Digest("amd64"), ""))
		assert.Empty(t, listed(t, s, f.Digest("other"), ""))
		assert.Equal(t, 3, r.Count(func(q registrytest.Request) bool { return strings.HasPrefix(q.Ref, "sha256-") }), "the tag is asked for once")
	}
}

// TestReferrersTagBesideTheAPI: what the tag lists besides is listed, too, by a source. A tag that
// is no list of referrers adds nothing. Where there is no answer for it, that is said, and what the
// API lists is listed all the same.
func TestReferrersTagBesideTheAPI(t *testing.T) {
	f := sboms(1)
	f.Artifact("stale")
	f.List("images", imagetest.Entries("amd64"))
	f.List("more", imagetest.Entry("sbom0", imagetest.NoPlatform()), imagetest.Entry("stale", imagetest.NoPlatform()))
	both := f.Digests("sbom0", "other")
	for name, c := range map[string]struct {
		tagged  string // what the tag names
		answer  registrytest.Answer
		listed  []digest.Digest
		unknown bool
	}{
		"no tag":                {listed: both},
		"the list":              {tagged: "more", listed: append(both, f.Digest("stale"))},
		"the image itself":      {tagged: "amd64", listed: both},
		"another image":         {tagged: "other", listed: both},
		"a list of images":      {tagged: "images", listed: both},
		"a page":                {tagged: "more", answer: registrytest.FailHTML(http.StatusOK), listed: both},
		"unavailable":           {tagged: "more", answer: registrytest.Fail(http.StatusServiceUnavailable, "UNAVAILABLE", "busy"), listed: both, unknown: true},
		"denied":                {tagged: "more", answer: registrytest.Fail(http.StatusForbidden, "DENIED", "no"), listed: both, unknown: true},
		"404 with another code": {tagged: "more", answer: registrytest.Fail(http.StatusNotFound, "NAME_UNKNOWN", "gone"), listed: both},
	} {
		t.Run(name, func(t *testing.T) {
			r := registrytest.Start(t, registrytest.Options{Script: registrytest.Only(func(q *http.Request) bool {
				return q.Method == http.MethodGet && strings.Contains(q.URL.Path, "/manifests/"+endpoint.ReferrersTag(f.Digest("amd64")))
			}, registrytest.EveryNth(1, c.answer))})
			push(f, r, 1)
			if c.tagged != "" {
				f.PushTo(r, "app", endpoint.ReferrersTag(f.Digest("amd64")), c.tagged)
			}
			s := openSource(t, r.Host()+"/app:tag", insecure(t), quick())
			found, err := s.Referrers(t.Context(), f.Digest("amd64"), "")
			assert.Equal(t, c.unknown, err != nil, "%v", err)
			if c.unknown {
				require.ErrorIs(t, err, endpoint.ErrUnknown)
				assert.True(t, endpoint.IsUnanswered(err), "%v", err)
			}
			var digests []digest.Digest
			for _, d := range found {
				digests = append(digests, d.Digest)
			}
			assert.ElementsMatch(t, c.listed, digests)
		})
	}
}

// TestReferrersTagOfImages: an index of images under the referrers tag is no list of referrers, and
// gets no entries. What tools copy from an attestation's entry says nothing about images.
func TestReferrersTagOfImages(t *testing.T) {
	f := sboms(2)
	f.List("images", imagetest.Entries("amd64"), imagetest.Entry("sbom1", imagetest.Platform("unknown/unknown")))
	f.List("referrers", imagetest.Entry("sbom1", imagetest.Platform("unknown/unknown")), imagetest.Entry("other", imagetest.NoPlatform()))
	for tagged, lists := range map[string]bool{"images": false, "referrers": true} {
		r := registrytest.Start(t, registrytest.Options{NoReferrers: true})
		push(f, r, 2)
		tag := endpoint.ReferrersTag(f.Digest("amd64"))
		f.PushTo(r, "app", tag, tagged)
		s := openSource(t, r.Host()+"/app:tag", insecure(t), quick())
		dest := openDestination(t, r.Host()+"/app:tag", insecure(t), quick())
		err := dest.PutReferrers(t.Context(), f.Digest("amd64"), descriptors(f, "sbom0"))
		if lists {
			require.NoError(t, err)
			assert.ElementsMatch(t, f.Digests("sbom0", "sbom1", "other"), listed(t, s, f.Digest("amd64"), ""))
			continue
		}
		for _, err := range []error{err, second(s.Referrers(t.Context(), f.Digest("amd64"), "")), second(dest.Referrers(t.Context(), f.Digest("amd64"), ""))} {
			var no *endpoint.NotListableError
			require.ErrorAs(t, err, &no)
			assert.Contains(t, no.Names, "an index of images")
		}
		d, _ := r.Resolve("app", tag)
		assert.Equal(t, f.Digest("images"), d)
	}
}

func second[T any](_ T, err error) error { return err }

// TestReferrersWithoutAPI: in whatever words a registry says that it has no API, the tag is read
// and written instead. Other answers are errors.
func TestReferrersWithoutAPI(t *testing.T) {
	f := sboms(2)
	page := func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write([]byte("<html>Welcome</html>"))
	}
	status := func(code int, body string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) { http.Error(w, body, code) }
	}
	for name, c := range map[string]struct {
		answer func(http.ResponseWriter)
		fails  bool
	}{
		"404":             {status(404, ""), false},
		"404 with a code": {status(404, `{"errors":[{"code":"NAME_UNKNOWN"}]}`), false},
		"400":             {status(400, "bad request"), false},
		"405":             {status(405, `{"errors":[{"code":"UNSUPPORTED"}]}`), false},
		"406":             {status(406, ""), false},
		"501":             {status(501, ""), false},
		"a page":          {page, false},
		"404, denied":     {status(404, `{"errors":[{"code":"DENIED"}]}`), true},
		"401":             {status(401, ""), true},
		"403":             {status(403, `{"errors":[{"code":"DENIED"}]}`), true},
		"500":             {status(500, ""), true},
	} {
		t.Run(name, func(t *testing.T) {
			backend := registrytest.NewHandler(registrytest.Options{NoReferrers: true})
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				if strings.Contains(req.URL.Path, "/referrers/") {
					c.answer(w)
					return
				}
				backend.ServeHTTP(w, req)
			}))
			t.Cleanup(server.Close)
			push(f, backend, 2)
			host := strings.TrimPrefix(server.URL, "http://")
			s := openSource(t, host+"/app:tag", insecure(t), quick())
			dest := openDestination(t, host+"/app:tag", insecure(t), quick())
			amd64 := f.Digest("amd64")
			if c.fails {
				_, err := s.Referrers(t.Context(), amd64, "")
				require.Error(t, err)
				assert.NotErrorIs(t, err, endpoint.ErrNotFound)
				assert.Error(t, dest.PutReferrers(t.Context(), amd64, descriptors(f, "sbom0")))
				return
			}
			assert.Empty(t, listed(t, s, amd64, ""), "there is no tag yet")
			assert.Empty(t, listed(t, dest, amd64, ""))
			for _, name := range []string{"sbom0", "sbom1", "sbom0"} {
				require.NoError(t, dest.PutReferrers(t.Context(), amd64, descriptors(f, name)))
			}
			assert.Equal(t, f.Digests("sbom0", "sbom1"), listed(t, s, amd64, ""))
			assert.Equal(t, f.Digests("sbom0", "sbom1"), listed(t, dest, amd64, sbomType))
			puts := 0
			for _, q := range backend.Requests() {
				if q.Method == http.MethodPut {
					puts++
				}
			}
			assert.Equal(t, 2, puts, "what is listed already is not written again")
		})
	}
}

// TestReferrersAPIEndsInTheMiddle: a registry that answered the first page has the API, whatever it
// says to the second.
func TestReferrersAPIEndsInTheMiddle(t *testing.T) {
	f := sboms(3)
	r := registrytest.Start(t, registrytest.Options{PageSize: 1, Script: func(_ int, req *http.Request) registrytest.Answer {
		if q, _ := url.ParseQuery(req.URL.RawQuery); q.Get("last") != "" {
			return registrytest.Fail(http.StatusNotFound, "NAME_UNKNOWN", "gone")
		}
		return registrytest.Answer{}
	}})
	push(f, r, 3)
	s := openSource(t, r.Host()+"/app:tag", insecure(t), quick())
	_, err := s.Referrers(t.Context(), f.Digest("amd64"), "")
	var refusal *endpoint.RegistryError
	require.ErrorAs(t, err, &refusal)
	assert.Contains(t, refusal.URL, "/referrers/")
}

// TestPutReferrersTakesTurns: many copies that share and add to one referrers tag lose nothing, nor
// do those that add to one tag.
func TestPutReferrersTakesTurns(t *testing.T) {
	const n = 20
	f := sboms(n)
	r := registrytest.Start(t, registrytest.Options{NoReferrers: true})
	push(f, r, n)
	sys, shared := insecure(t), quick()
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			dest, err := OpenDestination(t.Context(), parseRef(t, r.Host()+"/app:tag"), sys, shared)
			if !assert.NoError(t, err) {
				return
			}
			assert.NoError(t, dest.PutReferrers(t.Context(), f.Digest("amd64"), descriptors(f, fmt.Sprint("sbom", i))))
			assert.NoError(t, dest.Close())
		})
	}
	group.Wait()
	s := openSource(t, r.Host()+"/app:tag", sys, quick())
	assert.Len(t, listed(t, s, f.Digest("amd64"), ""), n)
}

// TestPagesAreNoManifests: a web page in the place of what a tag names shows nothing about the
// repository, so that 404s without a registry's word stay no absence.
func TestPagesAreNoManifests(t *testing.T) {
	f := sboms(1)
	host := serve(t, func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		if !strings.HasSuffix(req.URL.Path, ".sig") {
			w.WriteHeader(http.StatusNotFound)
		}
		fmt.Fprint(w, "<html>")
	})
	d := openDestination(t, host+"/app:tag", insecure(t), quick())
	_, err := d.Tagged(t.Context(), "sha256-0123456789.sig")
	require.ErrorIs(t, err, endpoint.ErrUnknown)
	_, err = d.Tagged(t.Context(), endpoint.ReferrersTag(f.Digest("amd64")))
	require.Error(t, err)
	assert.NotErrorIs(t, err, endpoint.ErrNotFound)
}

// TestPutReferrersPerRepository has repositories of two kinds below one name, as Artifactory and
// path-routing proxies have: that one has the API says nothing about the other.
func TestPutReferrersPerRepository(t *testing.T) {
	f := sboms(1)
	r := registrytest.Start(t, registrytest.Options{Script: func(_ int, req *http.Request) registrytest.Answer {
		if strings.HasPrefix(req.URL.Path, "/v2/docker/") && strings.Contains(req.URL.Path, "/referrers/") {
			return registrytest.Answer{Status: http.StatusNotFound}
		}
		return registrytest.Answer{}
	}})
	sys, sh := insecure(t), quick()
	for _, name := range []string{"oci/app", "docker/app", "oci/app"} {
		dest := openDestination(t, r.Host()+"/"+name+":v1", sys, sh)
		require.NoError(t, dest.PutReferrers(t.Context(), f.Digest("amd64"), descriptors(f, "sbom0")))
		_, _, tagged := r.Manifest(name, endpoint.ReferrersTag(f.Digest("amd64")))
		assert.Equal(t, name == "docker/app", tagged, name)
	}
	assert.Equal(t, 2, r.Count(registrytest.Is(http.MethodGet, registrytest.KindReferrers)), "each repository is asked once")
}

// TestPutReferrersKeepsWhatIsThere, byte for byte, and writes nothing over what is no list of
// referrers.
func TestPutReferrersKeepsWhatIsThere(t *testing.T) {
	f := sboms(2)
	r := registrytest.Start(t, registrytest.Options{NoReferrers: true})
	push(f, r, 2)
	tag := endpoint.ReferrersTag(f.Digest("amd64"))
	entry := fmt.Sprintf(`{ "vendor": 1.0, "mediaType": %q, "digest": %q, "size": %d }`, imgspecv1.MediaTypeImageManifest, f.Digest("sbom0"), f.Size("sbom0"))
	r.PutManifest("app", tag, imgspecv1.MediaTypeImageIndex, []byte(`{"schemaVersion":2,"manifests":[`+entry+`],"x":true}`))
	dest := openDestination(t, r.Host()+"/app:tag", insecure(t), quick())
	require.NoError(t, dest.PutReferrers(t.Context(), f.Digest("amd64"), descriptors(f, "sbom1")))
	content, _, _ := r.Manifest("app", tag)
	assert.Contains(t, string(content), entry)
	assert.Contains(t, string(content), `"x":true`)

	image, mediaType := f.Document("sbom0")
	r.PutManifest("app", tag, mediaType, image)
	assert.Error(t, dest.PutReferrers(t.Context(), f.Digest("amd64"), descriptors(f, "sbom1")))
	d, _ := r.Resolve("app", tag)
	assert.Equal(t, f.Digest("sbom0"), d)
}

// TestReferrersAPIStumbles: an answer that only hints at a registry without the API is not believed
// if the next one is a list, or if there was one before.
func TestReferrersAPIStumbles(t *testing.T) {
	f := sboms(1)
	want := f.Digests("sbom0", "other")
	for name, answer := range map[string]registrytest.Answer{
		"400": registrytest.Fail(400, "UNKNOWN", ""), "405": registrytest.Fail(405, "UNSUPPORTED", ""), "a page": registrytest.FailHTML(200),
	} {
		t.Run(name, func(t *testing.T) {
			asks := 0
			var stumbles func(ask int) bool
			script := func(int, *http.Request) registrytest.Answer {
				if asks++; stumbles(asks) {
					return answer
				}
				return registrytest.Answer{}
			}
			r := registrytest.Start(t, registrytest.Options{Script: registrytest.Only(registrytest.Matching(http.MethodGet, registrytest.KindReferrers), script)})
			push(f, r, 1)
			s := openSource(t, r.Host()+"/app:tag", insecure(t), quick())

			stumbles = func(ask int) bool { return ask == 1 }
			assert.ElementsMatch(t, want, listed(t, s, f.Digest("amd64"), ""))
			stumbles = func(ask int) bool { return ask > 2 }
			_, err := s.Referrers(t.Context(), f.Digest("amd64"), "")
			require.Error(t, err)
			assert.Equal(t, 3, asks)
		})
	}
}

// TestReferrersElsewhere: what another server says, to which a registry leads the question, says
// nothing about the registry: it is not asked again, and the registry is not taken for a busy one.
func TestReferrersElsewhere(t *testing.T) {
	f := sboms(1)
	for _, status := range []int{200, 401, 403, 404, 429, 503} {
		r := registrytest.Start(t, registrytest.Options{ReferrersPage: status})
		push(f, r, 1)
		s := openSource(t, r.Host()+"/app:tag", insecure(t), quick())
		assert.Empty(t, listed(t, s, f.Digest("amd64"), ""), "%d: there is no tag yet", status)
		listUnder(t, f, r, "sbom0")
		assert.Equal(t, f.Digests("sbom0"), listed(t, s, f.Digest("amd64"), ""), status)
		assert.Zero(t, s.Stats().Retries, status)
		assert.Zero(t, s.Stats().Throttled, status)
		assert.Equal(t, 4, r.Count(registrytest.Is(http.MethodGet, registrytest.KindReferrers)), "%d: two questions, and the pages", status)
	}
}

// TestReferrersElsewhereUnreachable: where the other server cannot be reached, as behind a firewall
// that lets the registry through only, the tag is asked for all the same; without one, it is
// unknown whether there are referrers.
func TestReferrersElsewhereUnreachable(t *testing.T) {
	f := sboms(1)
	r := registrytest.Start(t, registrytest.Options{ReferrersPage: 200, Script: func(_ int, q *http.Request) registrytest.Answer {
		if strings.HasPrefix(q.Host, "localhost:") {
			return registrytest.Close()
		}
		return registrytest.Answer{}
	}})
	push(f, r, 1)
	s := openSource(t, r.Host()+"/app:tag", insecure(t), quick())
	_, err := s.Referrers(t.Context(), f.Digest("amd64"), "")
	require.ErrorIs(t, err, endpoint.ErrUnknown)
	assert.ErrorContains(t, err, "leads to another server")
	dest := openDestination(t, r.Host()+"/app:tag", insecure(t), quick())
	require.NoError(t, dest.PutReferrers(t.Context(), f.Digest("amd64"), descriptors(f, "sbom0")))
	assert.Equal(t, f.Digests("sbom0"), listed(t, s, f.Digest("amd64"), ""))
	assert.Zero(t, s.Stats().Retries)
}

// FuzzReferrersPage reads a page of referrers with whatever document and Link header: the next page
// is at the registry itself, and what is listed has digests, once each.
func FuzzReferrersPage(f *testing.F) {
	d := digest.FromString("subject")
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"mediaType":"a/b","digest":"`+d.String()+`","size":1}]}`), "</v2/app/referrers/x?n=1>; rel=\"next\"")
	f.Add([]byte(`{"schemaVersion":2,"manifests":[]}`), "<http://127.0.0.1:1/next>;rel=next, <other>; rel=prev")
	f.Add([]byte("<html>"), "<;>,;,rel=next")
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"digest":"sha256:../../x"}]}`), "<//user:secret@registry.example/x>;rel=NEXT")
	h := &host{Host: ocihttp.NewHost("registry.example", false)}
	f.Fuzz(func(t *testing.T, page []byte, link string) {
		u, err := url.Parse("https://registry.example/v2/app/referrers/" + d.String())
		require.NoError(t, err)
		next, err := (&repository{host: h}).nextPage(&http.Response{Header: http.Header{"Link": {link}}, Request: &http.Request{URL: u}})
		if err == nil && next != nil {
			assert.Equal(t, "https", next.Scheme)
			assert.True(t, strings.EqualFold("registry.example", next.Hostname()), "%s", next)
		}
		all, err := parseReferrers(d, page)
		if err != nil {
			return
		}
		seen := map[digest.Digest]bool{}
		for _, r := range all {
			require.NoError(t, r.Digest.Validate())
			require.False(t, seen[r.Digest], "listed twice")
			seen[r.Digest] = true
		}
	})
}
