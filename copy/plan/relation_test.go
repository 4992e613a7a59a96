package plan

import (
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
)

// TestToRead asks for the manifests of entries that may be attestations only if it depends on them
// what is selected, and for each once.
func TestToRead(t *testing.T) {
	f := imagetest.New()
	f.Image("amd64", imagetest.Platform("linux/amd64"))
	f.Attestation("bare", "amd64", imagetest.Subject("amd64"))
	f.Attestation("annotated", "amd64")
	f.List("inner", imagetest.Entries("amd64"))
	bare := imagetest.Entry("bare", imagetest.NoAnnotations())
	f.List(imagetest.Top, bare, imagetest.Entries("inner", "amd64", "annotated"), bare)
	top, mediaType := f.Document(imagetest.Top)
	tree, err := ParseTree(Document{MediaType: mediaType, Bytes: top}, f.Digest(imagetest.Top), nil)
	require.NoError(t, err)
	filter := platforms("linux/amd64")
	for _, c := range []struct {
		choices Choices
		asks    bool
	}{
		{Choices{}, false},
		{Choices{ImageListSelection: CopyAllImages}, false},
		{Choices{ImageListSelection: CopyAllImages, Attestations: KeepAllAttestations}, false},
		{Choices{ImageListSelection: CopyAllImages, Attestations: FollowSubject}, true},
		{Choices{ImageListSelection: CopyAllImages, Attestations: DropAttestations}, true},
		{Choices{ImageListSelection: CopyAllImages, RequiredPlatforms: filter}, true},
		{Choices{ImageListSelection: CopyAllImages, MissingInstances: SkipMissing}, true},
		{Choices{ImageListSelection: CopySpecificImages}, false},
		{Choices{ImageListSelection: CopySpecificImages, Instances: f.Digests("amd64"), RequiredPlatforms: filter}, true},
		{Choices{ImageListSelection: CopySpecificImages, Instances: f.Digests("amd64")}, false},
		{Choices{ImageListSelection: CopySpecificImages, InstanceIndexes: []int{0}}, false},
		{Choices{ImageListSelection: CopySpecificImages, Instances: f.Digests("amd64"), Attestations: FollowSubject}, true},
		{Choices{ImageListSelection: CopySpecificImages, Instances: f.Digests("amd64"), Attestations: KeepAllAttestations}, true},
		{Choices{ImageListSelection: CopySpecificImages, InstancePlatforms: filter}, true},
		{Choices{ImageListSelection: CopySpecificImages, OptionalPlatforms: filter}, true},
	} {
		want := f.Digests("inner")
		if c.asks {
			want = f.Digests("inner", "bare")
		}
		assert.Equal(t, want, tree.ToRead(&c.choices), "%+v", c.choices)
	}

	image, mediaType := f.Document("bare")
	read, err := tree.With(map[digest.Digest]Document{f.Digest("bare"): {MediaType: mediaType, Bytes: image}})
	require.NoError(t, err)
	assert.Equal(t, f.Digests("inner"), read.ToRead(&Choices{ImageListSelection: CopySpecificImages, InstancePlatforms: filter}))

	image, mediaType = f.Document("amd64")
	single, err := ParseTree(Document{MediaType: mediaType, Bytes: image}, f.Digest("amd64"), nil)
	require.NoError(t, err)
	assert.Empty(t, single.ToRead(&Choices{ImageListSelection: CopySpecificImages, InstancePlatforms: filter}))
}
