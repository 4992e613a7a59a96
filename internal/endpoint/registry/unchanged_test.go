package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
	lists "github.com/sparsecopy/sparsecopy/manifest"
)

// mapCache keeps everything.
type mapCache struct {
	mu   sync.Mutex
	kept map[string][]byte // guarded by mu
}

func newMapCache() *mapCache { return &mapCache{kept: map[string][]byte{}} }

func (c *mapCache) Get(key string) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.kept[key]
}

func (c *mapCache) Put(key string, content []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept[key] = content
}

func (c *mapCache) Remove(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.kept, key)
}

// tamper changes each content that a key with the prefix has.
func (c *mapCache) tamper(prefix string, change func([]byte) []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, content := range maps.Clone(c.kept) {
		if strings.HasPrefix(key, prefix) {
			c.kept[key] = change(bytes.Clone(content))
		}
	}
}

// cached is what a later run of a program shares with an earlier one.
func cached(c endpoint.DocumentCache) *Shared {
	sh := quick()
	sh.Cache = c
	return sh
}

// asked returns the requests for manifests and blobs, and forgets them.
func asked(r *registrytest.Registry) []string {
	var all []string
	for _, q := range r.Requests() {
		if q.Kind == registrytest.KindManifest || q.Kind == registrytest.KindBlob {
			all = append(all, q.Method+" "+q.Ref)
		}
	}
	r.ResetLog()
	return all
}

// putListOf puts a list of images into a repository with the tag "list".
func putListOf(t *testing.T, r *registrytest.Registry, repo string, images ...image) digest.Digest {
	t.Helper()
	index := imgspecv1.Index{MediaType: imgspecv1.MediaTypeImageIndex}
	index.SchemaVersion = 2
	for _, im := range images {
		index.Manifests = append(index.Manifests, imgspecv1.Descriptor{
			MediaType: im.manifest.MediaType, Digest: im.manifest.Digest, Size: int64(len(im.manifest.Bytes)),
		})
	}
	b, err := json.Marshal(index)
	require.NoError(t, err)
	return r.PutManifest(repo, "list", index.MediaType, b)
}

// TestUnchanged reads a list and its image twice, with registries that answer HEAD in their ways.
func TestUnchanged(t *testing.T) {
	for name, c := range map[string]struct {
		options registrytest.Options
		second  []string // %s is the image's digest
	}{
		"as it should be": {second: []string{"HEAD list"}},
		"no digest":       {registrytest.Options{HEADs: registrytest.HEADWithoutDigest}, []string{"HEAD list", "GET list"}},
		"no length":       {registrytest.Options{HEADs: registrytest.HEADOfNoLength}, []string{"HEAD list", "GET list"}},
		"absent":          {registrytest.Options{HEADs: registrytest.HEADAbsent}, []string{"HEAD list", "GET list"}},
		"405":             {registrytest.Options{RefuseHEAD: true}, []string{"HEAD list", "GET list"}},
		"403": {registrytest.Options{Script: registrytest.Only(registrytest.Matching(http.MethodHead, registrytest.KindManifest),
			registrytest.EveryNth(1, registrytest.Answer{Status: http.StatusForbidden}))}, []string{"HEAD list", "GET list"}},
		"500": {
			registrytest.Options{Script: registrytest.Only(registrytest.Matching(http.MethodHead, registrytest.KindManifest),
				registrytest.EveryNth(1, registrytest.Answer{Status: http.StatusInternalServerError}))},
			[]string{"HEAD list", "HEAD list", "GET list"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := registrytest.Start(t, c.options)
			im := newImage(t, 2, 100, r, "a")
			list := putListOf(t, r, "a", im)
			cache := newMapCache()
			for _, want := range [][]string{{"GET list", "GET " + im.manifest.Digest.String()}, c.second, c.second} {
				s := openSource(t, r.Host()+"/a:list", insecure(t), cached(cache))
				assert.Equal(t, list, s.Top().Digest)
				assert.True(t, s.Top().IsList())
				doc, err := s.Manifest(context.Background(), im.manifest.Digest)
				require.NoError(t, err)
				assert.Equal(t, im.manifest, doc)
				assert.Equal(t, want, asked(r))
			}
		})
	}
}

func TestChangedTagsAreReadOnce(t *testing.T) {
	r := registrytest.Start(t, registrytest.Options{})
	first, second := newImage(t, 1, 100, r, "a"), newImage(t, 2, 100, r, "a")
	point := func(im image) { r.PutManifest("a", "tag", im.manifest.MediaType, im.manifest.Bytes) }
	cache := newMapCache()
	for _, step := range []struct {
		to   image
		want []string
	}{
		{first, []string{"GET tag"}},
		{second, []string{"HEAD tag", "GET tag"}},
		{second, []string{"HEAD tag"}},
		{first, []string{"HEAD tag"}}, // back to what has been read
	} {
		point(step.to)
		s := openSource(t, r.Host()+"/a:tag", insecure(t), cached(cache))
		assert.Equal(t, step.to.manifest, s.Top())
		assert.Equal(t, step.want, asked(r))
	}
	r.DeleteTag("a", "tag")
	_, err := OpenSource(context.Background(), parseRef(t, r.Host()+"/a:tag"), insecure(t), cached(cache))
	require.ErrorIs(t, err, endpoint.ErrNotFound)
	assert.True(t, endpoint.SaysAbsent(err), "in the registry's own words")
}

func TestUnchangedDigest(t *testing.T) {
	r := registrytest.Start(t, registrytest.Options{})
	im := newImage(t, 1, 100, r, "a")
	d := im.manifest.Digest
	cache := newMapCache()
	for _, want := range []string{"GET ", "HEAD "} {
		s := openSource(t, r.Host()+"/a@"+d.String(), insecure(t), cached(cache))
		assert.Equal(t, im.manifest, s.Top())
		assert.Equal(t, []string{want + d.String()}, asked(r))
	}
	r.DeleteManifest("a", d)
	_, err := OpenSource(context.Background(), parseRef(t, r.Host()+"/a@"+d.String()), insecure(t), cached(cache))
	require.ErrorIs(t, err, endpoint.ErrNotFound, "the cache does not say what is there")
}

// TestCacheIsVerified changes what a cache has kept.
func TestCacheIsVerified(t *testing.T) {
	ctx := context.Background()
	for name, change := range map[string]func([]byte) []byte{
		"cut":     func(b []byte) []byte { return b[:len(b)/2] },
		"empty":   func([]byte) []byte { return []byte{} },
		"changed": func(b []byte) []byte { return bytes.Replace(b, []byte("1"), []byte("2"), 1) },
	} {
		t.Run(name, func(t *testing.T) {
			r := registrytest.Start(t, registrytest.Options{})
			im := newImage(t, 1, 100, r, "a")
			putListOf(t, r, "a", im)
			cache := newMapCache()
			read := func() {
				s := openSource(t, r.Host()+"/a:list", insecure(t), cached(cache))
				doc, err := s.Manifest(ctx, im.manifest.Digest)
				require.NoError(t, err)
				assert.Equal(t, im.manifest, doc)
			}
			read()
			asked(r)
			cache.tamper("manifest", change)
			read()
			assert.Equal(t, []string{"HEAD list", "GET list", "GET " + im.manifest.Digest.String()}, asked(r))
			cache.tamper("tag", change)
			read() // by GET, unless the tag is said to have named something else
		})
	}
}

// TestCacheIsForOneRepository has another repository name what only the first one has.
func TestCacheIsForOneRepository(t *testing.T) {
	ctx := context.Background()
	r := registrytest.Start(t, registrytest.Options{})
	private := newImage(t, 1, 100, r, "private")
	cache := newMapCache()
	openSource(t, r.Host()+"/private:tag", insecure(t), cached(cache))
	putListOf(t, r, "public", private)
	s := openSource(t, r.Host()+"/public:list", insecure(t), cached(cache))
	_, err := s.Manifest(ctx, private.manifest.Digest)
	require.ErrorIs(t, err, endpoint.ErrNotFound)
}

// TestCacheKeepsManifestsAndBlobsApart has a list name the payload of a signature as an image.
func TestCacheKeepsManifestsAndBlobsApart(t *testing.T) {
	r := registrytest.Start(t, registrytest.Options{})
	im := newImage(t, 1, 100, r, "a")
	putAttachment(t, r, "a", im.manifest.Digest)
	sys, _ := withSignatures(t)
	sh := cached(newMapCache())
	s := openSource(t, r.Host()+"/a:tag", sys, sh)
	_, err := s.Signatures(context.Background(), im.manifest.Digest)
	require.NoError(t, err)
	_, err = s.Manifest(context.Background(), digest.FromString(`{"critical":{}}`))
	require.ErrorIs(t, err, endpoint.ErrNotFound)
}

// TestHeldBlobs reads blobs that are held twice: small ones are kept, others, and those that are
// not what they should be, are not.
func TestHeldBlobs(t *testing.T) {
	ctx := context.Background()
	r := registrytest.Start(t, registrytest.Options{})
	im := newImage(t, 2, 1000, r, "a")
	large := newImage(t, 1, maxPayload+1, r, "a").blobs[0]
	cache := newMapCache()
	read := func(b endpoint.Blob) ([]byte, error) {
		s := openSource(t, r.Host()+"/a:tag", insecure(t), cached(cache))
		asked(r)
		content, err := endpoint.ReadHeld(s)(ctx, b)
		if err != nil {
			return nil, err
		}
		defer content.Close()
		return io.ReadAll(content)
	}
	small := im.blobs[1]
	for _, c := range []struct {
		blob endpoint.Blob
		want int
	}{{small, 1}, {small, 0}, {large, 1}, {large, 1}, {endpoint.Blob{Digest: small.Digest, Size: 999}, 1}} {
		content, err := read(c.blob)
		if c.blob.Size == 999 {
			require.ErrorContains(t, err, "1000 bytes, not 999")
		} else {
			require.NoError(t, err)
			assert.Equal(t, c.blob.Digest, digest.FromBytes(content))
		}
		assert.Len(t, asked(r), c.want)
	}
}

func TestPresentManifest(t *testing.T) {
	ctx := context.Background()
	r := registrytest.Start(t, registrytest.Options{})
	im := newImage(t, 1, 100, r, "a")
	putListOf(t, r, "a", im)
	d := im.manifest.Digest
	cache := newMapCache()
	present := func() (endpoint.Document, error) {
		s := openSource(t, r.Host()+"/a:list", insecure(t), cached(cache))
		asked(r)
		return endpoint.ReadPresent(s)(ctx, d)
	}
	for _, want := range []string{"GET ", "HEAD "} {
		doc, err := present()
		require.NoError(t, err)
		assert.Equal(t, im.manifest, doc)
		assert.Equal(t, []string{want + d.String()}, asked(r))
	}
	r.DeleteManifest("a", d)
	_, err := present()
	require.ErrorIs(t, err, endpoint.ErrNotFound)
	assert.True(t, endpoint.SaysAbsent(err), "in the registry's own words")
}

// TestOwnEndsHaveNoCache opens what a destination has: the answer is what is there.
func TestOwnEndsHaveNoCache(t *testing.T) {
	ctx := context.Background()
	r := registrytest.Start(t, registrytest.Options{})
	im := newImage(t, 1, 100, r, "a")
	sh := cached(newMapCache())
	openSource(t, r.Host()+"/a:tag", insecure(t), sh)
	asked(r)
	s, err := OpenOwn(ctx, parseRef(t, r.Host()+"/a:tag"), insecure(t), sh)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	d := openDestination(t, r.Host()+"/a:tag", insecure(t), sh)
	_, err = d.Manifest(ctx, im.manifest.Digest)
	require.NoError(t, err)
	_, err = d.Tagged(ctx, "tag")
	require.NoError(t, err)
	assert.Equal(t, []string{"GET tag", "GET " + im.manifest.Digest.String(), "GET tag"}, asked(r))
}

// TestMisdeclaredIsNotKept has a registry declare an image to be something else: what is kept must
// not hide that.
func TestMisdeclaredIsNotKept(t *testing.T) {
	r := registrytest.Start(t, registrytest.Options{DeclareAs: map[string]string{imgspecv1.MediaTypeImageManifest: lists.MediaTypeDockerManifest}})
	newImage(t, 1, 100, r, "a")
	cache := newMapCache()
	for _, want := range [][]string{{"GET tag"}, {"HEAD tag", "GET tag"}} {
		s := openSource(t, r.Host()+"/a:tag", insecure(t), cached(cache))
		assert.True(t, endpoint.IsMisdeclared(s.Top()))
		assert.Equal(t, want, asked(r))
	}
}

// TestUnchangedSignatures reads signatures twice: each digest tag costs a HEAD then, whether or not
// it is there.
func TestUnchangedSignatures(t *testing.T) {
	ctx := context.Background()
	r := registrytest.Start(t, registrytest.Options{})
	signed, unsigned := newImage(t, 1, 100, r, "a"), newImage(t, 2, 100, r, "a")
	list := putListOf(t, r, "a", signed, unsigned)
	putAttachment(t, r, "a", signed.manifest.Digest)
	sys, _ := withSignatures(t)
	cache := newMapCache()
	read := func() []string {
		s := openSource(t, r.Host()+"/a:list", sys, cached(cache))
		for d, want := range map[digest.Digest]int{list: 0, signed.manifest.Digest: 1, unsigned.manifest.Digest: 0} {
			sigs, err := s.Signatures(ctx, d)
			require.NoError(t, err)
			assert.Equal(t, want, sigs.Len(), d)
		}
		return asked(r)
	}
	first := read()
	assert.Len(t, first, 5, "a list, three tags and a payload")
	tags := []string{attachmentTag(list), attachmentTag(signed.manifest.Digest), attachmentTag(unsigned.manifest.Digest)}
	want := []string{"HEAD list"}
	for _, tag := range tags {
		want = append(want, "HEAD "+tag)
	}
	assert.ElementsMatch(t, want, read())

	putAttachment(t, r, "a", list)
	s := openSource(t, r.Host()+"/a:list", sys, cached(cache))
	sigs, err := s.Signatures(ctx, list)
	require.NoError(t, err)
	assert.Equal(t, 1, sigs.Len(), "what has come since is found")
	r.DeleteTag("a", attachmentTag(list))
	s = openSource(t, r.Host()+"/a:list", sys, cached(cache))
	sigs, err = s.Signatures(ctx, list)
	require.NoError(t, err)
	assert.Zero(t, sigs.Len(), "what has gone since is gone")
}

// TestLookasideIsAskedEachTime has signatures come and go in a lookaside, which has no digests that
// a cache could go by.
func TestLookasideIsAskedEachTime(t *testing.T) {
	r := registrytest.Start(t, registrytest.Options{})
	image := newImage(t, 1, 100, r, "a")
	r.PutManifest("a", "v1", image.manifest.MediaType, image.manifest.Bytes)
	var requests []string
	var signature []byte // nil for none
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		requests = append(requests, path.Base(req.URL.Path))
		if signature == nil || !strings.HasSuffix(req.URL.Path, "/signature-1") {
			http.NotFound(w, req)
			return
		}
		_, _ = w.Write(signature)
	}))
	defer web.Close()
	sys, dir := hermetictest.System(t)
	sys.DockerInsecureSkipTLSVerify = types.OptionalBoolTrue
	write(t, filepath.Join(dir, "registries.d/default.yaml"), "default-docker:\n  lookaside: "+web.URL+"\n")
	cache := newMapCache()
	read := func() int {
		requests = nil
		s := openSource(t, r.Host()+"/a:v1", sys, cached(cache))
		sigs, err := s.Signatures(context.Background(), image.manifest.Digest)
		require.NoError(t, err)
		return sigs.Len()
	}
	assert.Zero(t, read())
	assert.Equal(t, []string{"signature-1"}, requests)
	signature = simpleSignature
	for range 2 {
		assert.Equal(t, 1, read(), "what has come since is found")
		assert.Equal(t, []string{"signature-1", "signature-2"}, requests)
	}
	signature = nil
	assert.Zero(t, read(), "what has gone since is gone")
}

// TestDigestTagsAreAskedOnce looks for the same digest tags as signatures and as what is attached,
// with and without a cache.
func TestDigestTagsAreAskedOnce(t *testing.T) {
	ctx := context.Background()
	r := registrytest.Start(t, registrytest.Options{})
	signed, unsigned := newImage(t, 1, 100, r, "a"), newImage(t, 2, 100, r, "a")
	putAttachment(t, r, "a", signed.manifest.Digest)
	sys, _ := withSignatures(t)
	for name, sh := range map[string]*Shared{"without a cache": quick(), "fresh": cached(newMapCache())} {
		for _, im := range []image{signed, unsigned} {
			s := openSource(t, r.Host()+"/a:tag", sys, sh)
			tag := attachmentTag(im.manifest.Digest)
			asked(r)
			var both sync.WaitGroup
			both.Go(func() {
				_, err := s.Signatures(ctx, im.manifest.Digest)
				assert.NoError(t, err)
			})
			both.Go(func() { _, _ = s.Tagged(ctx, tag) })
			both.Wait()
			_, err := s.Tagged(ctx, tag)
			assert.Equal(t, im.manifest.Digest == unsigned.manifest.Digest, errors.Is(err, endpoint.ErrNotFound), name)
			of := slices.DeleteFunc(asked(r), func(q string) bool { return !strings.HasSuffix(q, tag) })
			assert.Equal(t, []string{"GET " + tag}, of, name)
		}
	}
}

// TestAbsenceByHEADIsNotBelieved has a registry that answers 404 to every HEAD, and a signature
// that comes later.
func TestAbsenceByHEADIsNotBelieved(t *testing.T) {
	ctx := context.Background()
	r := registrytest.Start(t, registrytest.Options{HEADs: registrytest.HEADAbsent})
	im := newImage(t, 1, 100, r, "a")
	sys, _ := withSignatures(t)
	cache := newMapCache()
	for want := range 2 {
		s := openSource(t, r.Host()+"/a:tag", sys, cached(cache))
		sigs, err := s.Signatures(ctx, im.manifest.Digest)
		require.NoError(t, err)
		assert.Equal(t, want, sigs.Len())
		putAttachment(t, r, "a", im.manifest.Digest)
	}
}

// TestUnchangedAtMirrors reads through a mirror that has some tags only.
func TestUnchangedAtMirrors(t *testing.T) {
	mirror, own := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{})
	newImage(t, 1, 100, mirror, "cache/app")
	newImage(t, 1, 100, own, "app")
	im := newImage(t, 2, 100, own, "app")
	own.PutManifest("app", "other", im.manifest.MediaType, im.manifest.Bytes)
	sys := configured(t, fmt.Sprintf("[[registry]]\nlocation = %q\ninsecure = true\n[[registry.mirror]]\nlocation = %q\ninsecure = true\n",
		own.Host()+"/app", mirror.Host()+"/cache/app"))
	cache := newMapCache()
	for i, want := range []map[string][2][]string{
		{"tag": {{"GET tag"}, nil}, "other": {{"GET other"}, {"GET other"}}},
		{"tag": {{"HEAD tag"}, nil}, "other": {{"HEAD other"}, {"HEAD other"}}},
		{"tag": {{"HEAD tag"}, nil}, "other": {{"HEAD other"}, {"HEAD other"}}},
	} {
		for _, tag := range slices.Sorted(maps.Keys(want)) {
			openSource(t, own.Host()+"/app:"+tag, sys, cached(cache))
			assert.Equal(t, want[tag], [2][]string{asked(mirror), asked(own)}, "%d %s", i, tag)
		}
	}

	putAttachment(t, own, "app", im.manifest.Digest)
	signature := attachmentTag(im.manifest.Digest)
	for _, want := range []string{"GET ", "HEAD ", "HEAD "} {
		s := openSource(t, own.Host()+"/app:tag", sys, cached(cache))
		asked(mirror)
		_, err := s.Tagged(context.Background(), signature)
		require.NoError(t, err)
		assert.Equal(t, []string{want + signature}, asked(mirror))
		assert.Equal(t, []string{want + signature}, asked(own))
	}
}

// TestCacheByCredentials has another account read what the first one has put into the cache.
func TestCacheByCredentials(t *testing.T) {
	r := registrytest.Start(t, registrytest.Options{Auth: &registrytest.Auth{
		Accounts: []registrytest.Account{{Username: "a", Password: "right"}},
	}})
	newImage(t, 1, 100, r, "a")
	sh := cached(newMapCache())
	sys := insecure(t)
	sys.DockerAuthConfig = &types.DockerAuthConfig{Username: "a", Password: "right"}
	openSource(t, r.Host()+"/a:tag", sys, sh)
	other := *sys
	other.DockerAuthConfig = &types.DockerAuthConfig{Username: "a", Password: "wrong"}
	_, err := OpenSource(context.Background(), parseRef(t, r.Host()+"/a:tag"), &other, sh)
	require.Error(t, err)
}
