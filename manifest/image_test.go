package manifest_test

import (
	"testing"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/manifest"
)

func TestParseImage(t *testing.T) {
	doc := []byte(expand.Replace(`{"schemaVersion":2,"mediaType":"` + manifest.MediaTypeDockerManifest + `",
		"config":{"mediaType":"c","digest":"$A","size":7},
		"layers":[{"mediaType":"l","digest":"$B","size":8,"urls":["https://example.com/b"]},{"digest":"$B","size":8,"annotations":{"k":"v"}}],
		"x":[1.0]}`))
	want := &manifest.Image{
		MediaType: manifest.MediaTypeDockerManifest,
		Config:    manifest.Descriptor{MediaType: "c", Digest: named("a"), Size: 7},
		Layers: []manifest.Descriptor{
			{MediaType: "l", Digest: named("b"), Size: 8, URLs: []string{"https://example.com/b"}},
			{Digest: named("b"), Size: 8, Annotations: map[string]string{"k": "v"}},
		},
	}
	for _, mediaType := range []string{"", manifest.MediaTypeDockerManifest} {
		image, err := manifest.ParseImage(doc, mediaType)
		require.NoError(t, err)
		assert.Equal(t, want, image)
	}
}

func TestParseImageOfOCI(t *testing.T) {
	doc := expand.Replace(`{"schemaVersion":2,"artifactType":"x","annotations":{"k":"v"},"subject":{"digest":"$B","size":3},
		"config":{"mediaType":"c","digest":"$A","size":2,"data":"e30="},"layers":null}`)
	for _, mediaType := range []string{"", ociManifest} {
		image, err := manifest.ParseImage([]byte(doc), mediaType)
		require.NoError(t, err)
		assert.Equal(t, &manifest.Image{
			MediaType:    imgspecv1.MediaTypeImageManifest,
			ArtifactType: "x",
			Subject:      named("b"),
			Config:       manifest.Descriptor{MediaType: "c", Digest: named("a"), Size: 2},
			Annotations:  map[string]string{"k": "v"},
		}, image)
	}
}

func TestRemarksOnImages(t *testing.T) {
	const config = `"config":{"digest":"$A","size":1}`
	for _, tc := range []struct {
		name      string
		doc       string
		mediaType string
		want      []manifest.Remark
	}{
		{"no layers", `{"schemaVersion":2,` + config + `}`, "", []manifest.Remark{{Reason: "no layers", Kind: manifest.Irregular}}},
		{"layers null", `{"schemaVersion":2,` + config + `,"layers":null}`, "", nil},
		{"Docker without mediaType", `{"schemaVersion":2,` + config + `,"layers":[]}`, manifest.MediaTypeDockerManifest,
			[]manifest.Remark{{Reason: "no mediaType, which Docker's format requires", Kind: manifest.Irregular}}},
		{"no schemaVersion", `{` + config + `,"layers":[]}`, "", []manifest.Remark{{Reason: "no schemaVersion", Kind: manifest.Irregular}}},
		{"annotation null", `{"annotations":{"a":null},"schemaVersion":2,` + config + `,"layers":[]}`, "",
			[]manifest.Remark{{Path: "annotations.a", Offset: 20, Reason: "null for a string", Kind: manifest.Irregular}}},
		{"duplicate annotation of a layer", `{"layers":[{"annotations":{"a":"1","a":"2"},"digest":"$B","size":1}],"schemaVersion":2,` + config + `}`, "",
			[]manifest.Remark{{Path: "layers[0].annotations.a", Offset: 35, Reason: "duplicate key", Kind: manifest.Duplicate}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			image, err := manifest.ParseImage([]byte(expand.Replace(tc.doc)), tc.mediaType)
			require.NoError(t, err)
			assert.Equal(t, tc.want, image.Remarks)
			if tc.mediaType != "" {
				assert.Equal(t, tc.mediaType, image.MediaType)
			}
		})
	}
}

func TestParseImageRefuses(t *testing.T) {
	const config = `"config":{"digest":"$A","size":1}`
	for _, tc := range []struct {
		name      string
		doc       string // § marks the byte that the error names
		mediaType string
		path      string
		reason    string
		schema1   bool
	}{
		{"config a path", `{"config":{"digest":§"../../x","size":1}}`, "", "config.digest",
			`invalid digest "../../x": invalid checksum digest format`, false},
		{"config null", `{"config":§null}`, "", "config", "'n' where an object is expected", false},
		{"no config", `§{"schemaVersion":2,"layers":[]}`, "", "", "no config", false},
		{"layers object", `{"layers":§{}}`, "", "layers", "'{' where an array is expected", false},
		{"layer null", `{"layers":[§null]}`, "", "layers[0]", "'n' where an object is expected", false},
		{"layer digest", `{"layers":[{"digest":"$A","size":0},{"digest":§"sha256:x","size":1}]}`, "", "layers[1].digest",
			`invalid digest "sha256:x": invalid checksum digest length`, false},
		{"layer size", `{"layers":[{"size":§-1}]}`, "", "layers[0].size", `negative number "-1"`, false},
		{"layer without size", `{"layers":[§{"digest":"$A"}]}`, "", "layers[0]", `no size`, false},
		{"duplicate key", `{"layers":[],§"layers":[]}`, "", "layers", "duplicate key", false},
		{"case of layers", `{§"Layers":[]}`, "", "Layers", `key differs from "layers" in case only`, false},
		{"case in layer", `{"layers":[{§"Urls":[]}]}`, "", "layers[0].Urls", `key differs from "urls" in case only`, false},
		{"manifests", `{"schemaVersion":2,` + config + `,"layers":[],§"manifests":[]}`, "", "manifests", "does not belong in an image manifest", false},
		{"list", `{"schemaVersion":2,"mediaType":§"OCI","manifests":[]}`, "", "mediaType", `"` + ociIndex + `" is not the media type of an image manifest`, false},
		{"declared a list", `§{}`, ociIndex, "", `media type "` + ociIndex + `" is not that of an image manifest`, false},
		{"schema 1", `{"schemaVersion":§1,"name":"x","tag":"y","architecture":"amd64","fsLayers":[{"blobSum":"$A"}],"history":[],"signatures":[]}`, "",
			"schemaVersion", `schemaVersion "1" is not 2`, true},
		{"schema 1 by an OCI name", `{"fsLayers":[],"schemaVersion":§1}`, ociManifest, "schemaVersion", `schemaVersion "1" is not 2`, true},
		{"declared schema 1", `§{}`, manifest.MediaTypeDockerSchema1, "",
			`media type "` + manifest.MediaTypeDockerSchema1 + `" is not that of an image manifest`, true},
		{"declared schema 1, signed", `§{}`, manifest.MediaTypeDockerSchema1Signed, "",
			`media type "` + manifest.MediaTypeDockerSchema1Signed + `" is not that of an image manifest`, true},
		{"schemaVersion 3", `{"schemaVersion":§3}`, "", "schemaVersion", `schemaVersion "3" is not 2`, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			doc, offset := cutMark(expand.Replace(tc.doc))
			image, err := manifest.ParseImage([]byte(doc), tc.mediaType)
			assert.Nil(t, image)
			var parseErr *manifest.ParseError
			require.ErrorAs(t, err, &parseErr)
			assert.Equal(t, tc.path, parseErr.Path)
			assert.Equal(t, tc.reason, parseErr.Reason)
			assert.Equal(t, offset, parseErr.Offset)
			if tc.schema1 {
				assert.ErrorIs(t, err, manifest.ErrSchema1)
			} else {
				assert.NotErrorIs(t, err, manifest.ErrSchema1)
			}
		})
	}
}

// What is no image says so in the media type of its config, whatever else it says.
func TestIsArtifact(t *testing.T) {
	const oci, docker = imgspecv1.MediaTypeImageManifest, manifest.MediaTypeDockerManifest
	for _, tt := range []struct {
		name, mediaType, config, artifactType string
		want                                  bool
	}{
		{"an image", oci, imgspecv1.MediaTypeImageConfig, "", false},
		{"an image in Docker's format", docker, manifest.MediaTypeDockerConfig, "", false},
		{"an image with Docker's config", oci, manifest.MediaTypeDockerConfig, "", false},
		{"an image by go-containerregistry", oci, imgspecv1.MediaTypeImageConfig, imgspecv1.MediaTypeImageConfig, false},
		{"an image with an artifact type", oci, imgspecv1.MediaTypeImageConfig, "application/vnd.example", false},
		{"an image of an old registry", docker, "application/octet-stream", "", false},
		{"an image of an old client", docker, "text/html", "", false},
		{"an image of an old proxy", docker, "application/json", "", false},
		{"a config without a type", docker, "", "", false},

		{"a chart", oci, "application/vnd.cncf.helm.config.v1+json", "", true},
		{"an empty config", oci, imgspecv1.MediaTypeEmptyJSON, "application/vnd.example", true},
		{"a plugin of Docker", docker, "application/vnd.docker.plugin.v1+json", "", true},
		{"a config of no particular type", oci, "application/octet-stream", "", true},
		{"parameters are no part of a type here", oci, imgspecv1.MediaTypeImageConfig + "; a=b", "", true},
	} {
		m := manifest.Image{MediaType: tt.mediaType, ArtifactType: tt.artifactType, Config: manifest.Descriptor{MediaType: tt.config}}
		assert.Equal(t, tt.want, m.IsArtifact(), tt.name)
	}
}
