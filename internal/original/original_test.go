package original

import (
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/manifest"
)

func document(mediaType, text string) manifest.Document {
	return manifest.Document{Digest: digest.FromString(text), MediaType: mediaType, Bytes: []byte(text)}
}

// list is a list that is told from others by an annotation.
func list(name string) manifest.Document {
	return document(imgspecv1.MediaTypeImageIndex,
		fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[],"annotations":{"name":%q}}`, imgspecv1.MediaTypeImageIndex, name))
}

// stripped is the list that artifacts belong to here.
func stripped() imgspecv1.Descriptor {
	return imgspecv1.Descriptor{
		MediaType: imgspecv1.MediaTypeImageIndex, Digest: digest.FromString("stripped"), Size: 8,
		Annotations: map[string]string{"of": "no matter"},
	}
}

// held returns the blobs of an artifact.
func held(a Artifact) func(imgspecv1.Descriptor) ([]byte, error) {
	return func(d imgspecv1.Descriptor) ([]byte, error) {
		for _, p := range append(a.Layers, a.Config) {
			if p.Descriptor.Digest == d.Digest {
				return p.Content, nil
			}
		}
		return nil, errNoBlob
	}
}

// signature is one that cosign has attached: a payload, and a config.
func signature(kind Kind) Signature {
	payload, config := []byte(`{"critical":{}}`), []byte(`{"rootfs":{}}`)
	text := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[{"mediaType":"x","digest":%q,"size":%d}]}`,
		imgspecv1.MediaTypeImageManifest, imgspecv1.MediaTypeImageConfig, digest.FromBytes(config), len(config), digest.FromBytes(payload), len(payload))
	return Signature{
		Of: list("top").Digest, Kind: kind, Document: document(imgspecv1.MediaTypeImageManifest, text),
		Blobs: map[digest.Digest][]byte{digest.FromBytes(payload): payload, digest.FromBytes(config): config},
	}
}

func lookaside() Signature {
	return Signature{Of: list("top").Digest, Kind: Lookaside, Blob: []byte("\x00signature")}
}

// TestOf pins what the artifact is, byte for byte: its digest is known before it is written, and
// other releases look for the same.
func TestOf(t *testing.T) {
	top, nested := list("top"), list("nested")
	a := Of(stripped(), []manifest.Document{top, nested, nested}, "registry.example/repo")
	want := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"application/vnd.sparsecopy.original.v1",` +
		`"config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},` +
		`"layers":[` +
		fmt.Sprintf(`{"mediaType":"application/vnd.sparsecopy.original.document.v1","digest":%q,"size":%d,"annotations":{"io.github.sparsecopy.original.media-type":"application/vnd.oci.image.index.v1+json"}},`, top.Digest, len(top.Bytes)) +
		fmt.Sprintf(`{"mediaType":"application/vnd.sparsecopy.original.document.v1","digest":%q,"size":%d,"annotations":{"io.github.sparsecopy.original.media-type":"application/vnd.oci.image.index.v1+json"}}],`, nested.Digest, len(nested.Bytes)) +
		fmt.Sprintf(`"subject":{"mediaType":"application/vnd.oci.image.index.v1+json","digest":%q,"size":8},`, stripped().Digest) +
		fmt.Sprintf(`"annotations":{"io.github.sparsecopy.original.digest":%q,"io.github.sparsecopy.original.source":"registry.example/repo"}}`, top.Digest)
	assert.Equal(t, want, string(a.Document.Bytes))
	assert.Equal(t, digest.FromString(want), a.Document.Digest)
	assert.Equal(t, "{}", string(a.Config.Content))
	assert.Equal(t, stripped().Digest, a.Subject())
}

// TestRoundTrip: what was put in comes out, in either form, and listings tell what it is.
func TestRoundTrip(t *testing.T) {
	documents := []manifest.Document{list("top"), list("nested")}
	a := Of(stripped(), documents, "registry.example/repo")
	for _, form := range []Artifact{a, Plain(a)} {
		assert.Equal(t, RoleOriginal, KindOf(form.Descriptor().ArtifactType, form.Descriptor().Annotations))
		got, err := Read(form.Document, held(form))
		require.NoError(t, err)
		plain := form.Document.Digest != a.Document.Digest
		assert.Equal(t, Original{stripped().Digest, documents, "registry.example/repo", plain}, got)
		_, err = ReadSignature(form.Document, held(form))
		assert.ErrorIs(t, err, ErrOther)
	}
	for _, s := range []Signature{signature(TagSignature), signature(TagAttestation), signature(Referrer), lookaside()} {
		a, err := OfSignature(stripped(), s)
		require.NoError(t, err)
		for _, form := range []Artifact{a, Plain(a)} {
			assert.Equal(t, RoleSignature, KindOf(form.Descriptor().ArtifactType, form.Descriptor().Annotations))
			got, err := ReadSignature(form.Document, held(form))
			require.NoError(t, err)
			assert.Equal(t, s, got)
			_, err = Read(form.Document, held(form))
			assert.ErrorIs(t, err, ErrOther)
		}
	}
}

// TestPlain is an image for whoever looks: no artifact type, the config of an image, layers that
// are tars.
func TestPlain(t *testing.T) {
	top := list("top")
	p := Plain(Of(stripped(), []manifest.Document{top}, ""))
	image, err := manifest.ParseImage(p.Document.Bytes, "")
	require.NoError(t, err)
	assert.Empty(t, image.Remarks)
	assert.False(t, image.IsArtifact())
	assert.Empty(t, image.ArtifactType)
	assert.Equal(t, stripped().Digest, image.Subject)
	assert.Equal(t, imgspecv1.MediaTypeImageLayer, image.Layers[0].MediaType)
	assert.True(t, strings.HasPrefix(string(p.Layers[0].Content), "blobs/sha256/"+top.Digest.Encoded()))
	assert.Equal(t, digest.Digest("sha256:c0d9e98fdc8412a32355edb2de42bd9c1ff5ad8e0a92f50f7eacef4ed1bf245f"), p.Document.Digest)
}

// TestRemake tells what this package has made from what others have made of the same.
func TestRemake(t *testing.T) {
	signed, err := OfSignature(stripped(), signature(TagSignature))
	require.NoError(t, err)
	for _, a := range []Artifact{Of(stripped(), []manifest.Document{list("top"), list("nested")}, "claim"), signed} {
		for _, a := range []Artifact{a, Plain(a)} {
			again, err := Remake(stripped(), a.Document, held(a))
			require.NoError(t, err)
			assert.Equal(t, a.Document.Digest, again.Document.Digest)

			other := a
			text := strings.Replace(string(a.Document.Bytes), `"schemaVersion":2`, `"schemaVersion": 2`, 1)
			other.Document = document(a.Document.MediaType, text)
			again, err = Remake(stripped(), other.Document, held(a))
			require.NoError(t, err)
			assert.NotEqual(t, other.Document.Digest, again.Document.Digest)

			again, err = Remake(imgspecv1.Descriptor{MediaType: imgspecv1.MediaTypeImageIndex, Digest: list("other").Digest, Size: 1}, a.Document, held(a))
			require.NoError(t, err)
			assert.NotEqual(t, a.Document.Digest, again.Document.Digest)
		}
	}
	for _, doc := range []manifest.Document{document(imgspecv1.MediaTypeImageManifest, "{}"), signature(TagSignature).Document} {
		_, err := Remake(stripped(), doc, held(signed))
		var failed *Error
		require.ErrorAs(t, err, &failed)
	}
}
