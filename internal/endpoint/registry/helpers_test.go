package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

func TestMain(m *testing.M) { os.Exit(hermetictest.Main(m.Run)) }

// insecure is a configuration for registries on plain HTTP.
func insecure(t testing.TB) *types.SystemContext {
	t.Helper()
	sys, _ := hermetictest.System(t)
	sys.DockerInsecureSkipTLSVerify = types.OptionalBoolTrue
	return sys
}

func write(t *testing.T, path, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
}

func parseRef(t testing.TB, text string) types.ImageReference {
	t.Helper()
	ref, err := docker.ParseReference("//" + text)
	require.NoError(t, err)
	return ref
}

// quick makes retries immediate, for all practical purposes.
func quick() *Shared {
	return &Shared{Retry: RetryPolicy{BaseDelay: time.Millisecond}}
}

func openSource(t *testing.T, text string, sys *types.SystemContext, sh *Shared) *Source {
	t.Helper()
	s, err := OpenSource(context.Background(), parseRef(t, text), sys, sh)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func openDestination(t *testing.T, text string, sys *types.SystemContext, sh *Shared) *Destination {
	t.Helper()
	d, err := OpenDestination(context.Background(), parseRef(t, text), sys, sh)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d
}

// image is an image whose only interest is its size.
type image struct {
	manifest endpoint.Document
	blobs    []endpoint.Blob
	content  map[digest.Digest]registrytest.Content
}

// newImage makes an image of n blobs of the given size, and puts it into the repositories with the
// tag "tag".
func newImage(t *testing.T, n int, size int64, r *registrytest.Registry, repos ...string) image {
	t.Helper()
	im := image{content: map[digest.Digest]registrytest.Content{}}
	m := imgspecv1.Manifest{MediaType: imgspecv1.MediaTypeImageManifest}
	m.SchemaVersion = 2
	for i := range n {
		c := registrytest.Seeded(uint64(i+1), size)
		im.content[c.Digest] = c
		im.blobs = append(im.blobs, endpoint.Blob{Digest: c.Digest, Size: c.Size, Config: i == 0})
		desc := imgspecv1.Descriptor{MediaType: "application/octet-stream", Digest: c.Digest, Size: c.Size}
		if i == 0 {
			m.Config = desc
		} else {
			m.Layers = append(m.Layers, desc)
		}
	}
	b, err := json.Marshal(m)
	require.NoError(t, err)
	im.manifest = endpoint.Document{Digest: digest.FromBytes(b), MediaType: m.MediaType, Bytes: b}
	for _, repo := range repos {
		for _, c := range im.content {
			r.PutContent(repo, c)
		}
		r.PutManifest(repo, "tag", im.manifest.MediaType, b)
	}
	return im
}

// copyImage copies what s has to d, all blobs at once, and checks that the registry has it in the
// end.
func copyImage(t *testing.T, s *Source, d *Destination, im image) error {
	t.Helper()
	ctx := context.Background()
	var wg sync.WaitGroup
	var failure atomic.Pointer[error]
	for _, b := range im.blobs {
		wg.Go(func() {
			if _, err := d.PutBlob(ctx, b, opener(s, b)); err != nil {
				failure.Store(&err)
			}
		})
	}
	wg.Wait()
	if err := failure.Load(); err != nil {
		return *err
	}
	return d.PutTop(ctx, s.Top(), nil)
}

func mustCopy(t *testing.T, s *Source, d *Destination, im image) {
	t.Helper()
	require.NoError(t, copyImage(t, s, d, im))
}

// requireImage checks that the repository has the image.
func requireImage(t *testing.T, r *registrytest.Registry, repo string, im image) {
	t.Helper()
	got, ok := r.Resolve(repo, "tag")
	require.True(t, ok, "the tag is not there")
	require.Equal(t, im.manifest.Digest, got)
	require.ElementsMatch(t, keys(im.content), r.Blobs(repo))
}

func keys[K comparable, V any](m map[K]V) []K {
	var all []K
	for k := range m {
		all = append(all, k)
	}
	return all
}

// opener reads b from s and verifies it, as the engine does.
func opener(s *Source, b endpoint.Blob) endpoint.Opener {
	return func(ctx context.Context) (io.ReadCloser, error) {
		r, err := s.Blob(ctx, b)
		if err != nil {
			return nil, err
		}
		return &verifying{ReadCloser: r, verifier: b.Digest.Verifier()}, nil
	}
}

type verifying struct {
	io.ReadCloser
	verifier digest.Verifier
}

func (v *verifying) Read(p []byte) (int, error) {
	n, err := v.ReadCloser.Read(p)
	_, _ = v.verifier.Write(p[:n])
	if errors.Is(err, io.EOF) && !v.verifier.Verified() {
		err = fmt.Errorf("content does not match its digest")
	}
	return n, err
}

// held is an Opener for content that we hold.
func held(content []byte) endpoint.Opener {
	return func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }
}

func blobOf(content []byte) endpoint.Blob {
	return endpoint.Blob{Digest: digest.FromBytes(content), Size: int64(len(content))}
}

// summary lists the requests of a registry, without what changes from run to run.
func summary(r *registrytest.Registry) []string {
	var all []string
	for _, q := range r.Requests() {
		line := q.Method + " " + string(q.Kind)
		if q.Second {
			line += " at second server"
		}
		all = append(all, fmt.Sprintf("%s %d", line, q.Status))
	}
	return all
}
