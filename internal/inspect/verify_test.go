package inspect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/types"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/endpoint/registry"
	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/prose"
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

// keeping are options with a source that has everything still.
func keeping(limit int64) Options {
	return Options{
		Limit:    semaphore.NewWeighted(limit),
		Manifest: func(context.Context, digest.Digest) (endpoint.Document, error) { return endpoint.Document{}, nil },
		Blob: func(digest.Digest, endpoint.Blob) endpoint.Opener {
			return func(context.Context) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("")), nil }
		},
	}
}

// TestVerifyEither: a place may have one of two things, and all that belongs to that one.
func TestVerifyEither(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	r := registrytest.Start(t, registrytest.Options{})
	f.PushTo(r, "app", "v1", imagetest.Top, "arm64")
	dst, o := place(t, r, "app"), keeping(4)
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
	dst, o := place(t, r, "app"), keeping(4)
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

// rangedSource hands out something else the first time, and says that there is another way.
type rangedSource struct {
	endpoint.SizedSource
	read sync.Map // digests
}

func (s *rangedSource) Blob(ctx context.Context, b endpoint.Blob) (io.ReadCloser, error) {
	if _, before := s.read.LoadOrStore(b.Digest, nil); before {
		return s.SizedSource.Blob(ctx, b)
	}
	return doubtful{strings.NewReader(strings.Repeat("x", int(b.Size)))}, nil
}

type doubtful struct{ io.Reader }

func (doubtful) Close() error { return nil }
func (doubtful) Doubt() bool  { return true }

// What a transfer in ranges has damaged is read again before it is called a violation.
func TestVerifyReadsAgain(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	r := registrytest.Start(t, registrytest.Options{})
	f.PushTo(r, "app", "v1", imagetest.Top)
	carried := []digest.Digest{f.Digest("amd64"), f.Digest("arm64")}
	want := Want{Digest: f.Digest(imagetest.Top), IsList: true, Carried: carried, Images: map[digest.Digest]string{carried[0]: "linux/amd64", carried[1]: "linux/arm64"}}
	v, err := Verify(t.Context(), &rangedSource{SizedSource: place(t, r, "app")}, nil, want, Options{Limit: semaphore.NewWeighted(4), ReadBlobs: true})
	require.NoError(t, err)
	assert.Empty(t, v.Violations)
	assert.Positive(t, v.BytesRead)
}

// TestVerifyLost: what the source does not have either is lost, if it would be carried as it is;
// and all that is wrong, if there is no source any more.
func TestVerifyLost(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	r := registrytest.Start(t, registrytest.Options{})
	f.PushTo(r, "app", "v1", imagetest.Top)
	f.PushTo(r, "source", "v1", imagetest.Top)
	amd64, arm64, layer, config := f.Digest("amd64"), f.Digest("arm64"), f.Digest("amd64.0"), f.Digest("amd64.config")
	dst, src := place(t, r, "app"), place(t, r, "source")
	for _, d := range []digest.Digest{layer, config} {
		require.True(t, r.DeleteBlob("app", d))
	}
	require.True(t, r.DeleteManifest("app", arm64))
	require.True(t, r.DeleteBlob("source", layer))
	require.True(t, r.DeleteManifest("source", arm64))
	want := Want{Digest: f.Digest(imagetest.Top), IsList: true, Images: map[digest.Digest]string{amd64: "linux/amd64", arm64: "linux/arm64"}}
	lost := func(carried []digest.Digest, o Options) map[digest.Digest]bool {
		want.Carried = carried
		v, err := Verify(t.Context(), dst, src, want, o)
		require.NoError(t, err)
		lost := map[digest.Digest]bool{}
		for _, bad := range v.Violations {
			lost[bad.Digest] = bad.Lost
		}
		assert.Equal(t, slices.Contains(slices.Collect(maps.Values(lost)), true), v.Damaged())
		return lost
	}
	o := Options{Limit: semaphore.NewWeighted(4), Manifest: src.Manifest, Blob: func(_ digest.Digest, b endpoint.Blob) endpoint.Opener {
		return func(ctx context.Context) (io.ReadCloser, error) { return src.Blob(ctx, b) }
	}}
	assert.Equal(t, map[digest.Digest]bool{layer: true, config: false, arm64: true}, lost([]digest.Digest{amd64, arm64}, o))
	assert.Equal(t, map[digest.Digest]bool{layer: false, config: false, arm64: false}, lost(nil, o), "they are made on the way")
	o.Manifest = func(context.Context, digest.Digest) (endpoint.Document, error) {
		return endpoint.Document{}, endpoint.ErrUnknown
	}
	assert.Equal(t, map[digest.Digest]bool{layer: true, config: false, arm64: false}, lost([]digest.Digest{amd64, arm64}, o), "no answer is no evidence")
	assert.Equal(t, map[digest.Digest]bool{layer: true, config: true, arm64: true}, lost(nil, Options{Limit: o.Limit}))
}

// TestVerifyStatedSizes: two manifests cannot both be right about the size of a blob; a list that
// its publisher got wrong is not the destination's fault, and a list of referrers is.
func TestVerifyStatedSizes(t *testing.T) {
	f := imagetest.Platforms(1, 1, 100)
	r := registrytest.Start(t, registrytest.Options{NoReferrers: true})
	f.PushTo(r, "app", "v1", "amd64")
	amd64, _ := f.Document("amd64")
	put := func(ref, mediaType string, content []byte) digest.Digest {
		r.PutManifest("app", ref, mediaType, content)
		return digest.FromBytes(content)
	}
	size := fmt.Sprintf(`"size":%d`, f.Size("amd64.0"))
	other := bytes.Replace(amd64, []byte(size), []byte(`"size":99`), 1)
	require.NotEqual(t, string(amd64), string(other))
	wrong := put(digest.FromBytes(other).String(), imgspecv1.MediaTypeImageManifest, other)
	list := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":%d},{"mediaType":%q,"digest":%q,"size":7}]}`,
		imgspecv1.MediaTypeImageIndex, imgspecv1.MediaTypeImageManifest, f.Digest("amd64"), len(amd64), imgspecv1.MediaTypeImageManifest, wrong)
	top := put("v1", imgspecv1.MediaTypeImageIndex, list)
	referrer := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"artifactType":"text/sbom","config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[],"subject":{"mediaType":%q,"digest":%q,"size":%d}}`,
		imgspecv1.MediaTypeImageManifest, imgspecv1.MediaTypeImageConfig, f.Digest("amd64.config"), f.Size("amd64.config"), imgspecv1.MediaTypeImageIndex, top, len(list))
	sbom := put(digest.FromBytes(referrer).String(), imgspecv1.MediaTypeImageManifest, referrer)
	put(strings.Replace(top.String(), ":", "-", 1), imgspecv1.MediaTypeImageIndex,
		fmt.Appendf(nil, `{"schemaVersion":2,"manifests":[{"mediaType":%q,"digest":%q,"size":9,"artifactType":"text/sbom"}]}`, imgspecv1.MediaTypeImageManifest, sbom))

	v, err := Verify(t.Context(), place(t, r, "app"), nil, Want{
		Digest: top, IsList: true, Images: map[digest.Digest]string{f.Digest("amd64"): "linux/amd64", wrong: "other"},
		Attached: []Attached{{Subject: top, Digest: sbom, ArtifactType: "text/sbom"}},
	}, keeping(4))
	require.NoError(t, err)
	owner := v.Violations[0].Platform // both name it
	assert.Equal(t, []Violation{
		{Digest: f.Digest("amd64.0"), What: "layer", Platform: owner, Problem: fmt.Sprintf("it has %d bytes, and its manifest states 99", f.Size("amd64.0"))},
		{Digest: sbom, What: "referrer", Problem: fmt.Sprintf("it has %d bytes, and the destination lists it with 9", len(referrer))},
	}, v.Violations)
	assert.Equal(t, []string{fmt.Sprintf("%s has %d bytes, and the list %s, as it was published, states 7: some clients refuse it",
		prose.Short(wrong), len(other), prose.Short(top))}, v.Warnings)
	assert.Equal(t, 2, v.Blobs)
}
