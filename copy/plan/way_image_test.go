package plan

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

const (
	ociImage    = imgspecv1.MediaTypeImageManifest
	ociConfig   = imgspecv1.MediaTypeImageConfig
	dockerImage = manifest.MediaTypeDockerManifest
)

// imageOf is a manifest with layers of the given media types. A type that begins with "@" is that
// of a layer with URLs.
func imageOf(mediaType, config string, layers ...string) []byte {
	texts := make([]string, len(layers))
	for i, layer := range layers {
		layer, elsewhere := strings.CutPrefix(layer, "@")
		urls := ""
		if elsewhere {
			urls = `,"urls":["https://example.com/layer"]`
		}
		texts[i] = fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":10%s}`, layer, digest.FromString(fmt.Sprint(layer, i)), urls)
	}
	return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":2},"layers":[%s]}`,
		mediaType, config, digest.FromString("{}"), strings.Join(texts, ","))
}

// natively has ends that are read and written natively.
func natively(change func(*WayFacts)) *WayFacts {
	f := &WayFacts{NativeSource: true, NativeDestination: true, Source: "docker", Destination: "docker"}
	change(f)
	return f
}

// TestTransformReasons says of images why they are transformed.
func TestTransformReasons(t *testing.T) {
	const (
		plain, gz, zst = imgspecv1.MediaTypeImageLayer, imgspecv1.MediaTypeImageLayerGzip, imgspecv1.MediaTypeImageLayerZstd
		dockerConfig   = manifest.MediaTypeDockerConfig
		elsewhere      = "has layers that are elsewhere, which the destination wants"
		uncompressed   = "has uncompressed layers, which the destination wants compressed"
	)
	nothing := func(*WayFacts) {}
	compress := func(f *WayFacts) { f.Layers = CompressLayers }
	decompress := func(f *WayFacts) { f.Layers = DecompressLayers }
	format := func(name string) func(*WayFacts) {
		return func(f *WayFacts) { f.Layers, f.CompressionFormat = CompressLayers, name }
	}
	for name, c := range map[string]struct {
		image  []byte
		facts  func(*WayFacts)
		change func(*Input)
		want   string // "" if it is carried
	}{
		"as it is":                    {imageOf(ociImage, ociConfig, plain, gz, zst), nothing, nil, ""},
		"compress":                    {imageOf(ociImage, ociConfig, gz, plain), compress, nil, uncompressed},
		"compressed":                  {imageOf(ociImage, ociConfig, gz, zst), compress, nil, ""},
		"Docker, compress":            {imageOf(dockerImage, dockerConfig, manifest.MediaTypeDockerLayer), compress, nil, uncompressed},
		"Docker, compressed":          {imageOf(dockerImage, dockerConfig, manifest.MediaTypeDockerLayerGzip), compress, nil, ""},
		"artifact":                    {imageOf(ociImage, "x/y", plain), compress, nil, ""},
		"layers of an unknown type":   {imageOf(ociImage, ociConfig, "x/y"), compress, nil, ""},
		"compress what must not":      {imageOf(ociImage, ociConfig, plain), compress, func(in *Input) { in.Choices.PreserveDigests = true }, ""},
		"compress for a digest":       {imageOf(ociImage, ociConfig, plain), compress, func(in *Input) { in.DestinationDigest = in.Digest }, ""},
		"compress what is signed":     {imageOf(ociImage, ociConfig, plain), compress, func(in *Input) { in.Way.Signed = map[digest.Digest]bool{in.Digest: true} }, ""},
		"decompress":                  {imageOf(ociImage, ociConfig, plain, gz), decompress, nil, "has compressed layers, which DestinationCtx.DirForceDecompress decompresses"},
		"decompressed":                {imageOf(ociImage, ociConfig, plain), decompress, nil, ""},
		"to zstd":                     {imageOf(ociImage, ociConfig, gz), format("zstd"), nil, "has gzip layers, which DestinationCtx.CompressionFormat wants to be zstd"},
		"zstd already":                {imageOf(ociImage, ociConfig, zst), format("zstd"), nil, ""},
		"to gzip":                     {imageOf(ociImage, ociConfig, zst), format("gzip"), nil, "has zstd layers, which DestinationCtx.CompressionFormat wants to be gzip"},
		"Docker to gzip":              {imageOf(dockerImage, dockerConfig, manifest.MediaTypeDockerLayerGzip), format("gzip"), nil, ""},
		"Docker to zstd":              {imageOf(dockerImage, dockerConfig), format("zstd"), nil, "has to be converted: " + dockerImage + " does not state zstd, which DestinationCtx.CompressionFormat wants"},
		"Docker to zstd, must not":    {imageOf(dockerImage, dockerConfig), format("zstd"), func(in *Input) { in.Choices.PreserveDigests = true }, ""},
		"to zstd:chunked":             {imageOf(ociImage, ociConfig, zst), format("zstd:chunked"), nil, "has zstd layers, which DestinationCtx.CompressionFormat wants to be zstd:chunked"},
		"elsewhere":                   {imageOf(ociImage, ociConfig, "@"+gz), nothing, nil, elsewhere},
		"elsewhere, and stays there":  {imageOf(ociImage, ociConfig, "@"+plain), func(f *WayFacts) { f.ForeignStay, f.Layers = true, CompressLayers }, nil, ""},
		"elsewhere, to be downloaded": {imageOf(ociImage, ociConfig, "@"+gz), func(f *WayFacts) { f.ForeignStay, f.DownloadsForeign = true, true }, nil, "has layers that are elsewhere, which DownloadForeignLayers wants"},
		"nothing to download":         {imageOf(ociImage, ociConfig, gz), func(f *WayFacts) { f.DownloadsForeign = true }, nil, ""},
		"encrypted":                   {imageOf(ociImage, ociConfig, gz+"+encrypted"), func(f *WayFacts) { f.Decrypts = true }, nil, "has encrypted layers, which OciDecryptConfig decrypts"},
		"encrypted, and stays so":     {imageOf(ociImage, ociConfig, gz+"+encrypted"), compress, nil, ""},
		"nothing to decrypt":          {imageOf(ociImage, ociConfig, gz), func(f *WayFacts) { f.Decrypts = true }, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			in := Input{Top: Document{Bytes: c.image}, Digest: digest.FromBytes(c.image), Way: natively(c.facts)}
			if c.change != nil {
				c.change(&in)
			}
			p, err := New(in)
			require.NoError(t, err)
			assert.Equal(t, Native, p.Way, p.WayReason)
			assert.Equal(t, c.want, p.Image.Transform)
			if c.want == "" {
				assert.Equal(t, in.Digest, p.Digest)
			} else {
				assert.Empty(t, p.Digest)
			}
		})
	}
}

// TestWayOfTheEnds: upstream gets the whole copy if an end or an option is for it alone.
func TestWayOfTheEnds(t *testing.T) {
	source := natively(func(f *WayFacts) { f.NativeSource, f.Source = false, "dir" })
	for name, c := range map[string]struct {
		facts *WayFacts
		want  string // "" if it is done natively
	}{
		"natively": {natively(func(*WayFacts) {}), ""},
		"an option": {natively(func(f *WayFacts) {
			f.UpstreamOnly = []OptionUse{{"DestinationTimestamp", "dates what is created"}, {"X", "x"}}
		}), "DestinationTimestamp dates what is created"},
		"the source":      {source, "the source transport dir is not read natively"},
		"the destination": {natively(func(f *WayFacts) { f.NativeDestination, f.Destination = false, "ostree" }), "the destination transport ostree is not written natively"},
		"every image":     {natively(func(f *WayFacts) { f.EveryImage = []OptionUse{{"X", "x"}} }), ""},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := New(Input{Top: Document{Bytes: imageOf(ociImage, ociConfig)}, Way: c.facts})
			require.NoError(t, err)
			assert.Equal(t, c.want, p.WayReason)
			assert.Equal(t, c.want != "", p.Way == Upstream)
			assert.Equal(t, c.want != "", CertainWay(c.facts) == Upstream)
		})
	}
	_, err := New(Input{Top: Document{Bytes: imageOf(ociImage, ociConfig)}, Way: source, Choices: Choices{DigestTags: true}})
	assert.EqualError(t, err, "invalid options: DigestTags: what is attached is not known to upstream's copy: the source transport dir is not read natively")
}

func TestMayChangeImages(t *testing.T) {
	for name, c := range map[string]struct {
		facts   WayFacts
		choices Choices
		want    bool
	}{
		"no":               {WayFacts{Layers: CompressLayers}, Choices{}, false},
		"other layers":     {WayFacts{Layers: DecompressLayers}, Choices{}, true},
		"a forced type":    {WayFacts{Layers: CompressLayers}, Choices{ForceManifestMIMEType: "x"}, true},
		"every image":      {WayFacts{Layers: CompressLayers, EveryImage: []OptionUse{{"X", "x"}}}, Choices{}, true},
		"a format":         {WayFacts{Layers: CompressLayers, CompressionFormat: "zstd"}, Choices{}, true},
		"to be decrypted":  {WayFacts{Layers: CompressLayers, Decrypts: true}, Choices{}, true},
		"to be downloaded": {WayFacts{Layers: CompressLayers, DownloadsForeign: true}, Choices{}, true},
	} {
		assert.Equal(t, c.want, c.facts.MayChangeImages(&c.choices, CompressLayers), name)
	}
}
