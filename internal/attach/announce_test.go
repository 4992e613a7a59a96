package attach

import (
	"context"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/digesttag"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// store is how here's documents get there.
func store(here, there *repository) Store {
	return Store{Blobs: there, Read: here.Manifest, Put: func(_ context.Context, _ endpoint.Document, put func() error) error { return put() }}
}

// TestAnnounce: referrers are listed with their descriptors, tags name what they named at the
// source, children need nothing.
func TestAnnounce(t *testing.T) {
	image := digest.FromString("image")
	sbom, ours := artifact(t, sbomType, image, "sbom"), artifact(t, "", "", "ours", signature("a"))
	here, there := newRepository(), newRepository()
	here.put(sbom)
	here.put(ours)
	child := referrerOf(digest.FromString("list"), sbom)
	child.Child = true
	out, err := Announce(t.Context(), there.destination(), store(here, there), []Attachment{
		taggedOf(image, digesttag.Signatures, ours), referrerOf(image, sbom), child,
	})
	require.NoError(t, err)
	assert.Equal(t, Announced{Tags: 1}, out)
	assert.Equal(t, map[digest.Digest][]imgspecv1.Descriptor{image: {referrerOf(image, sbom).Descriptor}}, there.referrers)
	assert.Equal(t, map[string]digest.Digest{digesttag.Name(image, digesttag.Signatures): ours.Digest}, there.tags)
}

// TestAnnounceMerges: what the destination's tags name stays, where that can be; else, it is said.
func TestAnnounceMerges(t *testing.T) {
	image := digest.FromString("image")
	config := imgspecv1.Descriptor{MediaType: imgspecv1.MediaTypeImageConfig, Digest: digest.FromString("{}"), Size: 2}
	signatures := func(texts ...string) endpoint.Document {
		m := imgspecv1.Manifest{MediaType: imgspecv1.MediaTypeImageManifest, Config: config}
		m.SchemaVersion = 2
		for _, text := range texts {
			m.Layers = append(m.Layers, signature(text))
		}
		return document(t, m.MediaType, m)
	}
	ours, theirs := signatures("a"), signatures("b")
	here, there := newRepository(), newRepository()
	here.put(ours)
	signed, sbom := taggedOf(image, digesttag.Signatures, ours), taggedOf(image, digesttag.SBOM, ours)
	there.put(theirs, signed.Tag, sbom.Tag)
	out, err := Announce(t.Context(), there.destination(), store(here, there), []Attachment{signed, sbom})
	require.NoError(t, err)
	assert.Equal(t, 2, out.Tags)
	want := "tag " + sbom.Tag + " named " + string(theirs.Digest) + " at the destination, and now names " + string(ours.Digest)
	assert.Equal(t, []string{want}, out.Warnings)
	assert.Equal(t, ours.Digest, there.tags[sbom.Tag])
	merged := there.manifests[there.tags[signed.Tag]]
	assert.Equal(t, Merge(signed.Tag, theirs, ours).Doc, merged)
	assert.Len(t, there.blobs, 1, "the new config")
}

// TestAnnounceFails with what it was doing, and returns what it has done.
func TestAnnounceFails(t *testing.T) {
	image := digest.FromString("image")
	doc := artifact(t, sbomType, image, "sbom")
	tagged := taggedOf(image, digesttag.SBOM, doc)
	attached := []Attachment{referrerOf(image, doc), tagged}
	for name, c := range map[string]struct {
		question string
		fails    error
		want     error
		listed   bool // the referrer is
		no       int  // subjects that cannot be listed
		tags     int
	}{
		"referrers":              {question: "put referrers " + string(image), fails: errBroken, want: &Error{"announcing referrers of", string(image), errBroken, false}},
		"tags":                   {question: "put tag " + tagged.Tag, fails: errBroken, want: &Error{"writing tag", tagged.Tag, errBroken, false}, listed: true},
		"referrers not listable": {question: "put referrers " + string(image), fails: &endpoint.NotListableError{Subject: image}, no: 1, tags: 1},
	} {
		t.Run(name, func(t *testing.T) {
			here, there := newRepository(), newRepository()
			here.put(doc)
			there.fails[c.question] = c.fails
			out, err := Announce(t.Context(), there.destination(), store(here, there), attached)
			assert.Equal(t, c.want, err)
			assert.Equal(t, c.listed, len(there.referrers[image]) == 1)
			assert.Len(t, out.NotListable, c.no)
			assert.Equal(t, c.tags, out.Tags)
		})
	}
	t.Run("reading", func(t *testing.T) {
		here, there := newRepository(), newRepository()
		here.fails["manifest "+string(doc.Digest)] = errBroken
		_, err := Announce(t.Context(), there.destination(), store(here, there), attached)
		assert.Equal(t, errBroken, err, "as it comes")
		assert.Empty(t, there.tags)
	})
	t.Run("the config of what is merged", func(t *testing.T) {
		config := imgspecv1.Descriptor{MediaType: imgspecv1.MediaTypeImageConfig, Digest: digest.FromString("{}"), Size: 2}
		m := imgspecv1.Manifest{MediaType: imgspecv1.MediaTypeImageManifest, Config: config, Layers: []imgspecv1.Descriptor{signature("a")}}
		m.SchemaVersion = 2
		ours := document(t, m.MediaType, m)
		m.Layers[0] = signature("b")
		theirs := document(t, m.MediaType, m)
		here, there := newRepository(), newRepository()
		here.put(ours)
		signed := taggedOf(image, digesttag.Signatures, ours)
		there.put(theirs, signed.Tag)
		there.fails["put blob"] = errBroken
		_, err := Announce(t.Context(), there.destination(), store(here, there), []Attachment{signed})
		assert.Equal(t, &Error{"writing tag", signed.Tag, errBroken, false}, err)
		assert.Equal(t, theirs.Digest, there.tags[signed.Tag], "stays")
	})
}
