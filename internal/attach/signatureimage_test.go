package attach

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/digesttag"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// attachedSignatures are some, whose payloads are the same.
func attachedSignatures(texts ...string) []endpoint.AttachableSignature {
	var sigs []endpoint.AttachableSignature
	for _, text := range texts {
		sigs = append(sigs, endpoint.AttachableSignature{Layer: signature(text), Payload: []byte("payload")})
	}
	return sigs
}

// SendBlob is PutBlob.
func (r *repository) SendBlob(ctx context.Context, b endpoint.Blob, open endpoint.Opener) error {
	_, err := r.PutBlob(ctx, b, open)
	return err
}

func stored() error { return nil }

// TestSignatureImage adds signatures to those that are there, which may have one payload.
func TestSignatureImage(t *testing.T) {
	image := digest.FromString("image")
	tag := digesttag.Name(image, digesttag.Signatures)
	r := newRepository()
	for _, step := range []struct {
		put  []string
		want []string
	}{
		{[]string{"a"}, []string{"a"}},
		{[]string{"a"}, []string{"a"}},
		{[]string{"b", "c"}, []string{"a", "b", "c"}},
		{[]string{"c", "a"}, []string{"a", "b", "c"}},
		{[]string{"a", "b", "c", "d"}, []string{"a", "b", "c", "d"}},
	} {
		s, err := SignatureImageOf(image, attachedSignatures(step.put...))
		require.NoError(t, err)
		require.NoError(t, s.Put(t.Context(), r, stored))
		doc := r.manifests[r.tags[tag]]
		parsed, err := manifest.ParseImage(doc.Bytes, doc.MediaType)
		require.NoError(t, err)
		var texts []string
		for _, layer := range parsed.Layers {
			texts = append(texts, layer.Annotations["dev.cosignproject.cosign/signature"])
			assert.True(t, r.blobs[layer.Digest])
		}
		slices.Sort(texts)
		assert.Equal(t, step.want, texts)
		assert.True(t, r.blobs[parsed.Config.Digest], "its config names its layers")
		assert.Equal(t, imgspecv1.MediaTypeImageConfig, parsed.Config.MediaType)
	}
}

// TestSignatureImageWaits writes the tag when what is signed is there, and not if it does not come.
func TestSignatureImageWaits(t *testing.T) {
	s, err := SignatureImageOf(digest.FromString("image"), attachedSignatures("a"))
	require.NoError(t, err)
	r := newRepository()
	require.NoError(t, s.PutBlobs(t.Context(), r))
	assert.Len(t, r.blobs, 2)
	assert.Empty(t, r.tags)
	assert.ErrorIs(t, s.Put(t.Context(), r, func() error { return errBroken }), errBroken)
	assert.Empty(t, r.tags)
	require.NoError(t, s.Put(t.Context(), r, func() error {
		assert.Empty(t, r.tags)
		return nil
	}))
	assert.Len(t, r.tags, 1)
}

// TestSignatureImageFails leaves what the tag names if signatures cannot be added to it, and if
// something of them cannot be stored.
func TestSignatureImageFails(t *testing.T) {
	image := digest.FromString("image")
	tag := digesttag.Name(image, digesttag.Signatures)
	s, err := SignatureImageOf(image, attachedSignatures("a"))
	require.NoError(t, err)
	for name, there := range map[string]endpoint.Document{
		"a list": index(t, "", ""), "another kind of image": artifact(t, "application/vnd.example", "", "other", signature("b")),
		"no image": endpoint.NewDocument(digest.FromString("page"), "text/html", []byte("page")),
	} {
		r := newRepository()
		r.put(there, tag)
		assert.ErrorContains(t, s.Put(t.Context(), r, stored), "signatures cannot be added", name)
		assert.Equal(t, there.Digest, r.tags[tag], name)
	}
	for _, question := range []string{"put blob", "put tag " + tag} {
		r := newRepository()
		r.fails[question] = errBroken
		assert.ErrorIs(t, s.Put(t.Context(), r, stored), errBroken)
		assert.Empty(t, r.tags)
	}
	_, err = SignatureImageOf(digest.NewDigestFromEncoded("sha512", strings.Repeat("0", 128)), attachedSignatures("a"))
	assert.ErrorContains(t, err, "too long")
}
