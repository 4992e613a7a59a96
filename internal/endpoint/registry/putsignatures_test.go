package registry

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// bothKinds returns an image at a registry, with a sigstore signature and a simple one.
func bothKinds(t *testing.T, sys *types.SystemContext, lookaside string) (*Source, image, endpoint.Signatures) {
	from := registrytest.Start(t, registrytest.Options{})
	im := newImage(t, 1, 1000, from, "a/source")
	path := signaturePath(lookaside, "a/source", im.manifest.Digest)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	write(t, path, string(simpleSignature))
	putAttachment(t, from, "a/source", im.manifest.Digest)
	s := openSource(t, from.Host()+"/a/source:tag", sys, nil)
	sigs, err := s.Signatures(t.Context(), im.manifest.Digest)
	require.NoError(t, err)
	require.Equal(t, 2, sigs.Len())
	return s, im, sigs
}

// TestPutSignatures: what can be stored beforehand is not sent again, and nothing is visible before
// what is signed is there.
func TestPutSignatures(t *testing.T) {
	sys, lookaside := withSignatures(t)
	s, im, sigs := bothKinds(t, sys, lookaside)
	d := im.manifest.Digest
	to := registrytest.Start(t, registrytest.Options{})
	dest := openDestination(t, to.Host()+"/a/copy:tag", sys, nil)
	require.NoError(t, dest.PutSignatureBlobs(t.Context(), d, sigs))
	assert.Empty(t, to.Tags("a/copy"))
	assert.NoFileExists(t, signaturePath(lookaside, "a/copy", d))

	missing := errors.New("it is not there")
	to.ResetLog()
	err := dest.PutSignaturesWhen(t.Context(), func() error { return missing }, d, sigs)
	require.ErrorIs(t, err, missing)
	assert.Empty(t, to.Tags("a/copy"))
	assert.NoFileExists(t, signaturePath(lookaside, "a/copy", d))

	putBlobs(t, dest, s, im)
	require.NoError(t, dest.PutManifest(t.Context(), im.manifest))
	to.ResetLog()
	for range 2 {
		require.NoError(t, dest.PutSignatures(t.Context(), d, sigs))
	}
	assert.Equal(t, []string{attachmentTag(d)}, to.Tags("a/copy"))
	assert.FileExists(t, signaturePath(lookaside, "a/copy", d))
	assert.Zero(t, to.Count(registrytest.Is(http.MethodPost, "")), "no blob is sent again")
	assert.Equal(t, 1, to.Count(registrytest.Is(http.MethodPut, registrytest.KindManifest)), "nor a tag that names them")

	// What is there is read, also if the reference names nothing.
	stored, err := dest.Signatures(t.Context(), d)
	require.NoError(t, err)
	assert.True(t, stored.Contain(sigs))
	assert.Equal(t, 2, stored.Len())
}

// TestPutSignaturesAgain sends blobs that the registry has lost, of which this process knows that
// it had them.
func TestPutSignaturesAgain(t *testing.T) {
	sys, lookaside := withSignatures(t)
	_, im, sigs := bothKinds(t, sys, lookaside)
	to := registrytest.Start(t, registrytest.Options{})
	dest := openDestination(t, to.Host()+"/a/copy:tag", sys, nil)
	require.NoError(t, dest.PutSignatureBlobs(t.Context(), im.manifest.Digest, sigs))
	attachable, _ := sigs.Split()
	require.True(t, to.DeleteBlob("a/copy", attachable[0].Layer.Digest))
	require.NoError(t, dest.PutSignatures(t.Context(), im.manifest.Digest, sigs))
	assert.Equal(t, []string{attachmentTag(im.manifest.Digest)}, to.Tags("a/copy"))
}

// TestPutSignaturesFails: sigstore attachments have to be enabled, a page is no success, and a tag
// whose content is not known is left alone.
func TestPutSignaturesFails(t *testing.T) {
	sys, lookaside := withSignatures(t)
	_, im, sigs := bothKinds(t, sys, lookaside)
	ofTag := func(method string) func(*http.Request) bool {
		return func(req *http.Request) bool {
			return req.Method == method && strings.HasSuffix(req.URL.Path, ".sig")
		}
	}
	for name, script := range map[string]registrytest.Script{
		"a page when it is written": registrytest.Only(ofTag(http.MethodPut), registrytest.EveryNth(1, registrytest.FailHTML(200))),
		"a page when it is read":    registrytest.Only(ofTag(http.MethodGet), registrytest.EveryNth(1, registrytest.FailHTML(200))),
		"no answer when it is read": registrytest.Only(ofTag(http.MethodGet), registrytest.EveryNth(1, registrytest.Fail(403, "DENIED", "no"))),
	} {
		to := registrytest.Start(t, registrytest.Options{Script: script})
		dest := openDestination(t, to.Host()+"/a/copy:tag", sys, &Shared{Retry: RetryPolicy{BaseDelay: time.Millisecond}})
		require.Error(t, dest.PutSignatures(t.Context(), im.manifest.Digest, sigs), name)
		assert.Empty(t, to.Tags("a/copy"), name)
	}

	without := *sys
	without.RegistriesDirPath = t.TempDir()
	to := registrytest.Start(t, registrytest.Options{})
	dest := openDestination(t, to.Host()+"/a/copy:tag", &without, nil)
	require.ErrorContains(t, dest.TakesAttachments(), "use-sigstore-attachments")
	for _, put := range []func(context.Context) error{
		func(ctx context.Context) error { return dest.PutSignatures(ctx, im.manifest.Digest, sigs) },
		func(ctx context.Context) error { return dest.PutSignatureBlobs(ctx, im.manifest.Digest, sigs) },
	} {
		require.ErrorContains(t, put(t.Context()), "writing sigstore attachments is disabled by configuration")
	}
	assert.Empty(t, to.Requests())
}

// TestAttachedPayloads: signatures of one payload are told apart, and what does not match its
// digest, is missing, or too large is an error.
func TestAttachedPayloads(t *testing.T) {
	sys, _ := withSignatures(t)
	r := registrytest.Start(t, registrytest.Options{})
	im := newImage(t, 1, 1000, r, "a")
	payload := []byte(`{"critical":{}}`)
	layer := func(text string, size int64) imgspecv1.Descriptor {
		return imgspecv1.Descriptor{
			MediaType: "application/vnd.dev.cosign.simplesigning.v1+json", Digest: r.PutBlob("a", payload), Size: size,
			Annotations: map[string]string{"dev.cosignproject.cosign/signature": text},
		}
	}
	whole := int64(len(payload))
	absent := layer("c2ln", whole)
	absent.Digest = digest.FromString("absent")
	put := func(mediaType string, layers ...imgspecv1.Descriptor) (endpoint.Signatures, error) {
		config := []byte(`{}`)
		m := imgspecv1.Manifest{MediaType: mediaType, Layers: layers}
		m.SchemaVersion = 2
		m.Config = imgspecv1.Descriptor{MediaType: imgspecv1.MediaTypeImageConfig, Digest: r.PutBlob("a", config), Size: int64(len(config))}
		b, err := json.Marshal(m)
		require.NoError(t, err)
		r.PutManifest("a", attachmentTag(im.manifest.Digest), mediaType, b)
		return openSource(t, r.Host()+"/a:tag", sys, nil).Signatures(t.Context(), im.manifest.Digest)
	}
	r.ResetLog()
	sigs, err := put(imgspecv1.MediaTypeImageManifest, layer("b25l", whole), layer("dHdv", whole))
	require.NoError(t, err)
	require.Equal(t, 2, sigs.Len())
	assert.Equal(t, 1, r.Count(registrytest.Is(http.MethodGet, registrytest.KindBlob)), "one payload is read once")
	attachable, _ := sigs.Split()
	for i, text := range []string{"b25l", "dHdv"} {
		assert.Equal(t, layer(text, whole), attachable[i].Layer)
		assert.Equal(t, payload, attachable[i].Payload)
	}
	sigs, err = put(imgspecv1.MediaTypeImageManifest)
	require.NoError(t, err)
	assert.Zero(t, sigs.Len())
	for name, c := range map[string]struct {
		mediaType string
		layers    []imgspecv1.Descriptor
		says      string
	}{
		"shorter than stated": {imgspecv1.MediaTypeImageManifest, []imgspecv1.Descriptor{layer("c2ln", whole+1)}, "bytes"},
		"longer than stated":  {imgspecv1.MediaTypeImageManifest, []imgspecv1.Descriptor{layer("c2ln", whole-1)}, "bytes"},
		"absent":              {imgspecv1.MediaTypeImageManifest, []imgspecv1.Descriptor{absent}, "404"},
		"too large":           {imgspecv1.MediaTypeImageManifest, []imgspecv1.Descriptor{layer("c2ln", maxPayload+1)}, "limit"},
		"of Docker's format":  {"application/vnd.docker.distribution.manifest.v2+json", nil, "unexpected type"},
	} {
		_, err := put(c.mediaType, c.layers...)
		assert.ErrorContains(t, err, c.says, name)
	}
}
