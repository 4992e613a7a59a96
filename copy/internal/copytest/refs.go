package copytest

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	ociarchive "go.podman.io/image/v5/oci/archive"
	"go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// RegistryRef is the reference of a repository and tag, or digest, at a test registry.
func RegistryRef(t testing.TB, r *registrytest.Registry, repo, ref string) types.ImageReference {
	t.Helper()
	sep := ":"
	if len(ref) > 7 && ref[:7] == "sha256:" {
		sep = "@"
	}
	named, err := reference.ParseNormalizedNamed(r.Host() + "/" + repo + sep + ref)
	require.NoError(t, err)
	dockerRef, err := docker.NewReference(named)
	require.NoError(t, err)
	return dockerRef
}

// LayoutRef is the reference of a tag in an OCI layout.
func LayoutRef(t testing.TB, dir, tag string) types.ImageReference {
	t.Helper()
	ref, err := layout.NewReference(dir, tag)
	require.NoError(t, err)
	return ref
}

// DockerRef is the reference host/repository:tag of a registry.
func DockerRef(t testing.TB, name string) types.ImageReference {
	t.Helper()
	ref, err := docker.ParseReference("//" + name)
	require.NoError(t, err)
	return ref
}

// ParseName parses transport:reference. It panics if that is none.
func ParseName(name string) types.ImageReference {
	transport, rest, _ := strings.Cut(name, ":")
	for _, t := range []types.ImageTransport{docker.Transport, layout.Transport, directory.Transport, ociarchive.Transport} {
		if t.Name() == transport {
			ref, err := t.ParseReference(rest)
			if err != nil {
				panic(err)
			}
			return ref
		}
	}
	panic("transport " + transport)
}

// DirRef is the reference of a directory of the transport dir:.
func DirRef(t testing.TB, dir string) types.ImageReference {
	t.Helper()
	ref, err := directory.NewReference(dir)
	require.NoError(t, err)
	return ref
}

// ArchiveRef is the reference of a tag in an archive of the transport oci-archive:.
func ArchiveRef(t testing.TB, file, tag string) types.ImageReference {
	t.Helper()
	ref, err := ociarchive.NewReference(file, tag)
	require.NoError(t, err)
	return ref
}
