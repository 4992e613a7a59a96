package inspect

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/types"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/endpoint/registry"
	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

func TestMain(m *testing.M) { os.Exit(hermetictest.Main(m.Run)) }

func place(t *testing.T, r *registrytest.Registry, repo string) endpoint.SizedSource {
	sys, _ := hermetictest.System(t)
	sys.DockerInsecureSkipTLSVerify = types.OptionalBoolTrue
	ref, err := docker.ParseReference("//" + r.Host() + "/" + repo + ":v1")
	require.NoError(t, err)
	src, err := registry.OpenOwn(t.Context(), ref, sys, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, src.Close()) })
	return src
}

// A source answers questions for signatures with an error.
type source struct {
	endpoint.Source
	err error
}

func (s source) Signatures(context.Context, digest.Digest) (endpoint.Signatures, error) {
	return nil, s.err
}

// TestVerifyEither: a place may have one of two things, and all that belongs to that one.
func TestVerifyEither(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	r := registrytest.Start(t, registrytest.Options{})
	f.PushTo(r, "app", "v1", imagetest.Top, "arm64")
	dst, o := place(t, r, "app"), Options{Limit: semaphore.NewWeighted(4)}
	whole := Want{
		Digest: f.Digest(imagetest.Top), IsList: true,
		Images: map[digest.Digest]string{f.Digest("amd64"): "linux/amd64", f.Digest("arm64"): "linux/arm64"},
	}
	part := Want{Digest: f.Digest("amd64"), Images: map[digest.Digest]string{f.Digest("amd64"): "linux/amd64"}}
	part.Else = &whole
	v, err := Verify(t.Context(), dst, nil, part, o)
	require.NoError(t, err)
	assert.Equal(t, whole.Digest, v.Wanted)
	assert.Equal(t, []Violation{{Digest: f.Digest("arm64"), What: "manifest", Platform: "linux/arm64", Problem: "it is missing"}}, v.Violations)
	assert.Equal(t, 2, v.Manifests)
	assert.Equal(t, 2, v.Blobs)

	part.Else = nil
	v, err = Verify(t.Context(), dst, nil, part, o)
	require.NoError(t, err)
	assert.Equal(t, part.Digest, v.Wanted)
	require.Len(t, v.Violations, 1)
	assert.Equal(t, "the destination names "+whole.Digest.String()+" instead", v.Violations[0].Problem)
	require.True(t, o.Limit.TryAcquire(4), "everything is given back")
}

// TestVerifySignatures: what the source does not tell is a warning, and what cannot be asked is no
// violation of the destination.
func TestVerifySignatures(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	r := registrytest.Start(t, registrytest.Options{})
	f.PushTo(r, "app", "v1", "amd64")
	dst, o := place(t, r, "app"), Options{Limit: semaphore.NewWeighted(4)}
	d := f.Digest("amd64")
	want := Want{Digest: d, Images: map[digest.Digest]string{d: ""}, Signed: []digest.Digest{d}}

	v, err := Verify(t.Context(), dst, source{dst, endpoint.ErrUnknown}, want, o)
	require.NoError(t, err)
	assert.Empty(t, v.Violations)
	require.Len(t, v.Warnings, 1)
	assert.Contains(t, v.Warnings[0], "whether "+d.String()+" is signed could not be asked")

	no := errors.New("no")
	_, err = Verify(t.Context(), dst, source{dst, no}, want, o)
	require.ErrorIs(t, err, no)
	failed, ok := errors.AsType[*ReadError](err)
	require.True(t, ok)
	assert.True(t, failed.AtSource)
	assert.Equal(t, d.String(), failed.Object)
}
