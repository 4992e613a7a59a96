package transport

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/oci/archive"
	"go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// system is a configuration that depends on nothing outside of the test: plain HTTP, lookaside
// storage and sigstore attachments, and the given registries.conf.
func system(t *testing.T, registriesConf string) *types.SystemContext {
	sys, dir := hermetictest.System(t)
	require.NoError(t, os.WriteFile(filepath.Join(sys.RegistriesDirPath, "default.yaml"),
		[]byte("default-docker:\n  use-sigstore-attachments: true\n  lookaside: file://"+dir+"/lookaside\n"), 0o600))
	require.NoError(t, os.WriteFile(sys.SystemRegistriesConfPath, []byte(registriesConf), 0o600))
	sys.DockerInsecureSkipTLSVerify = types.OptionalBoolTrue
	return sys
}

func dockerRef(t *testing.T, reg *registrytest.Registry, rest string) types.ImageReference {
	ref, err := docker.ParseReference("//" + reg.Host() + "/" + rest)
	require.NoError(t, err)
	return ref
}

func layoutRef(t testing.TB, dir, name string) types.ImageReference {
	ref, err := layout.NewReference(dir, name)
	require.NoError(t, err)
	return ref
}

func dirRef(t *testing.T, dir string) types.ImageReference {
	ref, err := directory.NewReference(dir)
	require.NoError(t, err)
	return ref
}

func archiveRef(t *testing.T, path, name string) types.ImageReference {
	ref, err := archive.NewReference(path, name)
	require.NoError(t, err)
	return ref
}

func document(f *imagetest.Fixture, name string) endpoint.Document {
	content, mediaType := f.Document(name)
	return endpoint.Document{Digest: f.Digest(name), MediaType: mediaType, Bytes: content}
}

// blobs are the blobs below the named document, with their sizes.
func blobs(f *imagetest.Fixture, name string) []endpoint.Blob {
	var all []endpoint.Blob
	for _, d := range f.Blobs(name) {
		all = append(all, endpoint.Blob{Digest: d, Size: f.Size(f.Name(d))})
	}
	return all
}

// from opens the blob at src.
func from(src endpoint.Source, b endpoint.Blob) endpoint.Opener {
	return func(ctx context.Context) (io.ReadCloser, error) { return src.Blob(ctx, b) }
}

// never is an Opener that must not be called.
func never(t *testing.T) endpoint.Opener {
	return func(context.Context) (io.ReadCloser, error) {
		t.Error("content was read")
		return nil, errors.New("not here")
	}
}

// copyTree copies the top of src and everything below it: blobs all at once, then children from the
// leaves up, then the top.
func copyTree(ctx context.Context, f *imagetest.Fixture, src endpoint.Source, dest endpoint.Destination) error {
	top := src.Top()
	var group sync.WaitGroup
	all := blobs(f, f.Name(top.Digest))
	errs := make([]error, len(all))
	for i, b := range all {
		group.Go(func() { _, errs[i] = dest.PutBlob(ctx, b, from(src, b)) })
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, d := range slices.Backward(f.Manifests(f.Name(top.Digest))[1:]) {
		doc, err := src.Manifest(ctx, d)
		if err != nil {
			return err
		}
		if err := dest.PutManifest(ctx, doc); err != nil {
			return err
		}
		sigs, err := src.Signatures(ctx, d)
		if err != nil {
			return err
		}
		if err := dest.PutSignatures(ctx, d, sigs); err != nil {
			return err
		}
	}
	sigs, err := src.Signatures(ctx, top.Digest)
	if err != nil {
		return err
	}
	return dest.PutTop(ctx, top, sigs)
}

func openSource(t *testing.T, ref types.ImageReference, sys *types.SystemContext) *Source {
	src, err := OpenSource(t.Context(), ref, sys)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, src.Close()) })
	return src
}

func openDestination(t *testing.T, ref types.ImageReference, sys *types.SystemContext) *Destination {
	dest, err := OpenDestination(t.Context(), ref, sys)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, dest.Close()) })
	return dest
}

// copyOnce copies src to dest with ends that are closed afterwards.
func copyOnce(t *testing.T, f *imagetest.Fixture, from, to types.ImageReference, sys *types.SystemContext) {
	src, err := OpenSource(t.Context(), from, sys)
	require.NoError(t, err)
	dest, err := OpenDestination(t.Context(), to, sys)
	require.NoError(t, err)
	require.NoError(t, copyTree(t.Context(), f, src, dest))
	require.NoError(t, dest.Close())
	require.NoError(t, src.Close())
}

// checkSource checks that src has the named document and everything below it.
func checkSource(t *testing.T, f *imagetest.Fixture, src endpoint.Source, top string) {
	t.Helper()
	want := document(f, top)
	assert.Equal(t, want.Digest, src.Top().Digest)
	assert.Equal(t, want.MediaType, src.Top().MediaType)
	assert.Equal(t, string(want.Bytes), string(src.Top().Bytes))
	for _, d := range f.Manifests(top) {
		doc, err := src.Manifest(t.Context(), d)
		if assert.NoError(t, err) {
			assert.Equal(t, document(f, f.Name(d)), doc)
		}
	}
	var group sync.WaitGroup
	for _, b := range blobs(f, top) {
		group.Go(func() {
			r, err := src.Blob(t.Context(), b)
			if !assert.NoError(t, err) {
				return
			}
			content, err := io.ReadAll(r)
			assert.NoError(t, err)
			assert.Equal(t, b.Digest, digest.FromBytes(content))
			assert.NoError(t, r.Close())
		})
	}
	group.Wait()
}

// place is one reference of each transport, all empty.
type place struct {
	name string
	ref  types.ImageReference
}

func places(t *testing.T, reg *registrytest.Registry) []place {
	dir := t.TempDir()
	return []place{
		{"docker", dockerRef(t, reg, "team/copy:v1")},
		{"oci", layoutRef(t, filepath.Join(dir, "layout"), "v1")},
		{"oci without name", layoutRef(t, filepath.Join(dir, "layout2"), "")},
		{"dir", dirRef(t, filepath.Join(dir, "dir"))},
		{"oci-archive", archiveRef(t, filepath.Join(dir, "archive.tar"), "v1:2")},
	}
}

func TestEveryTransportKeepsWhatItIsGiven(t *testing.T) {
	for _, set := range []struct {
		name    string
		fixture *imagetest.Fixture
		top     string
	}{
		{"list", imagetest.Platforms(3, 2, 1000, imagetest.SharedBase()), imagetest.Top},
		{"nested", imagetest.Nested(), imagetest.Top},
		{"image", imagetest.Platforms(1, 2, 1000), "amd64"},
	} {
		t.Run(set.name, func(t *testing.T) {
			reg := registrytest.Start(t, registrytest.Options{Strict: true})
			sys := system(t, "")
			set.fixture.PushTo(reg, "source", "v1", set.top)
			previous := dockerRef(t, reg, "source:v1")
			// A chain: every transport is the source of the next.
			for _, place := range places(t, reg) {
				copyOnce(t, set.fixture, previous, place.ref, sys)
				src := openSource(t, place.ref, sys)
				checkSource(t, set.fixture, src, set.top)

				dest := openDestination(t, place.ref, sys)
				top, err := dest.Top(t.Context())
				if place.name == "oci-archive" {
					assert.ErrorIs(t, err, endpoint.ErrNotFound, place.name)
				} else {
					assert.NoError(t, err, place.name)
					assert.Equal(t, set.fixture.Digest(set.top), top, place.name)
				}
				require.NoError(t, dest.Close())
				previous = place.ref
			}
			copyOnce(t, set.fixture, previous, dockerRef(t, reg, "end:v1"), sys)
			imagetest.CheckRegistry(t, reg, "end", imagetest.Want{
				Tag: "v1", Digest: set.fixture.Digest(set.top), Fixture: set.fixture, Only: true,
			})
		})
	}
}

func TestWhatIsNotThere(t *testing.T) {
	reg := registrytest.Start(t, registrytest.Options{})
	sys := system(t, "")
	for _, place := range places(t, reg) {
		_, err := OpenSource(t.Context(), place.ref, sys)
		assert.ErrorIs(t, err, endpoint.ErrNotFound, place.name)
	}

	f := imagetest.Platforms(2, 1, 100)
	f.PushTo(reg, "source", "v1", imagetest.Top)
	for _, place := range places(t, reg) {
		copyOnce(t, f, dockerRef(t, reg, "source:v1"), place.ref, sys)
		src := openSource(t, place.ref, sys)
		_, err := src.Manifest(t.Context(), digestA)
		assert.ErrorIs(t, err, endpoint.ErrNotFound, place.name)
		assert.ErrorContains(t, err, digestA.String(), place.name)
		_, err = src.Blob(t.Context(), endpoint.Blob{Digest: digestA, Size: 1})
		assert.ErrorIs(t, err, endpoint.ErrNotFound, place.name)
		sigs, err := src.Signatures(t.Context(), digestA)
		if assert.NoError(t, err, place.name) {
			assert.Zero(t, sigs.Len(), place.name)
		}

		for _, bad := range []digest.Digest{"", "sha256:../../x", "sha256:abc", "x"} {
			_, err := src.Manifest(t.Context(), bad)
			assert.Error(t, err)
			assert.NotErrorIs(t, err, endpoint.ErrNotFound)
			_, err = src.Blob(t.Context(), endpoint.Blob{Digest: bad, Size: 1})
			assert.Error(t, err)
			_, err = src.Signatures(t.Context(), bad)
			assert.Error(t, err)
		}
	}

	dir := t.TempDir()
	require.NoError(t, f.WriteLayout(dir, "v1", imagetest.Top))
	_, err := OpenSource(t.Context(), layoutRef(t, dir, "v2"), sys)
	assert.ErrorIs(t, err, endpoint.ErrNotFound)
	tar := filepath.Join(dir, "x.tar")
	copyOnce(t, f, layoutRef(t, dir, "v1"), archiveRef(t, tar, "v1"), sys)
	_, err = OpenSource(t.Context(), archiveRef(t, tar, "v2"), sys)
	assert.ErrorIs(t, err, endpoint.ErrNotFound)
}

func TestEveryMethodHonoursTheContext(t *testing.T) {
	reg := registrytest.Start(t, registrytest.Options{})
	sys := system(t, "")
	f := imagetest.Platforms(2, 1, 100)
	f.PushTo(reg, "source", "v1", imagetest.Top)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, place := range places(t, reg) {
		copyOnce(t, f, dockerRef(t, reg, "source:v1"), place.ref, sys)
		src := openSource(t, place.ref, sys)
		b := blobs(f, imagetest.Top)[0]
		child := document(f, "amd64")
		_, err := src.Manifest(cancelled, child.Digest)
		assert.ErrorIs(t, err, context.Canceled, place.name)
		_, err = src.Blob(cancelled, b)
		assert.ErrorIs(t, err, context.Canceled, place.name)
		_, err = src.Signatures(cancelled, child.Digest)
		assert.ErrorIs(t, err, context.Canceled, place.name)

		ctx, cancel := context.WithCancel(t.Context())
		r, err := src.Blob(ctx, b)
		require.NoError(t, err, place.name)
		cancel()
		_, err = io.ReadAll(r)
		assert.ErrorIs(t, err, context.Canceled, place.name)
		assert.NoError(t, r.Close())
		assert.NoError(t, r.Close())

		_, err = OpenDestination(cancelled, place.ref, sys)
		assert.ErrorIs(t, err, context.Canceled, place.name)
		dest := openDestination(t, place.ref, sys)
		_, err = dest.Top(cancelled)
		assert.ErrorIs(t, err, context.Canceled, place.name)
		_, err = dest.HasManifest(cancelled, child.Digest)
		assert.ErrorIs(t, err, context.Canceled, place.name)
		_, err = dest.Manifest(cancelled, child.Digest)
		assert.ErrorIs(t, err, context.Canceled, place.name)
		_, err = dest.HasBlob(cancelled, b)
		assert.ErrorIs(t, err, context.Canceled, place.name)
		_, err = dest.PutBlob(cancelled, b, never(t))
		assert.ErrorIs(t, err, context.Canceled, place.name)
		assert.ErrorIs(t, dest.PutManifest(cancelled, child), context.Canceled, place.name)
		assert.ErrorIs(t, dest.PutSignatures(cancelled, child.Digest, endpoint.NoSignatures()), context.Canceled, place.name)
		assert.ErrorIs(t, dest.PutTop(cancelled, child, nil), context.Canceled, place.name)
		assert.ErrorIs(t, dest.Publish(cancelled), context.Canceled, place.name)
		require.NoError(t, dest.Close())
	}
}

func TestPutBlobChecksWhatWasStored(t *testing.T) {
	reg := registrytest.Start(t, registrytest.Options{})
	sys := system(t, "")
	content := []byte("content")
	good := endpoint.Blob{Digest: digest.FromBytes(content), Size: int64(len(content)), MediaType: "x/y"}
	broken := errors.New("broken")
	for _, place := range places(t, reg) {
		dest := openDestination(t, place.ref, sys)
		opened := 0
		open := func(context.Context) (io.ReadCloser, error) {
			opened++
			return io.NopCloser(newReader(content)), nil
		}
		_, err := dest.PutBlob(t.Context(), good, func(context.Context) (io.ReadCloser, error) { return nil, broken })
		assert.ErrorIs(t, err, broken, place.name)
		_, err = dest.PutBlob(t.Context(), good, func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(newReader(content[:3]), failing{broken})), nil
		})
		assert.ErrorIs(t, err, broken, place.name)
		_, err = dest.PutBlob(t.Context(), endpoint.Blob{Digest: good.Digest, Size: good.Size + 1}, open)
		assert.Error(t, err, place.name)
		has, err := dest.HasBlob(t.Context(), good)
		assert.NoError(t, err)
		assert.False(t, has, place.name)
		_, err = dest.PutBlob(t.Context(), endpoint.Blob{Digest: "sha256:../../x", Size: 1}, open)
		assert.Error(t, err, place.name)

		opened = 0
		result, err := dest.PutBlob(t.Context(), good, open)
		assert.NoError(t, err, place.name)
		assert.False(t, result.Reused, place.name)
		assert.Equal(t, 1, opened, place.name)
		result, err = dest.PutBlob(t.Context(), good, never(t))
		assert.NoError(t, err, place.name)
		assert.True(t, result.Reused, place.name)
		has, err = dest.HasBlob(t.Context(), endpoint.Blob{Digest: good.Digest, Size: -1})
		assert.NoError(t, err)
		assert.True(t, has, place.name)
		require.NoError(t, dest.Close())
		require.NoError(t, dest.Close())
	}
}

// newReader hides everything of a reader but Read.
func newReader(content []byte) io.Reader { return &plainReader{content} }

type plainReader struct{ rest []byte }

func (r *plainReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestTraits(t *testing.T) {
	reg := registrytest.Start(t, registrytest.Options{})
	for _, place := range places(t, reg) {
		dest := openDestination(t, place.ref, system(t, ""))
		assert.True(t, dest.SupportsLists(), place.name)
		assert.Equal(t, place.ref, dest.Reference(), place.name)
		assert.Equal(t, dest.end.image().SupportedManifestMIMETypes(), dest.SupportedManifestMIMETypes(), place.name)
		require.NoError(t, dest.Close())
	}
}
