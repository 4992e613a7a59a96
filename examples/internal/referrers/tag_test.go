package referrers

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/sparsecopy/sparsecopy/internal/sparseregistry/sparsetest"
)

func TestDeletions(t *testing.T) {
	s := start(t)
	s.pushEmpty(t, "app")
	subject := artifact("", "", "subject")
	s.put(t, "app", "v1", subject)
	one, two := artifact(subject.digest, sbom, "1"), list(subject.digest, signature)
	s.put(t, "app", "one", one)
	s.put(t, "app", "", two)
	both := digests(sorted(one, two))
	assert.Equal(t, both, digestsOf(s.all(t, "app", subject.digest, "")))
	assert.Equal(t, both, s.tag(t, "app", subject.digest))

	// The referrers of a subject that is gone can be found all the same.
	s.delete(t, "app", subject.digest.String())
	assert.Equal(t, both, digestsOf(s.all(t, "app", subject.digest, "")))

	// Without the tag, the API lists the same. The tag comes back with the next change.
	s.delete(t, "app", tagOf(subject.digest))
	assert.Nil(t, s.tag(t, "app", subject.digest))
	assert.Equal(t, both, digestsOf(s.all(t, "app", subject.digest, "")))
	s.delete(t, "app", "one") // a tag, which refers to nothing
	assert.Nil(t, s.tag(t, "app", subject.digest))
	assert.Equal(t, both, digestsOf(s.all(t, "app", subject.digest, "")))

	s.delete(t, "app", one.digest.String())
	assert.Equal(t, []digest.Digest{two.digest}, digestsOf(s.all(t, "app", subject.digest, "")))
	assert.Equal(t, []digest.Digest{two.digest}, s.tag(t, "app", subject.digest))
	s.delete(t, "app", two.digest.String())
	assert.Empty(t, s.all(t, "app", subject.digest, ""))
	assert.Nil(t, s.tag(t, "app", subject.digest))
	linked, err := s.store.ReferrersOf(t.Context(), "app", subject.digest)
	require.NoError(t, err)
	assert.Empty(t, linked)

	s.put(t, "app", "", one) // again
	assert.Equal(t, []digest.Digest{one.digest}, s.tag(t, "app", subject.digest))
}

// What a client writes to the tag is kept as it is, and what is true of it is listed.
func TestAClientWritesTheTag(t *testing.T) {
	s := start(t)
	s.pushEmpty(t, "app")
	subject, other := digest.FromString("subject"), digest.FromString("other")
	linked, foreign, unrelated := artifact(subject, sbom, "linked"), artifact(other, sbom, "foreign"), artifact("", sbom, "unrelated")
	for _, d := range []document{linked, foreign, unrelated} {
		s.put(t, "app", "", d)
	}
	unlinked := artifact(subject, signature, "as of a time without links")
	s.putPlainly(t, "app", "", unlinked)
	index := list("", "", append(entries(unlinked, foreign, unrelated), gone)...)
	s.put(t, "app", tagOf(subject), index)

	assert.Equal(t, string(index.body), string(s.Get(t, http.MethodGet, "app", tagOf(subject)).Body))
	both := digests(sorted(linked, unlinked))
	assert.Equal(t, both, digestsOf(s.all(t, "app", subject, "")))
	assert.Equal(t, []digest.Digest{foreign.digest}, digestsOf(s.all(t, "app", other, "")))
	links, err := s.store.ReferrersOf(t.Context(), "app", subject)
	require.NoError(t, err)
	assert.Equal(t, both, links)

	// With the next change, it is made anew.
	more := artifact(subject, sbom, "more")
	s.put(t, "app", "", more)
	assert.Equal(t, digests(sorted(linked, unlinked, more)), s.tag(t, "app", subject))
	// One that lists less removes nothing.
	s.put(t, "app", tagOf(subject), list("", ""))
	assert.Equal(t, digests(sorted(linked, unlinked, more)), digestsOf(s.all(t, "app", subject, "")))
	assert.Empty(t, s.tag(t, "app", subject))
}

// putPlainly stores a document when there are no links.
func (s *server) putPlainly(t *testing.T, repo, ref string, d document) {
	t.Helper()
	if ref == "" {
		ref = d.digest.String()
	}
	r := httptest.NewRequest(http.MethodPut, sparsetest.ManifestPath(repo, ref), strings.NewReader(string(d.body)))
	r.Header.Set("Content-Type", d.mediaType)
	w := httptest.NewRecorder()
	s.plain.ServeHTTP(w, r)
	require.Equal(t, http.StatusCreated, w.Code, "%s", w.Body)
}

// A storage that was filled when nobody wrote links has the tag.
func TestAStorageWithoutLinks(t *testing.T) {
	s := start(t)
	s.pushEmpty(t, "app")
	for _, subject := range []digest.Digest{digest.FromString("subject"), digest.SHA512.FromString("subject")} {
		var old []document
		for i := range 7 {
			d := artifact(subject, []string{sbom, signature}[i%2], fmt.Sprint(i))
			s.putPlainly(t, "app", "", d)
			old = append(old, d)
		}
		foreign := artifact(digest.FromString("other"), sbom, "foreign")
		s.putPlainly(t, "app", "", foreign)
		s.putPlainly(t, "app", tagOf(subject), list("", "", append(entries(append(old, foreign)...), gone)...))

		assert.Equal(t, digests(sorted(old...)), digestsOf(s.all(t, "app", subject, "?n=2")))
		assert.Len(t, s.all(t, "app", subject, "?artifactType="+sbom), 4)
		s.delete(t, "app", old[0].digest.String())
		old = old[1:]
		assert.Equal(t, digests(sorted(old...)), digestsOf(s.all(t, "app", subject, "?n=3")))
		assert.Equal(t, digests(sorted(old...)), s.tag(t, "app", subject))
		links, err := s.store.ReferrersOf(t.Context(), "app", subject)
		require.NoError(t, err)
		assert.Equal(t, digests(sorted(old...)), links)
	}
}

// TestACopiedTag has a storage without links whose tag was copied from a server that made it.
func TestACopiedTag(t *testing.T) {
	s := start(t)
	s.pushEmpty(t, "app")
	subject := digest.FromString("subject")
	one, other := artifact(subject, sbom, "one"), artifact(subject, signature, "other")
	for _, d := range []document{one, other} {
		s.put(t, "app", "", d)
	}
	require.True(t, IsMade(s.Get(t, http.MethodGet, "app", tagOf(subject)).Body))
	for _, d := range []document{one, other} {
		require.NoError(t, s.store.RemoveReferrer(t.Context(), "app", subject, d.digest))
	}
	both := digests(sorted(one, other))
	assert.Equal(t, both, digestsOf(s.all(t, "app", subject, "")))
	more := artifact(subject, sbom, "more")
	s.put(t, "app", "", more)
	all := digests(sorted(one, other, more))
	assert.Equal(t, all, s.tag(t, "app", subject))
	links, err := s.store.ReferrersOf(t.Context(), "app", subject)
	require.NoError(t, err)
	assert.Equal(t, all, links)
}

// Nobody's image is replaced by a list of referrers.
func TestATagThatNamesSomethingElseIsLeftAlone(t *testing.T) {
	s := start(t)
	s.pushEmpty(t, "app")
	image := artifact("", "", "an image that has the tag of a digest")
	itself := list("", "", entries(image)...) // tagged with its own digest
	platforms := documentOf(imgspecv1.MediaTypeImageIndex, map[string]any{
		"schemaVersion": 2, "mediaType": imgspecv1.MediaTypeImageIndex, "manifests": []imgspecv1.Descriptor{{
			MediaType: imgspecv1.MediaTypeImageManifest, Digest: image.digest, Size: int64(len(image.body)),
			Platform: &imgspecv1.Platform{OS: "linux", Architecture: "amd64"},
		}},
	})
	for subject, named := range map[digest.Digest]document{
		digest.FromString("x"): image, itself.digest: itself, digest.FromString("y"): platforms,
	} {
		s.put(t, "app", tagOf(subject), named)
		d := artifact(subject, sbom, "referrer")
		assert.Equal(t, subject.String(), s.put(t, "app", "", d).Header.Get(SubjectHeader))
		assert.Equal(t, string(named.body), string(s.Get(t, http.MethodGet, "app", tagOf(subject)).Body))
		assert.Equal(t, []digest.Digest{d.digest}, digestsOf(s.all(t, "app", subject, "")))
		s.delete(t, "app", d.digest.String())
		assert.Equal(t, string(named.body), string(s.Get(t, http.MethodGet, "app", tagOf(subject)).Body))
	}
}

// A manifest is listed as soon as its push is answered, whoever else pushes.
func TestConcurrentPushes(t *testing.T) {
	s := start(t)
	s.pushEmpty(t, "app")
	subject := digest.FromString("subject")
	const pushers, each = 8, 3
	var all []document
	for i := range pushers * each {
		all = append(all, artifact(subject, sbom, fmt.Sprint(i)))
	}
	var g errgroup.Group
	for i := range pushers {
		g.Go(func() error {
			for _, d := range all[i*each : (i+1)*each] {
				s.put(t, "app", "", d)
				if !slices.Contains(digestsOf(s.all(t, "app", subject, "")), d.digest) {
					return fmt.Errorf("%s is not listed", d.digest)
				}
			}
			return nil
		})
	}
	// Who knows the tag only writes what was read, one entry more.
	g.Go(func() error {
		for range each {
			s.put(t, "app", tagOf(subject), list("", "", append(s.tagEntries(t, "app", subject), gone)...))
		}
		return nil
	})
	require.NoError(t, g.Wait())
	assert.Equal(t, digests(sorted(all...)), digestsOf(s.all(t, "app", subject, "?n=7")))
	last := artifact(subject, sbom, "last")
	s.put(t, "app", "", last)
	assert.Equal(t, digests(sorted(append(all, last)...)), s.tag(t, "app", subject))
}

// Whoever comes first, the list is of what is there.
func TestPushesAgainstDeletions(t *testing.T) {
	s := start(t)
	s.pushEmpty(t, "app")
	subject := digest.FromString("subject")
	var wg sync.WaitGroup
	for i := range 6 {
		d := artifact(subject, sbom, fmt.Sprint(i))
		wg.Go(func() {
			for range 4 {
				s.put(t, "app", "", d)
			}
		})
		wg.Go(func() {
			for range 4 {
				s.Do(t, http.MethodDelete, sparsetest.ManifestPath("app", d.digest.String()), nil, nil) // 404 if it is not there
			}
		})
	}
	wg.Wait()
	there := []digest.Digest{}
	for i := range 6 {
		d := artifact(subject, sbom, fmt.Sprint(i)).digest
		if s.Get(t, http.MethodHead, "app", d.String()).Status == http.StatusOK {
			there = append(there, d)
		}
	}
	slices.Sort(there)
	links, err := s.store.ReferrersOf(t.Context(), "app", subject)
	require.NoError(t, err)
	assert.ElementsMatch(t, there, links)
	assert.Equal(t, there, digestsOf(s.all(t, "app", subject, "")))
	if tag := s.tag(t, "app", subject); len(there) > 0 {
		assert.Equal(t, there, tag)
	} else {
		assert.Nil(t, tag)
	}
}

// Whoever is killed in the middle leaves nothing wrong behind.
func TestLeftovers(t *testing.T) {
	s := start(t)
	s.pushEmpty(t, "app")
	ctx, subject := t.Context(), digest.FromString("subject")
	one := artifact(subject, sbom, "1")
	s.put(t, "app", "", one)
	// Links without a manifest: never there, deleted, of another subject, and half of a link.
	foreign := artifact(digest.FromString("other"), sbom, "foreign")
	s.put(t, "app", "", foreign)
	deleted := artifact(subject, sbom, "deleted")
	s.put(t, "app", "", deleted)
	require.NoError(t, s.store.RemoveRevision(ctx, "app", deleted.digest))
	for _, d := range []digest.Digest{digest.FromString("never there"), digest.SHA512.FromString("never there"), foreign.digest} {
		require.NoError(t, s.store.PutReferrer(ctx, "app", subject, d))
	}
	assert.Equal(t, []digest.Digest{one.digest}, digestsOf(s.all(t, "app", subject, "?n=1")))
	// A tag that names what is not there.
	require.NoError(t, s.store.PutTag(ctx, "app", tagOf(subject), digest.FromString("nothing")))
	assert.Equal(t, []digest.Digest{one.digest}, digestsOf(s.all(t, "app", subject, "?n=1")))
	// A manifest that was stored, and whose link was not written: nobody was told that it is there.
	unlinked := artifact(subject, sbom, "unlinked")
	s.putPlainly(t, "app", "", unlinked)
	assert.Equal(t, []digest.Digest{one.digest}, digestsOf(s.all(t, "app", subject, "")))
	s.put(t, "app", "", unlinked) // and so it is pushed again
	assert.Equal(t, digests(sorted(one, unlinked)), digestsOf(s.all(t, "app", subject, "")))
	assert.Equal(t, digests(sorted(one, unlinked)), s.tag(t, "app", subject))
}

func TestOnlyWhatWasMadeHereIsTakenForIt(t *testing.T) {
	made := makeIndex([][]byte{[]byte(`{"mediaType":"x","digest":"y","size":1}`)})
	parseIndex(t, makeIndex(nil))
	assert.True(t, IsMade(made))
	assert.True(t, IsMade(makeIndex(nil)))
	more := strings.Replace(string(made), "}]", `},{"mediaType":"x","digest":"z","size":1}]`, 1)
	for _, body := range []string{
		"", "{}", more, strings.Replace(string(made), "x", "X", 1), string(made) + " ", indexHead, madeTail1 + madeTail2, indexHead + madeTail1, indexHead + indexTail,
	} {
		assert.False(t, IsMade([]byte(body)), body)
	}
}

func TestTagNames(t *testing.T) {
	hex := strings.Repeat("0123456789abcdef", 4)
	assert.Equal(t, "sha256-"+hex, tagOf(digest.Digest("sha256:"+hex)))
	assert.Equal(t, "sha512-"+hex, tagOf(digest.Digest("sha512:"+hex+strings.Repeat("f", 64))))
	for tag, is := range map[string]bool{
		"sha256-" + hex: true, "sha512-" + hex: true, "sha256-" + hex + ".sig": false, "sha256-" + hex + "0": false, "sha256-" + hex[1:]: false,
		"sha256:" + hex: false, "v1": false, "md5-" + hex: false,
	} {
		assert.Equal(t, is, IsTag(tag), tag)
	}
}

// TestABurstMakesFewTags: who waits while others make the tag is served with those who wait, too,
// and never by what was begun before.
func TestABurstMakesFewTags(t *testing.T) {
	s := inMemory(t)
	synctest.Test(t, func(t *testing.T) {
		subject := digest.FromString("subject")
		key := tagKey{"app", tagOf(subject)}
		links := New(s.store)
		var linked []digest.Digest
		push := func(name string) (answered chan error) { // as Stored does
			d := artifact(subject, sbom, name)
			s.fill(t, subject, d)
			linked = append(linked, d.digest)
			slices.Sort(linked)
			answered = make(chan error, 1)
			go func() { answered <- links.Refresh(t.Context(), "app", subject) }()
			synctest.Wait()
			return answered
		}
		take := func() (taken chan func()) {
			taken = make(chan func(), 1)
			go func() {
				done, err := links.tags.Take(t.Context(), key)
				assert.NoError(t, err)
				taken <- done
			}()
			synctest.Wait()
			return taken
		}
		others := take()
		first, next := push("first"), take()
		var joined []chan error
		for _, name := range []string{"second", "third"} {
			joined = append(joined, push(name))
		}
		for range maxReading {
			links.reading <- struct{}{}
		}
		(<-others)()
		synctest.Wait() // the first has found what is linked, and cannot read it
		before := slices.Clone(linked)
		late := push("late")
		for range maxReading {
			<-links.reading
		}
		release := <-next // behind the first
		synctest.Wait()
		for _, answered := range append(joined, first) {
			require.Len(t, answered, 1, "nobody has to make a tag of their own")
			require.NoError(t, <-answered)
		}
		assert.Equal(t, before, digestsOf(parseIndex(t, s.made(t, subject)).Manifests))
		assert.Empty(t, late, "its link came when the tag was being made")
		release()
		require.NoError(t, <-late)
		assert.Equal(t, linked, digestsOf(parseIndex(t, s.made(t, subject)).Manifests))
		assert.Empty(t, links.waiting)

		others = take()
		first, joined = push("unreadable"), []chan error{push("another")}
		blob := "/docker/registry/v2/blobs/sha256/" + linked[0].Encoded()[:2] + "/" + linked[0].Encoded() + "/data"
		require.NoError(t, s.driver.PutContent(t.Context(), blob, []byte("altered")))
		(<-others)()
		require.Error(t, <-first)
		require.Error(t, <-joined[0], "no tag was made for it either")
	})
}

// TestWhoMakesTheTagLeaves: those who have joined it make the tag themselves.
func TestWhoMakesTheTagLeaves(t *testing.T) {
	s := inMemory(t)
	synctest.Test(t, func(t *testing.T) {
		subject := digest.FromString("subject")
		links := New(s.store)
		referrer := artifact(subject, sbom, "referrer")
		s.fill(t, subject, referrer)
		others, err := links.tags.Take(t.Context(), tagKey{"app", tagOf(subject)})
		require.NoError(t, err)
		leaving, leave := context.WithCancel(t.Context())
		defer leave()
		var answered []chan error
		for _, ctx := range []context.Context{leaving, t.Context(), t.Context()} {
			a := make(chan error, 1)
			answered = append(answered, a)
			go func() { a <- links.Refresh(ctx, "app", subject) }()
			synctest.Wait()
		}
		leave()
		synctest.Wait()
		require.ErrorIs(t, <-answered[0], context.Canceled)
		others()
		require.NoError(t, <-answered[1])
		require.NoError(t, <-answered[2])
		assert.Equal(t, []digest.Digest{referrer.digest}, digestsOf(parseIndex(t, s.made(t, subject)).Manifests))
		assert.Empty(t, links.waiting)
	})
}
