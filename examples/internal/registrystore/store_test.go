package registrystore_test

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/examples/internal/distributiontest"
	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry/sparsetest"
)

// serve starts distribution over a directory.
func serve(t *testing.T, directory string) *sparsetest.Client {
	t.Helper()
	return sparsetest.ServeHandler(t, distributiontest.InDirectory(t, directory))
}

func revisions(t *testing.T, s *registrystore.Store, repository string) []digest.Digest {
	t.Helper()
	var all []digest.Digest
	require.NoError(t, s.Revisions(t.Context(), repository, func(l registrystore.Link) error {
		assert.WithinDuration(t, time.Now(), l.Modified, time.Minute)
		all = append(all, l.Digest)
		return nil
	}))
	slices.Sort(all)
	return all
}

func sorted(digests ...digest.Digest) []digest.Digest {
	slices.Sort(digests)
	return digests
}

func repositories(t *testing.T, s *registrystore.Store) []string {
	t.Helper()
	var names []string
	require.NoError(t, s.Repositories(t.Context(), func(name string) error {
		names = append(names, name)
		return nil
	}))
	return names
}

// TestWalk holds what is walked against what was pushed to distribution.
func TestWalk(t *testing.T) {
	directory := t.TempDir()
	client := serve(t, directory)
	f := sparsetest.Fixture(false)
	f.List("top", imagetest.Entries("amd64", "arm64"))
	require.NoError(t, client.PushImage(t.Context(), f, "team/app", "amd64"))
	require.Equal(t, http.StatusCreated, client.Put(t, f, "team/app", "index", "top").Status)   // a tag that is called
	require.Equal(t, http.StatusCreated, client.Put(t, f, "team/app", "current", "top").Status) // as directories are
	require.NoError(t, client.PushImage(t.Context(), f, "team", "arm64"))
	require.NoError(t, client.PushBlob(t.Context(), "blobs/only", []byte("content")))
	answer := client.Do(t, http.MethodPost, "/v2/begun/blobs/uploads/", nil, nil)
	require.Equal(t, http.StatusAccepted, answer.Status)

	s, err := registrystore.OpenDirectory(directory)
	require.NoError(t, err)
	assert.Equal(t, directory, s.Name())
	assert.Equal(t, []string{"begun", "blobs/only", "team", "team/app"}, repositories(t, s))
	assert.Equal(t, sorted(f.Digest("amd64"), f.Digest("top")), revisions(t, s, "team/app"))
	assert.Equal(t, []digest.Digest{f.Digest("arm64")}, revisions(t, s, "team"))
	assert.Empty(t, revisions(t, s, "blobs/only"))

	var tags []registrystore.Tag
	require.NoError(t, s.Tags(t.Context(), "team/app", func(tag registrystore.Tag) error { tags = append(tags, tag); return nil }))
	assert.Equal(t, []registrystore.Tag{{Name: "current", Digest: f.Digest("top")}, {Name: "index", Digest: f.Digest("top")}}, tags)

	var layers []digest.Digest
	require.NoError(t, s.Layers(t.Context(), "blobs/only", func(l registrystore.Link) error { layers = append(layers, l.Digest); return nil }))
	assert.Equal(t, []digest.Digest{digest.FromString("content")}, layers)

	blobs := map[digest.Digest]int64{}
	require.NoError(t, s.Blobs(t.Context(), func(b registrystore.Blob) error { blobs[b.Digest] = b.Size; return nil }))
	assert.EqualValues(t, len("content"), blobs[digest.FromString("content")])
	assert.Equal(t, f.Size("top"), blobs[f.Digest("top")])
	for d := range blobs {
		content, err := s.ReadBlob(t.Context(), d, 1<<20)
		require.NoError(t, err)
		assert.Equal(t, d, digest.FromBytes(content))
	}
}

// TestRemove removes link by link, and looks at it as a client.
func TestRemove(t *testing.T) {
	directory := t.TempDir()
	client := serve(t, directory)
	f := sparsetest.Fixture(false)
	f.List("top", imagetest.Entries("amd64", "arm64"))
	require.NoError(t, client.PushImage(t.Context(), f, "app", "amd64"))
	require.Equal(t, http.StatusCreated, client.Put(t, f, "app", "v1", "amd64").Status)
	require.Equal(t, http.StatusCreated, client.Put(t, f, "app", "v1", "top").Status)
	s, err := registrystore.OpenDirectory(directory)
	require.NoError(t, err)
	ctx, amd64 := t.Context(), f.Digest("amd64")

	var history []digest.Digest
	visit := func(d digest.Digest) error { history = append(history, d); return nil }
	require.NoError(t, s.TagHistory(ctx, "app", "v1", visit))
	assert.ElementsMatch(t, []digest.Digest{amd64, f.Digest("top")}, history)
	require.NoError(t, s.ForgetTagged(ctx, "app", "v1", amd64))
	history = nil
	require.NoError(t, s.TagHistory(ctx, "app", "v1", visit))
	assert.Equal(t, []digest.Digest{f.Digest("top")}, history)

	for range 2 { // the second time, nothing is there
		require.NoError(t, s.RemoveRevision(ctx, "app", amd64))
	}
	assert.Equal(t, http.StatusNotFound, client.Get(t, http.MethodHead, "app", amd64.String()).Status)
	assert.Equal(t, http.StatusOK, client.Get(t, http.MethodHead, "app", "v1").Status)
	there, err := s.HasRevision(ctx, "app", amd64)
	require.NoError(t, err)
	assert.False(t, there)

	layer := digest.FromString("a layer")
	require.NoError(t, client.PushBlob(ctx, "app", []byte("a layer")))
	there, err = s.HasLayer(ctx, "app", layer)
	require.NoError(t, err)
	assert.True(t, there)
	require.NoError(t, s.RemoveLayer(ctx, "app", layer))
	assert.Equal(t, http.StatusNotFound, client.Do(t, http.MethodHead, "/v2/app/blobs/"+layer.String(), nil, nil).Status)
	_, err = s.StatBlob(ctx, layer)
	require.NoError(t, err)
	require.NoError(t, s.RemoveBlob(ctx, layer))
	_, err = s.StatBlob(ctx, layer)
	assert.ErrorIs(t, err, fs.ErrNotExist)
	_, err = s.LayerTarget(ctx, "app", layer)
	assert.ErrorIs(t, err, fs.ErrNotExist)
}

// TestALayerOfAnotherAlgorithm has two links, to one content.
func TestALayerOfAnotherAlgorithm(t *testing.T) {
	directory := t.TempDir()
	client := serve(t, directory)
	content := []byte("content")
	pushed := digest.SHA512.FromBytes(content)
	answer := client.Do(t, http.MethodPost, "/v2/app/blobs/uploads/", nil, nil)
	location := answer.Header.Get("Location") + "&digest=" + pushed.String()
	require.Equal(t, http.StatusCreated, client.Do(t, http.MethodPut, location, nil, content).Status)
	s, err := registrystore.OpenDirectory(directory)
	require.NoError(t, err)
	for _, d := range []digest.Digest{pushed, digest.FromBytes(content)} {
		target, err := s.LayerTarget(t.Context(), "app", d)
		require.NoError(t, err)
		assert.Equal(t, digest.FromBytes(content), target)
	}
}

// TestReferrers: distribution neither sees our links nor stumbles over them.
func TestReferrers(t *testing.T) {
	directory := t.TempDir()
	client := serve(t, directory)
	f := sparsetest.Fixture(false)
	require.NoError(t, client.PushImage(t.Context(), f, "app", "amd64"))
	s, err := registrystore.OpenDirectory(directory)
	require.NoError(t, err)
	subject, referrer := f.Digest("amd64"), digest.SHA512.FromString("referrer")
	for range 2 {
		require.NoError(t, s.PutReferrer(t.Context(), "app", subject, referrer))
	}
	links := func() (all []registrystore.Referrer) {
		require.NoError(t, s.Referrers(t.Context(), "app", func(r registrystore.Referrer) error {
			r.Modified = time.Time{}
			all = append(all, r)
			return nil
		}))
		return all
	}
	assert.Equal(t, []registrystore.Referrer{{Subject: subject, Referrer: referrer}}, links())
	answer := client.Do(t, http.MethodGet, "/v2/_catalog", nil, nil)
	assert.JSONEq(t, `{"repositories": ["app"]}`, string(answer.Body))
	require.NoError(t, s.RemoveReferrer(t.Context(), "app", subject, referrer))
	assert.Empty(t, links())
}

// TestBroken has what no registry should have.
func TestBroken(t *testing.T) {
	directory := t.TempDir()
	s, err := registrystore.OpenDirectory(directory)
	require.NoError(t, err)
	assert.Empty(t, repositories(t, s))
	const app = "docker/registry/v2/repositories/app/"
	hex := digest.FromString("x").Encoded()
	for name, content := range map[string]string{
		app + "_manifests/tags/killed/index/sha256/" + hex + "/link": "sha256:" + hex,
		app + "_manifests/tags/torn/current/link":                    "sha256:0",
		app + "_manifests/revisions/sha256/" + hex + "/link.1.tmp":   "sha256:" + hex,
		app + "_manifests/revisions/sha256/short/link":               "sha256:short",
		app + "_uploads/some/data":                                   "bytes",
		app + "README":                                               "",
		app + "file":                                                 "",
		"docker/registry/v2/blobs/sha256/00/" + hex + "/data":        "in another's place",
		"docker/registry/v2/blobs/.DS_Store":                         "",
		"docker/registry/v2/repositories/.snapshot/_manifests/link":  "",
	} {
		file := filepath.Join(directory, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
	}
	assert.Equal(t, []string{"app"}, repositories(t, s))
	assert.Empty(t, revisions(t, s, "app"))
	require.NoError(t, s.Blobs(t.Context(), func(b registrystore.Blob) error { return errors.New(b.Digest.String()) }))
	tags := map[string]error{}
	require.NoError(t, s.Tags(t.Context(), "app", func(tag registrystore.Tag) error {
		assert.Empty(t, tag.Digest)
		tags[tag.Name] = tag.Err
		return nil
	}))
	require.Len(t, tags, 2)
	assert.ErrorIs(t, tags["killed"], fs.ErrNotExist)
	assert.ErrorContains(t, tags["torn"], "tags/torn/current/link: invalid checksum digest length")

	for _, name := range []string{"", "..", "a/../b", "/a", "a//b", "_manifests"} {
		assert.ErrorContains(t, s.RemoveRevision(t.Context(), name, digest.FromString("x")), "is no name of a repository")
	}
	assert.ErrorContains(t, s.RemoveBlob(t.Context(), "sha256:.."), `digest "sha256:.."`)
	assert.ErrorContains(t, s.ForgetTagged(t.Context(), "app", "..", digest.FromString("x")), `".." is no tag`)
	require.NoError(t, os.WriteFile(filepath.Join(directory, "file"), nil, 0o600))
	for _, missing := range []string{"none", "file"} {
		_, err = registrystore.OpenDirectory(filepath.Join(directory, missing))
		assert.ErrorContains(t, err, "opening the storage: ")
	}
	empty, err := registrystore.OpenDirectory(t.TempDir())
	require.NoError(t, err)
	assert.False(t, empty.IsUsed())
	_, err = registrystore.Open(t.Context(), &configuration.Configuration{Storage: configuration.Storage{"s4": {}}})
	assert.EqualError(t, err, `opening the storage: the driver "s4" is not in this program: use filesystem, or s3, gcs or azure as examples/sparse-registry-cloud has them`)
}

func TestReadBlob(t *testing.T) {
	driver := inmemory.New()
	s := registrystore.New(driver)
	d := digest.FromString("content")
	put := func(content string) {
		p := "/docker/registry/v2/blobs/sha256/" + d.Encoded()[:2] + "/" + d.Encoded() + "/data"
		require.NoError(t, driver.PutContent(t.Context(), p, []byte(content)))
	}
	_, err := s.ReadBlob(t.Context(), d, 10)
	assert.ErrorIs(t, err, fs.ErrNotExist)
	put("content")
	_, err = s.ReadBlob(t.Context(), d, 6)
	assert.ErrorContains(t, err, "it has more than 6 bytes")
	content, err := s.ReadBlob(t.Context(), d, 7)
	require.NoError(t, err)
	assert.Equal(t, "content", string(content))
	put("CONTENT")
	_, err = s.ReadBlob(t.Context(), d, 7)
	assert.ErrorContains(t, err, "does not have this digest")
	assert.Equal(t, "inmemory", s.Name())
	assert.NoError(t, s.Touch(d, time.Now(), time.Now()))
}

func TestTouch(t *testing.T) {
	directory := t.TempDir()
	require.NoError(t, serve(t, directory).PushBlob(t.Context(), "app", []byte("content")))
	s, err := registrystore.OpenDirectory(directory)
	require.NoError(t, err)
	d, now := digest.FromString("content"), time.Now().Add(time.Hour)
	before, err := s.StatBlob(t.Context(), d)
	require.NoError(t, err)
	require.NoError(t, s.Touch(d, before.Modified, now))
	after, err := s.StatBlob(t.Context(), d)
	require.NoError(t, err)
	assert.Equal(t, before.Modified, after.Modified, "it was not modified before that time")
	require.NoError(t, s.Touch(d, before.Modified.Add(1), now))
	after, err = s.StatBlob(t.Context(), d)
	require.NoError(t, err)
	assert.WithinDuration(t, now, after.Modified, time.Second)
	assert.NoError(t, s.Touch(digest.FromString("absent"), now, now))
}

// A vanishing driver loses a directory after it was listed, and before it is entered.
type vanishing struct {
	storagedriver.StorageDriver
	gone string
}

func (v vanishing) List(ctx context.Context, path string) ([]string, error) {
	if strings.HasSuffix(path, v.gone) {
		if err := v.Delete(ctx, path); err != nil {
			return nil, err
		}
	}
	return v.StorageDriver.List(ctx, path)
}

// TestAWalkGoesOnWhenADirectoryVanishes: the rest is what a collection would take for absent.
func TestAWalkGoesOnWhenADirectoryVanishes(t *testing.T) {
	directory := t.TempDir()
	client := serve(t, directory)
	f := sparsetest.Fixture(false)
	for _, name := range []string{"amd64", "arm64", "s390x"} {
		require.NoError(t, client.PushImage(t.Context(), f, "app", name))
	}
	s, err := registrystore.OpenDirectory(directory)
	require.NoError(t, err)
	all := sorted(f.Digest("amd64"), f.Digest("arm64"), f.Digest("s390x"))
	require.Equal(t, all, revisions(t, s, "app"))
	s = s.WithDriver(func(d storagedriver.StorageDriver) storagedriver.StorageDriver {
		return vanishing{d, all[0].Encoded()}
	})
	assert.Equal(t, all[1:], revisions(t, s, "app"))
}

// TestWalksEnd at an error of the visitor, and of the driver.
func TestWalksEnd(t *testing.T) {
	directory := t.TempDir()
	client := serve(t, directory)
	require.NoError(t, client.PushBlob(t.Context(), "a", []byte("1")))
	require.NoError(t, client.PushBlob(t.Context(), "b", []byte("2")))
	s, err := registrystore.OpenDirectory(directory)
	require.NoError(t, err)
	stop, calls := errors.New("stop"), 0
	assert.ErrorIs(t, s.Blobs(t.Context(), func(registrystore.Blob) error { calls++; return stop }), stop)
	assert.ErrorIs(t, s.Repositories(t.Context(), func(string) error { calls++; return stop }), stop)
	assert.Equal(t, 2, calls)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.ErrorIs(t, s.Blobs(ctx, func(registrystore.Blob) error { return nil }), context.Canceled)
}
