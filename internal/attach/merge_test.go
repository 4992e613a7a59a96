package attach

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// TestMerge: the rules of digest tags, one by one.
func TestMerge(t *testing.T) {
	doc := func(mediaType, config string, layers ...string) endpoint.Document {
		m := imgspecv1.Manifest{MediaType: mediaType, Config: imgspecv1.Descriptor{MediaType: config, Digest: digest.FromString(fmt.Sprint(layers)), Size: 1}}
		m.SchemaVersion = 2
		for _, layer := range layers {
			m.Layers = append(m.Layers, imgspecv1.Descriptor{
				MediaType: "application/vnd.dev.cosign.simplesigning.v1+json", Digest: digest.FromString("payload"), Size: 7, Annotations: map[string]string{"dev.cosignproject.cosign/signature": layer},
			})
		}
		b, err := json.Marshal(m)
		require.NoError(t, err)
		return endpoint.Document{Digest: digest.FromBytes(b), MediaType: mediaType, Bytes: b}
	}
	const oci, config = imgspecv1.MediaTypeImageManifest, imgspecv1.MediaTypeImageConfig
	one, two, both := doc(oci, config, "1"), doc(oci, config, "2"), doc(oci, config, "1", "2")
	other := doc(oci, "application/vnd.example", "2")
	reversed := doc(oci, config, "2", "1")
	list := endpoint.Document{Digest: digest.FromString("[]"), MediaType: imgspecv1.MediaTypeImageIndex, Bytes: []byte(`{"schemaVersion":2,"manifests":[]}`)}
	for name, c := range map[string]struct {
		tag         string
		there, ours endpoint.Document
		want        endpoint.Document
		replaced    bool
	}{
		"nothing there":      {".sig", endpoint.Document{}, one, one, false},
		"the same":           {".sig", one, one, one, false},
		"fewer there":        {".sig", one, both, both, false},
		"more there":         {".sig", both, one, both, false},
		"equal, other order": {".att", reversed, both, both, false},
		"an SBOM":            {".sbom", both, one, one, true},
		"another config":     {".sig", other, one, one, true},
		"a list there":       {".sig", list, one, one, true},
		"a list here":        {".sig", one, list, list, true},
	} {
		m := Merge("sha256-0"+c.tag, c.there, c.ours)
		assert.Equal(t, Merged{Doc: c.want, Replaced: c.replaced}, m, name)
	}

	m := Merge("sha256-0.sig", one, two)
	assert.False(t, m.Replaced)
	l, ok := readLayers(m.Doc)
	require.True(t, ok)
	assert.Equal(t, digest.FromBytes(m.Config), l.image.Config.Digest)
	assert.Len(t, l.image.Layers, 2)
	assert.Equal(t, m.Doc.Digest, digest.FromBytes(m.Doc.Bytes))
	assert.Equal(t, Merged{Doc: m.Doc}, Merge("sha256-0.sig", m.Doc, one))
	assert.Equal(t, Merged{Doc: m.Doc}, Merge("sha256-0.sig", m.Doc, two))
	assert.Equal(t, m, Merge("sha256-0.sig", one, two), "the same every time")
	m = Merge("sha256-0.att", other, doc(oci, "application/vnd.example", "3"))
	assert.Nil(t, m.Config, "no image's config names layers")
	l, _ = readLayers(m.Doc)
	assert.Equal(t, "application/vnd.example", l.image.Config.MediaType)
	assert.Len(t, l.image.Layers, 2)
}
