package plan

import (
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/manifest"
)

const (
	plainLayer = imgspecv1.MediaTypeImageLayer
	gzipLayer  = imgspecv1.MediaTypeImageLayerGzip
)

// transforming has ends between which images are transformed one by one.
func transforming(change func(*WayFacts)) *WayFacts {
	return natively(func(f *WayFacts) {
		f.Transforms, f.Layers = true, CompressLayers
		change(f)
	})
}

// asItIs asks for nothing.
func asItIs(*WayFacts) {}

// transformInput is a copy of a list with an image that has to be compressed, between two that have
// not.
func transformInput() (in Input, plain digest.Digest, compressed []digest.Digest) {
	before, image, after := imageOf(ociImage, ociConfig, gzipLayer), imageOf(ociImage, ociConfig, plainLayer), imageOf(ociImage, ociConfig, gzipLayer, gzipLayer)
	in = Input{Documents: map[digest.Digest]Document{}, Present: map[digest.Digest]bool{}, Way: transforming(asItIs)}
	in.Choices.ImageListSelection = CopyAllImages
	entries := ""
	for _, doc := range [][]byte{before, image, after} {
		d := digest.FromBytes(doc)
		in.Documents[d] = Document{Bytes: doc}
		entries += fmt.Sprintf(`,{"mediaType":%q,"digest":%q,"size":%d}`, ociImage, d, len(doc))
	}
	in.Top.Bytes = fmt.Appendf(nil, `{"schemaVersion":2,"manifests":[%s]}`, entries[1:])
	return in, digest.FromBytes(image), []digest.Digest{digest.FromBytes(before), digest.FromBytes(after)}
}

// TestTransformOfAList goes through a copy in which one image of a list is transformed: its result
// is not known, then known, then at the destination.
func TestTransformOfAList(t *testing.T) {
	in, plain, compressed := transformInput()
	in.Present[plain] = true // which says nothing
	p, err := New(in)
	require.NoError(t, err)
	const why = "has uncompressed layers, which the destination wants compressed"
	assert.Equal(t, []Transform{{Digest: plain, Reason: why}}, p.Transforms())
	assert.Equal(t, compressed, p.Copies)
	assert.Equal(t, compressed, p.Stored())
	assert.Equal(t, []digest.Digest{compressed[0], plain, compressed[1]}, p.Wanted())
	assert.Empty(t, p.Digest)
	assert.Empty(t, p.List.Result)
	assert.Empty(t, p.Lists())
	assert.Equal(t, Native, p.Way)

	became := Document{MediaType: ociImage, Bytes: imageOf(ociImage, ociConfig, gzipLayer, gzipLayer, gzipLayer)}
	result := digest.FromBytes(became.Bytes)
	in.Transformed = map[TransformKey]Document{p.Transforms()[0].Key(): became}
	p, err = New(in)
	require.NoError(t, err)
	assert.Equal(t, &Became{result, int64(len(became.Bytes)), ociImage}, p.List.Instances[1].Became)
	assert.Len(t, p.Transforms(), 1, "it is not known to be there")
	assert.Equal(t, []digest.Digest{compressed[0], result, compressed[1]}, p.Stored())
	assert.Equal(t, []manifest.ListEdit{{
		ListOperation: manifest.ListOpUpdate, UpdateIndex: 1, UpdateDigest: result, UpdateSize: int64(len(became.Bytes)), UpdateMediaType: ociImage,
	}}, p.List.Edits)
	list, err := manifest.Parse(p.List.Written(), p.List.MediaType)
	require.NoError(t, err)
	assert.Equal(t, result, list.Instances()[1].Digest)
	assert.Equal(t, digest.FromBytes(p.List.Written()), p.Digest)

	in.Present[result] = true
	p, err = New(in)
	require.NoError(t, err)
	assert.Empty(t, p.Transforms())
	assert.True(t, p.List.Instances[1].Present)
	assert.Equal(t, compressed, p.Copies)
}

// TestTransformOfAnImage is about a source that is a single image.
func TestTransformOfAnImage(t *testing.T) {
	in := Input{Top: Document{Bytes: imageOf(ociImage, ociConfig, plainLayer)}, Way: transforming(asItIs)}
	d := digest.FromBytes(in.Top.Bytes)
	in.Present = map[digest.Digest]bool{d: true}
	p, err := New(in)
	require.NoError(t, err)
	assert.Len(t, p.Transforms(), 1)
	assert.Equal(t, []any{digest.Digest(""), false, []digest.Digest{}}, []any{p.Digest, p.Image.Present, p.Copies})

	became := imageOf(ociImage, ociConfig, gzipLayer)
	in.Transformed = map[TransformKey]Document{{Digest: d}: {Bytes: became}}
	in.Present[digest.FromBytes(became)] = true
	p, err = New(in)
	require.NoError(t, err)
	assert.Empty(t, p.Transforms())
	assert.Equal(t, digest.FromBytes(became), p.Digest)
	assert.True(t, p.Image.Present)
}
