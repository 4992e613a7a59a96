package others

import (
	"strings"
	"testing"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// odd are documents as they occur in the field. All servers take them, but for those of
// distribution where it is strict.
var odd = []struct {
	name    string
	fixture func() *imagetest.Fixture
	source  registrytest.Options
	refused string // by distribution, in these words; "" if it takes it
}{
	{name: "an index declared as a Docker list", fixture: plain(), source: declaring(imgspecv1.MediaTypeImageIndex, manifest.MediaTypeDockerList)},
	{name: "images declared as schema 1", fixture: plain(imagetest.Docker()), source: declaring(manifest.MediaTypeDockerManifest, manifest.MediaTypeDockerSchema1Signed)},
	{name: "no mediaType", fixture: plain(imagetest.NoMediaType())},
	{name: "null for a variant", fixture: replaced(`"os":"linux"`, `"os":"linux","variant":null`)},
	{name: "null for an annotation", fixture: replaced(`"schemaVersion":2`, `"schemaVersion":2,"annotations":{"a":null}`)},
	{name: "an annotation twice", fixture: replaced(`"schemaVersion":2`, `"schemaVersion":2,"annotations":{"a":"1","a":"2"}`)},
	{name: "no layers", fixture: replaced(`,"layers":[]`, ``)},
	{name: "an empty list", fixture: func() *imagetest.Fixture {
		f := imagetest.New()
		f.Raw(imagetest.Top, imgspecv1.MediaTypeImageIndex, []byte(`{"schemaVersion":2,"mediaType":"`+imgspecv1.MediaTypeImageIndex+`","manifests":null}`))
		return f
	}},
	{name: "no schemaVersion", fixture: replaced(`"schemaVersion":2,`, ``), refused: "unrecognized manifest schema version 0"},
	{name: "Docker without mediaType", fixture: plain(imagetest.Docker(), imagetest.NoMediaType()), refused: "MANIFEST_INVALID"},
}

func plain(form ...imagetest.Option) func() *imagetest.Fixture {
	return func() *imagetest.Fixture { return fixture(form...) }
}

func declaring(is, as string) registrytest.Options {
	return registrytest.Options{DeclareAs: map[string]string{is: as}}
}

// replaced is a list of images with another text in each document that has the old one.
func replaced(old, by string) func() *imagetest.Fixture {
	return func() *imagetest.Fixture {
		change := imagetest.Reformat(func(doc []byte) []byte { return []byte(strings.Replace(string(doc), old, by, 1)) })
		f := imagetest.New()
		for _, arch := range list {
			f.Image(arch, imagetest.Platform("linux/"+arch), imagetest.Layers(), change)
		}
		f.List(imagetest.Top, imagetest.Entries(list...), change)
		return f
	}
}

// TestOddDocuments copies odd documents to all servers: byte for byte, and declared as what they
// are, or not at all.
func TestOddDocuments(t *testing.T) {
	for _, s := range servers {
		for _, c := range odd {
			t.Run(s.name+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				f, r, b := c.fixture(), s.start(t), newBench(t)
				source := registrytest.Start(t, c.source)
				f.PushTo(source, repo, tag, imagetest.Top)
				report, err := b.copy(t.Context(), at(t, r.host), at(t, source.Host()), copy.Options{ImageListSelection: copy.CopyAllImages})
				if c.refused != "" && strings.HasPrefix(s.name, "distribution") {
					require.ErrorContains(t, err, c.refused)
					assert.False(t, r.has(tag))
					return
				}
				require.NoError(t, err)
				assert.Equal(t, f.Digest(imagetest.Top), report.DestinationDigest)
				r.check(imagetest.Want{Tag: tag, Digest: f.Digest(imagetest.Top), Fixture: f, Irregular: true})
			})
		}
	}
}
