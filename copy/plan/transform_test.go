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
		f.Layers = CompressLayers
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
	assert.Equal(t, map[digest.Digest]string{plain: why}, p.Transformed())
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

// TestRecalledImagesNeedNotBeRead: the plan is the same as with their manifests.
func TestRecalledImagesNeedNotBeRead(t *testing.T) {
	in, plain, compressed := transformInput()
	became := Document{MediaType: ociImage, Bytes: imageOf(ociImage, ociConfig, gzipLayer)}
	in.Transformed = map[TransformKey]Document{{Digest: plain}: became}
	in.Present[compressed[0]], in.Present[digest.FromBytes(became.Bytes)], in.Present[compressed[1]] = true, true, true
	read, err := New(in)
	require.NoError(t, err)

	in.Documents, in.Tree = nil, nil
	p, err := New(in)
	require.NoError(t, err)
	assert.Equal(t, []digest.Digest{plain}, p.Copies, "nobody has said that it is transformed")
	in.Recalled = map[digest.Digest]Recalled{plain: {MediaType: ociImage, Reason: read.List.Instances[1].Transform}}
	p, err = New(in)
	require.NoError(t, err)
	assert.Empty(t, p.Copies)
	assert.Empty(t, p.Transforms())
	assert.Equal(t, read.List.Instances, p.List.Instances)
	assert.Equal(t, read.Digest, p.Digest)

	in.Way.Signed = map[digest.Digest]bool{plain: true}
	p, err = New(in)
	require.NoError(t, err)
	assert.Equal(t, []digest.Digest{plain}, p.Copies, "what is signed stays as it is")

	in.Way.Signed = nil
	delete(in.Present, digest.FromBytes(became.Bytes))
	p, err = New(in)
	require.NoError(t, err)
	assert.Equal(t, []Transform{{Digest: plain, Reason: read.List.Instances[1].Transform}}, p.Transforms())
}

// TestTransformedEntryTypes: an entry says what an image has become if it has said what it was, or
// if that is something else.
func TestTransformedEntryTypes(t *testing.T) {
	for name, c := range map[string]struct {
		stated, became string
		want           string // in the list that is written
	}{
		"stated":                 {ociImage, ociImage, ociImage},
		"stated, and changes":    {ociImage, dockerImage, dockerImage},
		"not stated":             {"", ociImage, ""},
		"not stated, changes":    {"", dockerImage, dockerImage},
		"wrong":                  {dockerImage, ociImage, ociImage},
		"wrong, and right later": {dockerImage, dockerImage, dockerImage},
	} {
		t.Run(name, func(t *testing.T) {
			in, plain, _ := transformInput()
			in.Top.Bytes = fmt.Appendf(nil, `{"schemaVersion":2,"manifests":[{"mediaType":%q,"digest":%q,"size":10}]}`, c.stated, plain)
			if c.stated == "" {
				in.Top.Bytes = fmt.Appendf(nil, `{"schemaVersion":2,"manifests":[{"digest":%q,"size":10}]}`, plain)
			}
			in.Transformed = map[TransformKey]Document{{Digest: plain}: {Bytes: imageOf(c.became, ociConfig)}}
			p, err := New(in)
			require.NoError(t, err)
			list, err := manifest.Parse(p.List.Written(), p.List.MediaType)
			require.NoError(t, err)
			assert.Equal(t, c.want, list.Instances()[0].MediaType)

			in.Documents, in.Tree = nil, nil
			in.Recalled = map[digest.Digest]Recalled{plain: {MediaType: ociImage, Reason: p.List.Instances[0].Transform}}
			recalled, err := New(in)
			require.NoError(t, err)
			assert.Equal(t, string(p.List.Written()), string(recalled.List.Written()), "without its manifest")
		})
	}
}

// TestTransformOfAnAmbiguousList: what parsers read differently is not edited for its images, while
// entries may be stripped.
func TestTransformOfAnAmbiguousList(t *testing.T) {
	in, plain, compressed := transformInput()
	in.Top.Bytes = append([]byte(`{"annotations":{"a":"1","a":"2"},`), in.Top.Bytes[1:]...)
	_, err := New(in)
	var cannot *CannotModifyError
	require.ErrorAs(t, err, &cannot)
	assert.Contains(t, cannot.Reason, "parsers read it differently (annotations.a (byte 24): duplicate key), and images that it names change")

	in.Choices = Choices{ImageListSelection: CopySpecificImages, Instances: compressed, SparseManifestListAction: StripSparseManifestList}
	p, err := New(in)
	require.NoError(t, err)
	assert.NotContains(t, p.Stored(), plain)
}

// TestResultThatTheListNames: what an image becomes may be an entry that was not selected, which is
// not absent then.
func TestResultThatTheListNames(t *testing.T) {
	in, plain, compressed := transformInput()
	in.Choices = Choices{ImageListSelection: CopySpecificImages, Instances: []digest.Digest{plain}}
	assert.Equal(t, compressed, mustPlan(t, in).List.Absent)
	in.Transformed = map[TransformKey]Document{{Digest: plain}: in.Documents[compressed[0]]}
	assert.Equal(t, compressed[1:], mustPlan(t, in).List.Absent)
}

// TestDroppedWithChangedSubjects: a list that claims to be about an image is selected by what is in
// it, and a list that names blobs is copied as a whole.
func TestDroppedWithChangedSubjects(t *testing.T) {
	in, plain, _ := transformInput()
	const about = `"annotations":{"vnd.docker.reference.type":"attestation-manifest","vnd.docker.reference.digest":%q}`
	nested := in.Top.Bytes
	d := digest.FromBytes(nested)
	in.Documents[d] = Document{Bytes: nested}
	entries := fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":10},{"mediaType":%q,"digest":%q,"size":%d,%s}`,
		ociImage, plain, imgspecv1.MediaTypeImageIndex, d, len(nested), fmt.Sprintf(about, plain))
	in.Top.Bytes = fmt.Appendf(nil, `{"schemaVersion":2,"manifests":[%s]}`, entries)
	in.Choices.ChangedSubjects = DropChangedSubjects
	p := mustPlan(t, in)
	assert.Equal(t, Copy, p.List.Instances[1].Decision)
	assert.Len(t, p.Stored(), 2)

	attestation := fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":10,%s}`, ociImage, digest.FromString("attestation"), fmt.Sprintf(about, plain))
	blob := fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":10}`, gzipLayer, digest.FromString("layer"))
	in.Tree, in.Top.Bytes = nil, fmt.Appendf(nil, `{"schemaVersion":2,"manifests":[%s,%s,%s]}`, entries, attestation, blob)
	p = mustPlan(t, in)
	assert.True(t, p.List.Everything(), "%s", p)
}

// TestTransformOfAnAmbiguousImage: what parsers read differently is not written anew.
func TestTransformOfAnAmbiguousImage(t *testing.T) {
	odd := []byte(fmt.Sprintf(`{"x":{"a":1,"a":2},%s`, imageOf(ociImage, ociConfig, plainLayer)[1:]))
	in := Input{Top: Document{Bytes: odd}}
	_, err := New(in)
	require.NoError(t, err, "it is carried")
	upstreams := natively(func(f *WayFacts) { f.NativeSource = false })
	for _, in.Way = range []*WayFacts{transforming(asItIs), upstreams} {
		in.Choices.PreserveDigests = false
		_, err = New(in)
		var cannot *CannotModifyError
		require.ErrorAs(t, err, &cannot)
		assert.Equal(t, digest.FromBytes(odd), cannot.List)
		assert.Contains(t, cannot.Reason, "parsers read it differently (x.a (byte 12): duplicate key), and it cannot be left as it is: ")
		in.Choices.PreserveDigests = true
		_, err = New(in)
		require.NoError(t, err)
	}
}

// TestTransformOfSchema1: what becomes of Docker's first images is for upstream to decide.
func TestTransformOfSchema1(t *testing.T) {
	in := Input{Top: Document{Bytes: []byte(`{"schemaVersion":1,"fsLayers":[]}`)}, Way: transforming(asItIs)}
	p, err := New(in)
	require.NoError(t, err)
	assert.Equal(t, "is a Docker schema 1 image", p.Image.Transform)
	assert.Equal(t, 1, p.Unread, "its blobs are not counted")
}

// TestSignedSchema1WhereZstdIsMarked: what stays one of Docker's first images needs no zstd.
func TestSignedSchema1WhereZstdIsMarked(t *testing.T) {
	schema1 := Document{Bytes: []byte(`{"schemaVersion":1,"fsLayers":[]}`)}
	d := digest.FromBytes(schema1.Bytes)
	in := Input{
		Top:         Document{Bytes: fmt.Appendf(nil, `{"schemaVersion":2,"manifests":[{"mediaType":%q,"digest":%q,"size":10}]}`, manifest.MediaTypeDockerSchema1, d)},
		Documents:   map[digest.Digest]Document{d: schema1},
		Transformed: map[TransformKey]Document{{Digest: d}: schema1, {d, zstd}: schema1},
		Choices:     Choices{ImageListSelection: CopyAllImages},
	}
	in.Way = transforming(func(f *WayFacts) { f.CompressionFormat, f.Signed = zstd, map[digest.Digest]bool{d: true} })
	assert.Empty(t, mustPlan(t, in).List.Edits)

	in.Way = transforming(func(f *WayFacts) { f.Variants = []string{zstd} })
	assert.Empty(t, mustPlan(t, in).List.Variants)
}

// TestEncryptedLayers: layers that are encrypted already are not encrypted, and are decrypted where
// the image may change.
func TestEncryptedLayers(t *testing.T) {
	encrypted := imageOf(ociImage, ociConfig, gzipLayer+encryptedSuffix)
	encrypt := transforming(func(f *WayFacts) {
		f.Encrypts, f.EveryImage = true, []OptionUse{{"OciEncryptConfig", "encrypts layers"}}
	})
	decrypt := transforming(func(f *WayFacts) { f.Decrypts = true })
	for name, c := range map[string]struct {
		image []byte
		way   *WayFacts
		fixed bool
		want  []string // options in the error, nil if there is none
	}{
		"encrypt":            {imageOf(ociImage, ociConfig, gzipLayer), encrypt, false, nil},
		"encrypt, fixed":     {imageOf(ociImage, ociConfig, gzipLayer), encrypt, true, []string{"OciEncryptConfig", "PreserveDigests"}},
		"encrypted":          {encrypted, encrypt, false, nil},
		"encrypted, fixed":   {encrypted, encrypt, true, nil},
		"decrypt":            {encrypted, decrypt, false, nil},
		"decrypt, fixed":     {encrypted, decrypt, true, []string{"OciDecryptConfig", "PreserveDigests"}},
		"nothing to decrypt": {imageOf(ociImage, ociConfig, gzipLayer), decrypt, true, nil},
		"no layers":          {imageOf(ociImage, ociConfig), encrypt, true, nil},
		"Docker":             {imageOf(dockerImage, ociConfig, manifest.MediaTypeDockerLayerGzip), encrypt, false, nil},
		"elsewhere":          {imageOf(ociImage, ociConfig, "@x/y"), transforming(func(f *WayFacts) { f.Encrypts, f.ForeignStay = true, true }), true, nil},
		"something else":     {imageOf(ociImage, ociConfig, "x/y"), encrypt, false, []string{"OciEncryptConfig"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(Input{Top: Document{Bytes: c.image}, Way: c.way, Choices: Choices{PreserveDigests: c.fixed}})
			if c.want == nil {
				require.NoError(t, err)
				return
			}
			var invalid *OptionsError
			require.ErrorAs(t, err, &invalid)
			assert.Equal(t, c.want, invalid.Options)
		})
	}
}

// TestTransformOfWhatIsFixed: what must not change, and upstream has to look at, has to come out as
// it was.
func TestTransformOfWhatIsFixed(t *testing.T) {
	in := Input{Top: Document{Bytes: []byte(`{"schemaVersion":1,"fsLayers":[]}`)}, Way: transforming(asItIs), Choices: Choices{PreserveDigests: true}}
	d := digest.FromBytes(in.Top.Bytes)
	in.Transformed = map[TransformKey]Document{{Digest: d}: in.Top}
	p, err := New(in)
	require.NoError(t, err)
	assert.Equal(t, d, p.Digest)

	in.Transformed = map[TransformKey]Document{{Digest: d}: {Bytes: imageOf(ociImage, ociConfig)}}
	_, err = New(in)
	var cannot *CannotModifyError
	require.ErrorAs(t, err, &cannot)
	assert.Equal(t, "it is a Docker schema 1 image, and has become "+digest.FromBytes(imageOf(ociImage, ociConfig)).String(), cannot.Reason)
}

// TestTransformWarnings: what is written anew is not left as it is.
func TestTransformWarnings(t *testing.T) {
	odd := []byte(fmt.Sprintf(`{"x":{"A":1,"a":2},%s`, imageOf(ociImage, ociConfig, plainLayer)[1:]))
	in := Input{Top: Document{Bytes: odd}}
	p, err := New(in)
	require.NoError(t, err)
	assert.Len(t, p.Warnings, 1)
	in.Way = transforming(asItIs)
	p, err = New(in)
	require.NoError(t, err)
	assert.Empty(t, p.Warnings)
	assert.Equal(t, 2, p.Blobs)
}

// TestEncryptedPositions says which layers are encrypted, and which images stay behind in lists,
// because none of what is asked for can be done to them.
func TestEncryptedPositions(t *testing.T) {
	const other, elsewhere = "x/y", "@x/y"
	for name, c := range map[string]struct {
		layers    []string
		positions []int
		want      []int // positions of the layers that are encrypted
		resists   bool
	}{
		"all":                      {[]string{gzipLayer, plainLayer}, nil, []int{0, 1}, false},
		"the first":                {[]string{gzipLayer, plainLayer}, []int{0}, []int{0}, false},
		"the second":               {[]string{gzipLayer, plainLayer}, []int{1}, []int{1}, false},
		"the last":                 {[]string{gzipLayer, plainLayer}, []int{-1}, []int{1}, false},
		"from the end":             {[]string{gzipLayer, plainLayer}, []int{-2}, []int{0}, false},
		"too few layers":           {[]string{gzipLayer, plainLayer}, []int{2}, nil, false}, // upstream says so
		"too few from the end":     {[]string{gzipLayer}, []int{-2}, nil, false},
		"one that cannot be":       {[]string{gzipLayer, other}, nil, []int{0, 1}, true},
		"the one that can be":      {[]string{gzipLayer, other}, []int{0}, []int{0}, false},
		"the one that cannot be":   {[]string{gzipLayer, other}, []int{1}, []int{1}, true},
		"too few that cannot be":   {[]string{other}, []int{1}, nil, true},
		"too few of them, negated": {[]string{other}, []int{-2}, nil, true},
		"elsewhere":                {[]string{elsewhere}, nil, nil, false},
		"elsewhere, the first":     {[]string{elsewhere}, []int{0}, nil, false},
		"elsewhere, the last":      {[]string{elsewhere}, []int{-1}, nil, false},
		"elsewhere, too few":       {[]string{elsewhere}, []int{1}, nil, true},
		"none":                     {nil, nil, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			in := Input{Top: Document{Bytes: imageOf(ociImage, ociConfig, c.layers...)}, Way: transforming(func(f *WayFacts) {
				f.Encrypts, f.EncryptLayers, f.ForeignStay = true, c.positions, true
			})}
			in.Digest = digest.FromBytes(in.Top.Bytes)
			require.NoError(t, in.Parse())
			image, err := in.Tree.Image(in.Digest)
			require.NoError(t, err)
			var want []manifest.Descriptor
			for _, i := range c.want {
				want = append(want, image.Layers[i])
			}
			assert.Equal(t, want, toEncrypt(in.Way, image))
			assert.Equal(t, c.resists, resists(&in, in.Digest))
		})
	}
}

// TestSuits says which layers have a format that is asked for.
func TestSuits(t *testing.T) {
	chunked := manifest.Descriptor{Annotations: map[string]string{chunkedAnnotation: "sha256:0"}}
	for name, c := range map[string]struct {
		layer             manifest.Descriptor
		algorithm, format string
		want              bool
	}{
		"nothing asked for":   {manifest.Descriptor{}, gzip, "", true},
		"the same":            {manifest.Descriptor{}, zstd, zstd, true},
		"another":             {manifest.Descriptor{}, gzip, zstd, false},
		"chunked is zstd":     {chunked, zstd, zstd, true},
		"zstd is not chunked": {manifest.Descriptor{}, zstd, zstdChunked, false},
		"chunked":             {chunked, zstd, zstdChunked, true},
		"not even zstd":       {chunked, gzip, zstdChunked, false},
	} {
		assert.Equal(t, c.want, suits(c.layer, c.algorithm, c.format), name)
	}
}
