package signing

import (
	"context"
	"fmt"
	"io"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/types"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/endpoint/registry"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// TestConfigThatNobodyHas: it is the source that lacks it, although the destination was asked, too.
func TestConfigThatNobodyHas(t *testing.T) {
	reg := registrytest.Start(t, registrytest.Options{})
	ref, err := docker.ParseReference("//" + reg.Host() + "/app:v1")
	require.NoError(t, err)
	sys := &types.SystemContext{DockerInsecureSkipTLSVerify: types.OptionalBoolTrue}
	dst, err := registry.OpenDestination(t.Context(), ref, sys, &registry.Shared{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = dst.Close() })
	errSource := fmt.Errorf("the source says: %w", endpoint.ErrNotFound)
	c := &Copy{
		Keys: &Keys{}, Destination: dst, Budget: semaphore.NewWeighted(1),
		Config: func(digest.Digest, endpoint.Blob) endpoint.Opener {
			return func(context.Context) (io.ReadCloser, error) { return nil, errSource }
		},
	}
	config := registrytest.Seeded(1, 100)
	b := endpoint.Blob{Digest: config.Digest, Size: config.Size}
	_, err = c.config(t.Context(), b.Digest, b)
	assert.Equal(t, errSource, err)

	reg.PutContent("app", config)
	content, err := c.config(t.Context(), b.Digest, b)
	require.NoError(t, err)
	assert.Equal(t, b.Digest, digest.FromBytes(content), "an earlier copy has made the image")
}
