package manifest_test

import (
	"encoding/json"
	"math/rand/v2"
	"testing"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// FuzzParse demands that what Parse accepts means the same to encoding/json, and comes back
// unchanged.
func FuzzParse(f *testing.F) {
	for _, file := range listFiles(f) {
		f.Add(readFile(f, file))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		list, err := manifest.Parse(doc, "")
		if err != nil {
			var parseErr *manifest.ParseError
			require.ErrorAs(t, err, &parseErr)
			assert.LessOrEqual(t, parseErr.Offset, len(doc))
			assert.GreaterOrEqual(t, parseErr.Offset, 0)
			return
		}
		assert.Equal(t, string(doc), string(serialize(t, list)))

		var index imgspecv1.Index
		require.NoError(t, json.Unmarshal(doc, &index))
		assert.Contains(t, []int{0, 2}, index.SchemaVersion)
		assert.Equal(t, list.MediaType(), manifest.TypeOf(doc, ""))
		if index.MediaType != "" {
			assert.Equal(t, index.MediaType, list.MediaType())
		}
		if list.MediaType() == ociIndex {
			assert.Equal(t, index.ArtifactType, list.ArtifactType())
			if index.Subject != nil {
				assert.Equal(t, index.Subject.Digest, list.Subject())
			}
		}
		instances := list.Instances()
		require.Len(t, instances, len(index.Manifests))
		for i, m := range index.Manifests {
			require.NoError(t, instances[i].Digest.Validate())
			require.GreaterOrEqual(t, instances[i].Size, int64(0))
			assert.Equal(t, manifest.Instance{
				Index: i, Digest: m.Digest, Size: m.Size, MediaType: m.MediaType, ArtifactType: m.ArtifactType,
				Platform: m.Platform, Annotations: m.Annotations, URLs: m.URLs,
			}, instances[i])
		}
	})
}

// FuzzEditInstances applies random edits to whatever Parse accepts. As they are valid, the result
// is what the model says.
func FuzzEditInstances(f *testing.F) {
	for i, file := range listFiles(f) {
		f.Add(readFile(f, file), uint64(i))
	}
	f.Fuzz(func(t *testing.T, doc []byte, seed uint64) {
		original, err := manifest.Parse(doc, "")
		if err != nil {
			return
		}
		before := original.Instances()
		list := original.Clone()
		edits := randomEdits(rand.New(rand.NewPCG(seed, 0)), len(before), list.MediaType())
		require.NoError(t, list.EditInstances(edits))
		checkEdited(t, doc, list, edits)
		checkInSteps(t, doc, list, edits)
		checkAddThenDelete(t, list)
		assert.Equal(t, string(doc), string(serialize(t, original)))
		assert.Equal(t, before, original.Instances())
	})
}

// FuzzParseImage demands that what ParseImage accepts means the same to encoding/json.
func FuzzParseImage(f *testing.F) {
	for _, doc := range imageSeeds {
		f.Add([]byte(expand.Replace(doc)))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		image, err := manifest.ParseImage(doc, "")
		if err != nil {
			return
		}
		assert.Equal(t, image.MediaType, manifest.TypeOf(doc, image.MediaType))
		var want imgspecv1.Manifest
		require.NoError(t, json.Unmarshal(doc, &want))
		if want.MediaType != "" {
			assert.Equal(t, want.MediaType, image.MediaType)
		}
		assert.Equal(t, want.ArtifactType, image.ArtifactType)
		assert.Equal(t, want.Annotations, image.Annotations)
		if want.Subject != nil {
			assert.Equal(t, want.Subject.Digest, image.Subject)
		}
		assert.Equal(t, descriptor(want.Config), image.Config)
		require.Len(t, image.Layers, len(want.Layers))
		for i, l := range want.Layers {
			require.NoError(t, image.Layers[i].Digest.Validate())
			assert.Equal(t, descriptor(l), image.Layers[i])
		}
	})
}

// descriptor is d as ParseImage returns it.
func descriptor(d imgspecv1.Descriptor) manifest.Descriptor {
	return manifest.Descriptor{
		MediaType: d.MediaType, Digest: d.Digest, Size: d.Size, URLs: d.URLs, Annotations: d.Annotations,
		ArtifactType: d.ArtifactType, Platform: d.Platform,
	}
}

var imageSeeds = []string{
	`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
	  "config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"$A","size":7},
	  "layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"$B","size":8},{"digest":"$B","size":8,"annotations":{"k":"v"}}],
	  "annotations":{"k":"v"},"subject":{"digest":"$B","size":3},"artifactType":"x"}`,
	`{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json",
	  "config":{"mediaType":"application/vnd.docker.container.image.v1+json","digest":"$A","size":7},
	  "layers":[{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","digest":"$B","size":8,"urls":["u"]}]}`,
	`{"schemaVersion":2,"config":{"digest":"$A","size":2,"data":"e30=","platform":{"os":"linux"}},"layers":null}`,
	`{"schemaVersion":1,"name":"x","tag":"y","fsLayers":[],"history":[],"signatures":[]}`,
}
