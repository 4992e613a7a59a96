package registry

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/oci/layout"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

func TestCopy(t *testing.T) {
	for _, test := range []struct {
		name string
		from registrytest.Options
		to   registrytest.Options
	}{
		{name: "plain"},
		{name: "relative locations", to: registrytest.Options{Location: registrytest.LocationRelative}},
		{name: "locations on another host", to: registrytest.Options{Location: registrytest.LocationSecond}},
		{name: "blobs on another host", from: registrytest.Options{RedirectBlobs: true}},
		{name: "mounts ignored", to: registrytest.Options{IgnoreMounts: true}},
		{name: "no HEAD", to: registrytest.Options{RefuseHEAD: true}},
		{name: "TLS", from: registrytest.Options{TLS: true}, to: registrytest.Options{TLS: true, HTTP2: true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			from, to := registrytest.Start(t, test.from), registrytest.Start(t, test.to)
			im := newImage(t, 5, 100_000, from, "a/source")
			sys := insecure(t)
			s := openSource(t, from.Host()+"/a/source:tag", sys, quick())
			d := openDestination(t, to.Host()+"/b/copy:tag", sys, quick())
			mustCopy(t, s, d, im)
			requireImage(t, to, "b/copy", im)
			assert.Equal(t, im.manifest, s.Top())
			assert.Zero(t, s.Stats().Retries+d.Stats().Retries)
			assert.Equal(t, int64(5*100_000), s.Stats().BytesRead)
			assert.Equal(t, int64(5*100_000), d.Stats().BytesWritten)
			for _, q := range append(from.Requests(), to.Requests()...) {
				assert.Equal(t, "HTTP/1.1", q.Proto)
			}
		})
	}
}

// The fewest possible requests: one for each manifest and blob at the source; at the destination
// two for each blob, one for each manifest. The second time, one for each blob.
func TestRequests(t *testing.T) {
	from, to := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{})
	im := newImage(t, 2, 1000, from, "a")
	sys := insecure(t)
	s := openSource(t, from.Host()+"/a:tag", sys, nil)
	d := openDestination(t, to.Host()+"/b:tag", sys, nil)
	assert.Empty(t, to.Requests(), "opening the destination asks nothing")
	_, err := s.Signatures(context.Background(), s.Top().Digest)
	require.NoError(t, err)
	mustCopy(t, s, d, im)
	assert.ElementsMatch(t, []string{"GET manifest 200", "GET blob 200", "GET blob 200"}, summary(from))
	fresh := []string{"POST upload 202", "PUT upload 201", "POST upload 202", "PUT upload 201", "PUT manifest 201"}
	assert.ElementsMatch(t, fresh, summary(to))
	assert.Equal(t, int64(3), s.Stats().Requests)
	assert.Equal(t, int64(5), d.Stats().Requests)

	to.ResetLog()
	other := openDestination(t, to.Host()+"/b:tag", sys, nil)
	for _, d := range []*Destination{other, d} {
		for _, b := range im.blobs {
			result, err := d.PutBlob(context.Background(), b, opener(s, b))
			require.NoError(t, err)
			assert.True(t, result.Reused)
		}
		assert.Equal(t, []string{"POST upload 201", "POST upload 201"}, summary(to), "who stored a blob does not ask for it")
	}
}

func TestConcurrentRequestsDoNotWaitForConnections(t *testing.T) {
	from, to := registrytest.Start(t, registrytest.Options{TLS: true}), registrytest.Start(t, registrytest.Options{TLS: true})
	im := newImage(t, 32, 1000, from, "a")
	sys := insecure(t)
	s := openSource(t, from.Host()+"/a:tag", sys, nil)
	for _, tag := range []string{"1", "2", "3"} {
		d := openDestination(t, to.Host()+"/b"+tag+":tag", sys, s.shared)
		mustCopy(t, s, d, im)
	}
	assert.LessOrEqual(t, from.Connections(), 40, "connections are kept")
	assert.LessOrEqual(t, to.Connections(), 70, "connections are kept")
}

func TestExistence(t *testing.T) {
	ctx := context.Background()
	r := registrytest.Start(t, registrytest.Options{})
	im := newImage(t, 2, 1000, r, "a")
	sys := insecure(t)
	d := openDestination(t, r.Host()+"/a:tag", sys, nil)
	top, err := d.Top(ctx)
	require.NoError(t, err)
	assert.Equal(t, im.manifest.Digest, top)
	for _, has := range []func() (bool, error){
		func() (bool, error) { return d.HasManifest(ctx, top) },
		func() (bool, error) { return d.HasBlob(ctx, im.blobs[1]) },
	} {
		there, err := has()
		require.NoError(t, err)
		assert.True(t, there)
	}
	for _, has := range []func() (bool, error){
		func() (bool, error) { return d.HasManifest(ctx, im.blobs[1].Digest) },
		func() (bool, error) {
			return d.HasBlob(ctx, endpoint.Blob{Digest: digest.FromString("absent"), Size: 6})
		},
	} {
		there, err := has()
		require.NoError(t, err)
		assert.False(t, there)
	}
	_, err = openDestination(t, r.Host()+"/a:other", sys, nil).Top(ctx)
	require.ErrorIs(t, err, endpoint.ErrNotFound)
	_, err = openDestination(t, r.Host()+"/other:tag", sys, nil).Top(ctx)
	require.ErrorIs(t, err, endpoint.ErrNotFound)
	_, err = d.HasManifest(ctx, "sha256:../../x")
	require.Error(t, err)
}

// TestRereading: a destination hands out what it has, if that is what its digest says.
func TestRereading(t *testing.T) {
	ctx := t.Context()
	r := registrytest.Start(t, registrytest.Options{})
	im := newImage(t, 2, 1000, r, "a")
	sys := insecure(t)
	d := openDestination(t, r.Host()+"/a:other", sys, nil)
	read, err := d.Manifest(ctx, im.manifest.Digest)
	require.NoError(t, err)
	assert.Equal(t, im.manifest, read)
	_, err = d.Manifest(ctx, digest.FromString("absent"))
	require.ErrorIs(t, err, endpoint.ErrNotFound)
	_, err = openDestination(t, r.Host()+"/b:tag", sys, nil).Manifest(ctx, im.manifest.Digest)
	require.ErrorIs(t, err, endpoint.ErrNotFound)
	_, err = d.Manifest(ctx, "sha256:../../x")
	require.Error(t, err)

	wrong := registrytest.Start(t, registrytest.Options{Script: registrytest.EveryNth(1, registrytest.Corrupt(3))})
	newImage(t, 2, 1000, wrong, "a")
	_, err = openDestination(t, wrong.Host()+"/a:tag", sys, nil).Manifest(ctx, im.manifest.Digest)
	require.Error(t, err)
	require.NotErrorIs(t, err, endpoint.ErrNotFound)
}

func TestExistenceRefused(t *testing.T) {
	ctx := context.Background()
	r := registrytest.Start(t, registrytest.Options{RefuseHEAD: true})
	newImage(t, 1, 1000, r, "a")
	d := openDestination(t, r.Host()+"/a:tag", insecure(t), nil)
	_, err := d.Top(ctx)
	require.Error(t, err)
	require.NotErrorIs(t, err, endpoint.ErrNotFound)
	_, err = d.HasManifest(ctx, digest.FromString("x"))
	require.Error(t, err)
	var refused *endpoint.RegistryError
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, http.StatusMethodNotAllowed, refused.Status)
}

// Registries that do not say what HEAD found are asked for the manifest.
func TestTopWithoutDigestHeader(t *testing.T) {
	r := registrytest.NewHandler(registrytest.Options{})
	im := newImage(t, 1, 1000, r, "a")
	host := serve(t, func(w http.ResponseWriter, req *http.Request) {
		r.ServeHTTP(&withoutHeader{w, "Docker-Content-Digest"}, req)
	})
	top, err := openDestination(t, host+"/a:tag", insecure(t), nil).Top(context.Background())
	require.NoError(t, err)
	assert.Equal(t, im.manifest.Digest, top)
}

type withoutHeader struct {
	http.ResponseWriter
	name string
}

func (w *withoutHeader) WriteHeader(status int) {
	w.Header().Del(w.name)
	w.ResponseWriter.WriteHeader(status)
}

func TestManifestErrors(t *testing.T) {
	fail := func(status int, codes ...string) registrytest.Answer {
		a := registrytest.Answer{Status: status}
		for _, code := range codes {
			a.Errors = append(a.Errors, registrytest.Error{Code: code, Message: "message of " + code, Detail: map[string]int{"n": 1}})
		}
		return a
	}
	for _, test := range []struct {
		name     string
		answer   registrytest.Answer
		notFound bool
	}{
		{"manifest unknown", fail(404, "MANIFEST_UNKNOWN"), true},
		{"name unknown", fail(404, "NAME_UNKNOWN"), true},
		{"second of two codes", fail(404, "OTHER", "MANIFEST_UNKNOWN"), true},
		{"Harbor", fail(404, "NOT_FOUND"), true},
		{"no code", fail(404), true},
		{"a page", registrytest.FailHTML(404), false}, // nothing has shown yet that a registry is there
		{"another code", fail(404, "MANIFEST_INVALID"), true},
		{"registry.redhat.io", fail(404, "UNKNOWN"), true},
		{"Quay", fail(404, "TAG_EXPIRED"), true},
		{"Artifactory", fail(404, ""), true},
		{"denied", fail(403, "DENIED"), false},
		{"denied, with 404", fail(404, "DENIED"), false},
		{"unauthorized, with 404", fail(404, "UNAUTHORIZED"), false},
		{"unauthorized", fail(401, "UNAUTHORIZED"), false},
		{"unknown, but not 404", fail(400, "MANIFEST_UNKNOWN"), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := registrytest.Start(t, registrytest.Options{Script: registrytest.Only(
				registrytest.Matching("GET", registrytest.KindManifest), registrytest.FirstN(100, test.answer))})
			_, err := OpenSource(context.Background(), parseRef(t, r.Host()+"/a:tag"), insecure(t), quick())
			require.Error(t, err)
			assert.Equal(t, test.notFound, errors.Is(err, endpoint.ErrNotFound), "%v", err)
			var refused *endpoint.RegistryError
			require.ErrorAs(t, err, &refused)
			assert.Equal(t, test.answer.Status, refused.Status)
			require.Len(t, refused.Errors, len(test.answer.Errors))
			for i, e := range test.answer.Errors {
				assert.Equal(t, e.Code, refused.Errors[i].Code)
				assert.Equal(t, e.Message, refused.Errors[i].Message)
				assert.JSONEq(t, `{"n":1}`, string(refused.Errors[i].Detail))
			}
		})
	}
}

func TestManifestIsVerified(t *testing.T) {
	ctx := context.Background()
	r := registrytest.Start(t, registrytest.Options{})
	newImage(t, 1, 1000, r, "a")
	wrong := digest.FromString("something else")
	r.PutManifest("a", wrong.String(), "application/vnd.oci.image.manifest.v1+json", []byte(`{"schemaVersion":2}`))
	r.PutManifest("a", "large", "application/vnd.oci.image.manifest.v1+json", []byte(strings.Repeat(" ", maxManifestSize+1)))
	sys := insecure(t)
	s := openSource(t, r.Host()+"/a:tag", sys, nil)
	_, err := s.Manifest(ctx, wrong)
	require.ErrorContains(t, err, "not "+wrong.String())
	require.NotErrorIs(t, err, endpoint.ErrNotFound)
	_, err = s.Manifest(ctx, "sha256:../../x")
	require.ErrorContains(t, err, "digest")
	_, err = OpenSource(ctx, parseRef(t, r.Host()+"/a@"+wrong.String()), sys, nil)
	require.Error(t, err)
	_, err = OpenSource(ctx, parseRef(t, r.Host()+"/a:large"), sys, nil)
	require.ErrorContains(t, err, "limit")
}

// TestStatedDigestIsVerified reads tags whose content is not what the registry says that it is.
func TestStatedDigestIsVerified(t *testing.T) {
	r := registrytest.Start(t, registrytest.Options{
		Script: registrytest.Only(registrytest.Matching(http.MethodGet, registrytest.KindManifest), registrytest.EveryNth(1, registrytest.Corrupt(3))),
	})
	newImage(t, 1, 1000, r, "a")
	d, _ := r.Resolve("a", "tag")
	_, err := OpenSource(t.Context(), parseRef(t, r.Host()+"/a:tag"), insecure(t), nil)
	require.ErrorContains(t, err, "not "+d.String())
}

func TestOtherDigestAlgorithm(t *testing.T) {
	r := registrytest.Start(t, registrytest.Options{})
	b := []byte(`{"schemaVersion":2}`)
	d := digest.SHA512.FromBytes(b)
	r.PutManifest("a", d.String(), "application/vnd.oci.image.manifest.v1+json", b)
	s := openSource(t, r.Host()+"/a@"+d.String(), insecure(t), nil)
	assert.Equal(t, d, s.Top().Digest)
}

func TestMediaType(t *testing.T) {
	oci := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`)
	for _, test := range []struct{ header, content, want string }{
		{"application/vnd.oci.image.index.v1+json", "", "application/vnd.oci.image.index.v1+json"},
		{"application/vnd.docker.distribution.manifest.list.v2+json; charset=utf-8", "", "application/vnd.docker.distribution.manifest.list.v2+json"},
		{"application/vnd.docker.distribution.manifest.list.v2+json", string(oci), "application/vnd.oci.image.index.v1+json"},
		{"application/octet-stream", string(oci), "application/vnd.oci.image.index.v1+json"},
		{"", string(oci), "application/vnd.oci.image.index.v1+json"},
		{"application/x", "{}", "application/x"},
		{"/;", "{}", ""},
	} {
		assert.Equal(t, test.want, endpoint.NewDocument("", bareType(test.header), []byte(test.content)).MediaType, "%+v", test)
	}
}

func TestPutTopByDigest(t *testing.T) {
	ctx := context.Background()
	r := registrytest.Start(t, registrytest.Options{})
	sys := insecure(t)
	im := newImage(t, 1, 10, r, "a", "b", "c")
	r.DeleteManifest("b", im.manifest.Digest)
	r.DeleteManifest("c", im.manifest.Digest)
	d := openDestination(t, r.Host()+"/b@"+im.manifest.Digest.String(), sys, nil)
	_, err := d.Top(ctx)
	require.ErrorIs(t, err, endpoint.ErrNotFound)
	require.Error(t, d.PutTop(ctx, endpoint.Document{Digest: digest.FromString("other"), Bytes: []byte("other")}, nil))
	require.NoError(t, d.PutTop(ctx, im.manifest, nil))
	top, err := d.Top(ctx)
	require.NoError(t, err)
	assert.Equal(t, im.manifest.Digest, top)
	assert.Empty(t, r.Tags("b"))

	unknown := openDestination(t, r.Host()+"/c@@unknown-digest@@", sys, nil)
	_, err = unknown.Top(ctx)
	require.ErrorIs(t, err, endpoint.ErrNotFound)
	require.NoError(t, unknown.PutTop(ctx, im.manifest, nil))
	assert.Equal(t, []digest.Digest{im.manifest.Digest}, r.Manifests("c"))
	assert.Empty(t, r.Tags("c"))
	_, err = OpenSource(ctx, parseRef(t, r.Host()+"/c@@unknown-digest@@"), sys, nil)
	require.ErrorContains(t, err, "without tag or digest")
}

// Every error of a refusal is kept, and nothing is named by the tag.
func TestRefusedList(t *testing.T) {
	ctx := context.Background()
	r := registrytest.Start(t, registrytest.Options{Strict: true})
	children := []digest.Digest{digest.FromString("one"), digest.FromString("two")}
	b, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
		"manifests": []map[string]any{
			{"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": children[0], "size": 3},
			{"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": children[1], "size": 3},
		},
	})
	require.NoError(t, err)
	doc := endpoint.Document{Digest: digest.FromBytes(b), MediaType: "application/vnd.oci.image.index.v1+json", Bytes: b}
	d := openDestination(t, r.Host()+"/a:tag", insecure(t), nil)
	err = d.PutTop(ctx, doc, nil)
	var refused *endpoint.RegistryError
	require.ErrorAs(t, err, &refused)
	require.NotErrorIs(t, err, endpoint.ErrNotFound)
	assert.True(t, refused.Has("MANIFEST_BLOB_UNKNOWN"))
	require.Len(t, refused.Errors, 2)
	for i, child := range children {
		assert.Contains(t, string(refused.Errors[i].Detail), child.String())
	}
	_, err = d.Top(ctx)
	require.ErrorIs(t, err, endpoint.ErrNotFound)
}

func TestUnsupported(t *testing.T) {
	ctx := context.Background()
	ref, err := layout.ParseReference(t.TempDir() + ":x")
	require.NoError(t, err)
	sys, dir := hermetictest.System(t)
	var unsupported *Unsupported
	_, err = OpenSource(ctx, ref, sys, nil)
	require.ErrorAs(t, err, &unsupported)
	_, err = OpenDestination(ctx, ref, sys, nil)
	require.ErrorAs(t, err, &unsupported)

	write(t, dir+"/registries.conf", `additional-layer-store-auth-helper = "/bin/helper"`)
	_, err = OpenSource(ctx, parseRef(t, "127.0.0.1:1/a:tag"), sys, nil)
	require.ErrorAs(t, err, &unsupported)
	assert.Contains(t, err.Error(), "additional-layer-store-auth-helper")
}

func TestEmptyBlob(t *testing.T) {
	ctx := context.Background()
	r := registrytest.Start(t, registrytest.Options{})
	d := openDestination(t, r.Host()+"/a:tag", insecure(t), nil)
	_, err := d.PutBlob(ctx, blobOf(nil), held(nil))
	require.NoError(t, err)
	there, err := d.HasBlob(ctx, blobOf(nil))
	require.NoError(t, err)
	assert.True(t, there)

	absent := blobOf(nil)
	absent.Digest = digest.FromString("x")
	_, err = d.PutBlob(ctx, absent, held([]byte("x")))
	require.ErrorContains(t, err, "longer")
}

func TestBlobOfUnknownSize(t *testing.T) {
	ctx := context.Background()
	from, to := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{})
	im := newImage(t, 1, 100_000, from, "a")
	sys := insecure(t)
	s := openSource(t, from.Host()+"/a:tag", sys, nil)
	d := openDestination(t, to.Host()+"/a:tag", sys, nil)
	b := im.blobs[0]
	b.Size = -1
	_, err := d.PutBlob(ctx, b, opener(s, b))
	require.NoError(t, err)
	there, err := d.HasBlob(ctx, b)
	require.NoError(t, err)
	assert.True(t, there)
}

func TestContentErrorsAreNotRetried(t *testing.T) {
	r := registrytest.Start(t, registrytest.Options{})
	d := openDestination(t, r.Host()+"/a:tag", insecure(t), quick())
	content := []byte(strings.Repeat("x", 100_000))
	ours := errors.New("ours")
	opened := 0
	for name, open := range map[string]endpoint.Opener{
		"opening": func(context.Context) (io.ReadCloser, error) { opened++; return nil, ours },
		"reading": func(context.Context) (io.ReadCloser, error) {
			opened++
			return io.NopCloser(io.MultiReader(strings.NewReader("half"), &failing{ours})), nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			opened = 0
			_, err := d.PutBlob(context.Background(), blobOf(content), open)
			require.ErrorIs(t, err, ours)
			assert.Equal(t, 1, opened)
			assert.Empty(t, r.Blobs("a"))
		})
	}
}

// TestRefusalsOfTheSource: what the registry says that content comes from is no answer of the one
// that it goes to, which is not tried in other ways.
func TestRefusalsOfTheSource(t *testing.T) {
	for _, refusal := range []registrytest.Answer{
		registrytest.Fail(400, "UNKNOWN", "no"), registrytest.Fail(404, "BLOB_UNKNOWN", "no"),
		registrytest.Fail(409, "CONFLICT", "no"), registrytest.Fail(413, "SIZE_INVALID", "no"), registrytest.Fail(400, "DIGEST_INVALID", "no"),
	} {
		from := registrytest.Start(t, registrytest.Options{Script: registrytest.Only(
			registrytest.Matching(http.MethodGet, registrytest.KindBlob), registrytest.EveryNth(1, refusal))})
		to := registrytest.Start(t, registrytest.Options{})
		im := newImage(t, 1, 1000, from, "a")
		s, d := openSource(t, from.Host()+"/a:tag", insecure(t), quick()), openDestination(t, to.Host()+"/a:tag", insecure(t), quick())
		_, err := d.PutBlob(t.Context(), im.blobs[0], opener(s, im.blobs[0]))
		requireStatus(t, err, refusal.Status)
		assert.Equal(t, 1, from.Count(registrytest.Is(http.MethodGet, registrytest.KindBlob)), "%v", err)
		assert.Equal(t, 1, to.Count(registrytest.Is(http.MethodPost, "")), "%v", err)
		assert.Zero(t, to.Count(registrytest.Is(http.MethodPatch, "")), "%v", err)
	}
}

type failing struct{ err error }

func (f *failing) Read([]byte) (int, error) { return 0, f.err }
