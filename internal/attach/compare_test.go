package attach

import (
	"context"
	"errors"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/digesttag"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// referrerOf is doc as a referrer of subject.
func referrerOf(subject digest.Digest, doc endpoint.Document) Attachment {
	return Attachment{Subject: subject, Descriptor: imgspecv1.Descriptor{
		MediaType: doc.MediaType, Digest: doc.Digest, Size: int64(len(doc.Bytes)), ArtifactType: sbomType,
	}}
}

// taggedOf is doc as what a tag of subject names.
func taggedOf(subject digest.Digest, suffix string, doc endpoint.Document) Attachment {
	a := referrerOf(subject, doc)
	a.Tag = digesttag.Name(subject, suffix)
	return a
}

// TestCompare: what a destination knows as what it is.
func TestCompare(t *testing.T) {
	image := digest.FromString("image")
	sbom := artifact(t, sbomType, image, "sbom")
	ours := artifact(t, "", "", "ours", signature("a"))
	more := artifact(t, "", "", "more", signature("a"), signature("b"))
	other := artifact(t, "", "", "other", signature("b"))
	child := referrerOf(image, sbom)
	child.Child = true
	tagged := taggedOf(image, digesttag.Signatures, ours)
	for name, c := range map[string]struct {
		attached    Attachment
		world       func(*repository)
		absent      bool // its manifest is not at the destination
		asked       bool // for its manifest
		known       bool
		notListable bool
	}{
		"a referrer that is listed": {attached: referrerOf(image, sbom), world: func(r *repository) { r.list(image, sbom, "") }, asked: true, known: true},
		"one that is listed and absent": {
			attached: referrerOf(image, sbom), world: func(r *repository) { r.list(image, sbom, "") }, absent: true, asked: true,
		},
		"one that is not listed":         {attached: referrerOf(image, sbom)},
		"one that another is listed for": {attached: referrerOf(image, sbom), world: func(r *repository) { r.list(ours.Digest, sbom, "") }},
		"one that cannot be listed": {attached: referrerOf(image, sbom), world: func(r *repository) {
			r.fails["referrers "+string(image)] = &endpoint.NotListableError{Subject: image}
		}, asked: true, known: true, notListable: true},
		"no answer":              {attached: referrerOf(image, sbom), world: func(r *repository) { r.fails["referrers "+string(image)] = errBroken }},
		"a child":                {attached: child, asked: true, known: true},
		"a child that is absent": {attached: child, absent: true, asked: true},
		"a tag":                  {attached: tagged, world: func(r *repository) { r.put(ours, tagged.Tag) }, known: true},
		"a tag that names more":  {attached: tagged, world: func(r *repository) { r.put(more, tagged.Tag) }, known: true},
		"a tag that names other": {attached: tagged, world: func(r *repository) { r.put(other, tagged.Tag) }},
		"no tag":                 {attached: tagged},
		"no answer for a tag":    {attached: tagged, world: func(r *repository) { r.fails["tag "+tagged.Tag] = errBroken }},
	} {
		t.Run(name, func(t *testing.T) {
			here, there := newRepository(), newRepository()
			here.put(ours)
			if c.world != nil {
				c.world(there)
			}
			compared, err := Compare(t.Context(), there.destination(), []Attachment{c.attached}, here.Manifest)
			require.NoError(t, err)
			assert.Equal(t, c.asked, len(compared.Manifests()) == 1)
			assert.Equal(t, c.notListable, len(compared.NotListable) == 1)
			known := compared.Known(map[digest.Digest]bool{c.attached.Digest: !c.absent})
			assert.Equal(t, c.known, known[c.attached.Key()])
		})
	}
}

// TestCompareAsksOnce asks about each subject and each manifest once, and says of each attachment
// whether it is known.
func TestCompareAsksOnce(t *testing.T) {
	image, list := digest.FromString("image"), digest.FromString("list")
	a, b := artifact(t, sbomType, image, "a"), artifact(t, sbomType, image, "b")
	there := newRepository()
	there.list(image, a, "")
	there.list(image, b, "")
	child := referrerOf(list, a)
	child.Child = true
	compared, err := Compare(t.Context(), there.destination(), []Attachment{referrerOf(image, a), referrerOf(image, b), child}, nil)
	require.NoError(t, err)
	assert.Equal(t, []string{"referrers " + string(image)}, there.asked)
	assert.Equal(t, []digest.Digest{a.Digest, b.Digest}, compared.Manifests())
	assert.Equal(t, map[Key]bool{
		{Subject: image, Digest: a.Digest}: true, {Subject: image, Digest: b.Digest}: false, {Subject: list, Digest: a.Digest}: true,
	}, compared.Known(map[digest.Digest]bool{a.Digest: true}))
}

// TestCompareNeedsWhatItComparesWith: what the source does not have is an error, as it comes.
func TestCompareNeedsWhatItComparesWith(t *testing.T) {
	image, ours := digest.FromString("image"), artifact(t, "", "", "ours")
	there := newRepository()
	tagged := taggedOf(image, digesttag.Signatures, ours)
	there.put(ours, tagged.Tag)
	gone := errors.New("gone")
	_, err := Compare(t.Context(), there.destination(), []Attachment{tagged}, func(context.Context, digest.Digest) (endpoint.Document, error) {
		return endpoint.Document{}, gone
	})
	assert.Equal(t, gone, err)
}
