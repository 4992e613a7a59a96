package referrers

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry/sparsetest"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// inMemory serves the referrers of a storage in memory, which is filled behind the server's back.
func inMemory(t testing.TB) *server {
	t.Helper()
	driver := inmemory.New()
	s := &server{driver: driver, store: registrystore.New(driver)}
	s.links = New(s.store)
	s.Client = sparsetest.ServeHandler(t, s.links.Handler(http.NotFoundHandler(), Options{Failed: s.failed}))
	return s
}

func (s *server) fill(t testing.TB, subject digest.Digest, documents ...document) {
	t.Helper()
	for _, d := range documents {
		_, err := s.store.PutManifest(t.Context(), "app", d.body)
		require.NoError(t, err)
		require.NoError(t, s.store.PutReferrer(t.Context(), "app", subject, d.digest))
	}
}

// made reads the tag of a subject in the storage.
func (s *server) made(t testing.TB, subject digest.Digest) []byte {
	t.Helper()
	d, err := s.store.Current(t.Context(), "app", tagOf(subject))
	require.NoError(t, err)
	body, err := s.store.ReadBlob(t.Context(), d, manifest.MaxSize)
	require.NoError(t, err)
	require.True(t, IsMade(body))
	return body
}

// Beyond the limit of a list, the tag has what comes first, and the API has all.
func TestMoreReferrersThanAListMayHave(t *testing.T) {
	s := inMemory(t)
	subject := digest.FromString("subject")
	var all []document
	for i := range maxEntries + 7 {
		all = append(all, artifact(subject, []string{sbom, signature}[i%2], fmt.Sprint(i)))
	}
	s.fill(t, subject, all...)
	require.NoError(t, s.links.Refresh(t.Context(), "app", subject))
	sorted(all...)

	first := digests(all[:maxEntries])
	assert.Equal(t, first, digestsOf(parseIndex(t, s.made(t, subject)).Manifests))
	answer, page := s.get(t, "app", subject, "?n=5000")
	assert.Equal(t, first, digestsOf(page.Manifests))
	assert.NotEmpty(t, answer.Header.Get("Link"))
	assert.Equal(t, digests(all), digestsOf(s.all(t, "app", subject, "")))
	assert.Len(t, s.all(t, "app", subject, "?artifactType="+sbom), (maxEntries+8)/2)

	// One that goes makes room for the next.
	require.NoError(t, s.store.RemoveRevision(t.Context(), "app", all[3].digest))
	require.NoError(t, s.store.RemoveReferrer(t.Context(), "app", subject, all[3].digest))
	require.NoError(t, s.links.Refresh(t.Context(), "app", subject))
	assert.Equal(t, append(digests(all[:3]), digests(all[4:maxEntries+1])...), digestsOf(parseIndex(t, s.made(t, subject)).Manifests))
}

// No page, and no tag, is larger than what clients read.
func TestLargeDescriptors(t *testing.T) {
	s := inMemory(t)
	subject := digest.FromString("subject")
	var all []document
	for i := range 5 {
		all = append(all, artifact(subject, sbom, strings.Repeat(string(rune('a'+i)), 1<<20)))
	}
	s.fill(t, subject, all...)
	require.NoError(t, s.links.Refresh(t.Context(), "app", subject))
	sorted(all...)
	answer, page := s.get(t, "app", subject, "")
	assert.Less(t, len(answer.Body), manifest.MaxSize)
	assert.Equal(t, digests(all[:3]), digestsOf(page.Manifests))
	body := s.made(t, subject)
	assert.Less(t, len(body), manifest.MaxSize)
	assert.Equal(t, digests(all[:3]), digestsOf(parseIndex(t, body).Manifests))
	assert.Equal(t, digests(all), digestsOf(s.all(t, "app", subject, "")))
}

// A descriptor that is larger than a page is a page, and no tag.
func TestADescriptorThatIsTooLarge(t *testing.T) {
	s := inMemory(t)
	subject := digest.FromString("subject")
	d := artifact(subject, sbom, "\u2028") // which json.Marshal writes as six bytes, and others as three
	body := strings.Replace(string(d.body), `\u2028`, strings.Repeat("\u2028", manifest.MaxSize/6+1), 1)
	d = document{d.mediaType, []byte(body), digest.FromString(body)}
	other := artifact(subject, sbom, "other")
	s.fill(t, subject, d, other)
	assert.ElementsMatch(t, digests([]document{d, other}), digestsOf(s.all(t, "app", subject, "")))

	require.NoError(t, s.store.RemoveReferrer(t.Context(), "app", subject, other.digest))
	require.NoError(t, s.links.Refresh(t.Context(), "app", subject))
	_, err := s.store.Current(t.Context(), "app", tagOf(subject))
	require.Error(t, err)
}

// A page ends when much was read for it, and says where the next one begins.
func TestLargeManifests(t *testing.T) {
	s := inMemory(t)
	subject := digest.FromString("subject")
	s.links.maxRead = 1 << 20
	var all []document
	for i := range 40 {
		d := artifact(subject, sbom, fmt.Sprint(i))
		body := append([]byte(strings.Repeat(" ", 1<<16)), d.body...)
		all = append(all, document{d.mediaType, body, digest.FromBytes(body)})
	}
	s.fill(t, subject, all...)
	sorted(all...)
	answer, page := s.get(t, "app", subject, "")
	assert.Less(t, len(page.Manifests), 20)
	assert.NotEmpty(t, answer.Header.Get("Link"))
	answer, page = s.get(t, "app", subject, "?artifactType=none")
	assert.Empty(t, page.Manifests)
	assert.NotEmpty(t, answer.Header.Get("Link"))
	assert.Equal(t, digests(all), digestsOf(s.all(t, "app", subject, "")))
	assert.Empty(t, s.all(t, "app", subject, "?artifactType=none"))
}

// Only who lists what is large asks for memory, once, and gives it back; also where there can be no
// files.
func TestMemoryOfLargeLists(t *testing.T) {
	s := inMemory(t)
	var asked, held atomic.Int64
	answered := make(chan struct{}, 1)
	for _, spool := range []string{t.TempDir(), filepath.Join(t.TempDir(), "gone")} {
		h := s.links.Handler(http.NotFoundHandler(), Options{
			Failed: s.failed, Spool: spool,
			Admit: func(context.Context, int64) (func(), error) {
				asked.Add(1)
				held.Add(1)
				return func() { held.Add(-1) }, nil
			},
		})
		s.Client = sparsetest.ServeHandler(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.ServeHTTP(w, r)
			answered <- struct{}{}
		}))
		small := digest.FromString("small")
		s.fill(t, small, artifact(small, sbom, "a"), artifact(small, sbom, "b"))
		_, page := s.get(t, "app", small, "")
		<-answered
		assert.Len(t, page.Manifests, 2)
		assert.Zero(t, asked.Load())
		for _, c := range []struct {
			name  string
			count int
			size  int
		}{{"large manifests", 3, 100 << 10}, {"a large page", 40, 20 << 10}} {
			subject := digest.FromString(c.name)
			var all []document
			for i := range c.count {
				all = append(all, artifact(subject, sbom, fmt.Sprint(i)+strings.Repeat("x", c.size)))
			}
			s.fill(t, subject, all...)
			sorted(all...)
			_, page := s.get(t, "app", subject, "")
			<-answered
			assert.Equal(t, digests(all), digestsOf(page.Manifests), c.name)
			assert.EqualValues(t, 1, asked.Swap(0), c.name)
			assert.Zero(t, held.Load(), c.name)
		}
		left, _ := filepath.Glob(filepath.Join(spool, "*"))
		assert.Empty(t, left)
	}
}

// A list that lacks what cannot be read would be taken for the whole.
func TestWhatCannotBeReadIsAnError(t *testing.T) {
	s := inMemory(t)
	subject := digest.FromString("subject")
	d := artifact(subject, sbom, "altered")
	s.fill(t, subject, d, artifact(subject, sbom, "another"))
	blob := "/docker/registry/v2/blobs/sha256/" + d.digest.Encoded()[:2] + "/" + d.digest.Encoded() + "/data"
	require.NoError(t, s.driver.PutContent(t.Context(), blob, []byte("altered")))
	answer := s.Do(t, http.MethodGet, "/v2/app/referrers/"+subject.String(), nil, nil)
	assert.Equal(t, http.StatusInternalServerError, answer.Status)
	require.Len(t, answer.Errors(), 1)
	assert.Equal(t, "the referrers cannot be listed: the log of the server says why", answer.Errors()[0].Message)
	require.Len(t, s.failures, 1)
	assert.EqualError(t, s.failures[0],
		"listing the referrers of "+subject.String()+": reading blob "+d.digest.String()+": the content does not have this digest")
	require.Error(t, s.links.Refresh(t.Context(), "app", subject))
}
