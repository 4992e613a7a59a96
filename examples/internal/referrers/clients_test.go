package referrers

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/v1"
	emptyimage "github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	ggcrremote "github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/registry/remote"
)

// orasRepository is the repository app, as oras sees it.
func orasRepository(t *testing.T, s *server) *remote.Repository {
	t.Helper()
	repository, err := remote.NewRepository(strings.TrimPrefix(s.url, "http://") + "/app")
	require.NoError(t, err)
	repository.PlainHTTP = true
	return repository
}

func attach(t *testing.T, repository *remote.Repository, subject imgspecv1.Descriptor, artifactType string) imgspecv1.Descriptor {
	t.Helper()
	d, err := oras.PackManifest(t.Context(), repository, oras.PackManifestVersion1_1, artifactType, oras.PackManifestOptions{Subject: &subject})
	require.NoError(t, err)
	return d
}

func listed(t *testing.T, repository *remote.Repository, subject imgspecv1.Descriptor, artifactType string) []digest.Digest {
	t.Helper()
	all := []digest.Digest{}
	require.NoError(t, repository.Referrers(t.Context(), subject, artifactType, func(page []imgspecv1.Descriptor) error {
		all = append(all, digestsOf(page)...)
		return nil
	}))
	return all
}

// TestORAS attaches with the API, and as a client that knows only the tag; both see all.
func TestORAS(t *testing.T) {
	s := start(t)
	s.pushEmpty(t, "app")
	image := artifact("", "", "image")
	s.put(t, "app", "v1", image)
	subject := imgspecv1.Descriptor{MediaType: image.mediaType, Digest: image.digest, Size: int64(len(image.body))}

	repository := orasRepository(t, s)
	repository.ReferrerListPageSize = 2
	want := []digest.Digest{}
	for _, artifactType := range []string{sbom, signature, "application/spdx+json"} {
		want = append(want, attach(t, repository, subject, artifactType).Digest)
	}
	old := orasRepository(t, s)
	require.NoError(t, old.SetReferrersCapability(false))
	byTag := attach(t, old, subject, "application/vnd.example.old")
	want = append(want, byTag.Digest)
	slices.Sort(want)
	assert.Equal(t, want, listed(t, repository, subject, ""))
	assert.Equal(t, want, slices.Sorted(slices.Values(listed(t, old, subject, ""))))
	assert.Len(t, listed(t, repository, subject, "application/spdx+json"), 1)
	assert.Len(t, listed(t, old, subject, signature), 1)

	require.NoError(t, repository.Delete(t.Context(), byTag))
	want = slices.DeleteFunc(want, func(d digest.Digest) bool { return d == byTag.Digest })
	assert.Equal(t, want, listed(t, repository, subject, ""))
	assert.Equal(t, want, listed(t, old, subject, ""))
}

// TestGGCR attaches as crane and cosign do.
func TestGGCR(t *testing.T) {
	s := start(t)
	image, err := mutate.ConfigFile(mutate.MediaType(emptyimage.Image, imgspecv1.MediaTypeImageManifest), &ggcr.ConfigFile{OS: "linux", Architecture: "amd64"})
	require.NoError(t, err)
	subject, err := partial.Descriptor(image)
	require.NoError(t, err)
	app, err := name.NewRepository(strings.TrimPrefix(s.url, "http://")+"/app", name.Insecure)
	require.NoError(t, err)
	require.NoError(t, ggcrremote.Write(app.Tag("v1"), image))
	var want []string
	for _, artifactType := range []string{sbom, signature} {
		attached := mutate.Subject(mutate.ConfigMediaType(image, types.MediaType(artifactType)), *subject).(ggcr.Image)
		d, err := attached.Digest()
		require.NoError(t, err)
		want = append(want, d.String())
		require.NoError(t, ggcrremote.Write(app.Digest(d.String()), attached))
	}

	read := func(options ...ggcrremote.Option) (all []string) {
		index, err := ggcrremote.Referrers(app.Digest(subject.Digest.String()), options...)
		require.NoError(t, err)
		m, err := index.IndexManifest()
		require.NoError(t, err)
		for _, d := range m.Manifests {
			all = append(all, d.Digest.String())
		}
		return all
	}
	assert.ElementsMatch(t, want, read())
	assert.Equal(t, want[1:], read(ggcrremote.WithFilter("artifactType", signature)))
	// It has left the tag to the registry.
	assert.True(t, IsMade(s.Get(t, http.MethodGet, "app", tagOf(digest.Digest(subject.Digest.String()))).Body))
}
