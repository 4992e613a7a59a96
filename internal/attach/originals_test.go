package attach

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/digesttag"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/original"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// carriersOf returns what carries an original and a signature of it, for the list with a digest.
func carriersOf(t testing.TB, list digest.Digest) (source, signature original.Artifact) {
	t.Helper()
	subject := imgspecv1.Descriptor{MediaType: imgspecv1.MediaTypeImageIndex, Digest: list, Size: 7}
	top := index(t, "", "")
	signature, err := original.OfSignature(subject, original.Signature{Of: top.Digest, Kind: original.Lookaside, Blob: []byte("signature")})
	require.NoError(t, err)
	return original.Of(subject, []manifest.Document{top}, ""), signature
}

func TestFindCarriers(t *testing.T) {
	list, another := digest.FromString("list"), digest.FromString("another list")
	source, signature := carriersOf(t, list)
	plain := original.Plain(source)
	ofAnother, _ := carriersOf(t, another)
	tag := digesttag.Name(list, digesttag.Originals)
	announced := func(r *repository, artifacts ...original.Artifact) {
		var all []imgspecv1.Descriptor
		for _, a := range artifacts {
			r.put(a.Document)
			all = append(all, a.Descriptor())
		}
		listed, _, err := endpoint.MergeReferrers(nil, all)
		require.NoError(t, err)
		r.put(endpoint.NewDocument(digest.FromBytes(listed), "", listed), tag)
	}
	for name, c := range map[string]struct {
		there func(r *repository)
		found []original.Artifact
		warns string // the only warning, in part; "" for none
		reads int    // manifests that are read; those that are found, if it is 0
	}{
		"nothing": {there: func(*repository) {}},
		"listed as what they are": {
			there: func(r *repository) {
				r.refer(list, source.Document, original.ArtifactType)
				r.refer(list, signature.Document, original.SignatureArtifactType)
			},
			found: []original.Artifact{source, signature},
		},
		"listed without types": {
			there: func(r *repository) {
				r.refer(list, source.Document, "")
				r.refer(list, signature.Document, imgspecv1.MediaTypeEmptyJSON)
				r.refer(list, plain.Document, imgspecv1.MediaTypeImageConfig)
			},
			found: []original.Artifact{source, signature, plain},
		},
		"listed twice": {
			there: func(r *repository) {
				r.refer(list, source.Document, original.ArtifactType)
				announced(r, source, signature)
			},
			found: []original.Artifact{source, signature},
		},
		"not listable": {
			there: func(r *repository) {
				r.fails["referrers "+list.String()] = &endpoint.NotListableError{Subject: list}
				announced(r, plain, original.Plain(signature))
			},
			found: []original.Artifact{plain, original.Plain(signature)},
		},
		"other referrers": {
			there: func(r *repository) {
				r.refer(list, artifact(t, sbomType, list, "a"), sbomType) // is not read
				r.refer(list, artifact(t, sbomType, list, "b"), "")
				r.refer(list, source.Document, "")
			},
			found: []original.Artifact{source}, reads: 2,
		},
		"of another list": {
			there: func(r *repository) { r.refer(list, ofAnother.Document, original.ArtifactType) },
			warns: "refers to something else", reads: 1,
		},
		"missing": {
			there: func(r *repository) { r.list(list, source.Document, original.ArtifactType) },
			warns: "is missing at it", reads: 1,
		},
		"no manifest": {
			there: func(r *repository) {
				r.refer(list, endpoint.Document{Digest: digest.FromString("{}"), MediaType: imgspecv1.MediaTypeImageManifest, Bytes: []byte("{}")}, "")
			},
			warns: "is left out", reads: 1,
		},
		"not told": {
			there: func(r *repository) {
				r.fails["referrers "+list.String()] = endpoint.ErrUnknown
				announced(r, source)
			},
			found: []original.Artifact{source}, warns: "could not be asked",
		},
		"a tag of something else": {
			there: func(r *repository) { r.put(artifact(t, sbomType, "", "a"), tag) },
			warns: "does not list",
		},
	} {
		r := newRepository()
		c.there(r)
		found, err := FindCarriers(t.Context(), r.source(), list)
		require.NoError(t, err, name)
		got, want := map[digest.Digest]original.Role{}, map[digest.Digest]original.Role{}
		for _, f := range found.Found {
			got[f.Digest] = f.Role
			assert.Equal(t, f.Digest, f.Document.Digest, name)
			assert.Equal(t, list, f.Subject, name)
		}
		for _, a := range c.found {
			role := original.RoleSignature
			if a.Document.Digest == source.Document.Digest || a.Document.Digest == plain.Document.Digest {
				role = original.RoleOriginal
			}
			want[a.Document.Digest] = role
		}
		assert.Equal(t, want, got, name)
		assert.Equal(t, strings.Contains(c.warns, "could not be asked"), found.Unknown, name)
		assert.Equal(t, strings.Contains(c.warns, "something else"), len(found.Foreign) == 1, name)
		if c.warns == "" {
			assert.Empty(t, found.Warnings, name)
		} else if assert.Len(t, found.Warnings, 1, name) {
			assert.Contains(t, found.Warnings[0], c.warns, name)
		}
		reads := 0
		for _, asked := range r.asked {
			if strings.HasPrefix(asked, "manifest ") {
				reads++
			}
		}
		assert.Equal(t, max(c.reads, len(c.found)), reads, name)
	}
}

func TestFindCarriersFails(t *testing.T) {
	list := digest.FromString("list")
	source, _ := carriersOf(t, list)
	broken := errors.New("broken")
	for _, question := range []string{
		"referrers " + list.String(), "tag " + digesttag.Name(list, digesttag.Originals), "manifest " + source.Document.Digest.String(),
	} {
		r := newRepository()
		r.refer(list, source.Document, original.ArtifactType)
		r.fails[question] = broken
		_, err := FindCarriers(t.Context(), r.source(), list)
		require.ErrorIs(t, err, broken, question)
		var failed *Error
		require.ErrorAs(t, err, &failed, question)
	}
	r := newRepository()
	for range maxCarriers + 1 {
		r.list(list, artifact(t, sbomType, list, digest.FromString(string(rune(len(r.referrers[list])))).String()), "")
	}
	var limit *LimitError
	_, err := FindCarriers(t.Context(), r.source(), list)
	require.ErrorAs(t, err, &limit)

	r = newRepository()
	for i := range maxBytes>>22 + 1 {
		content := append(slices.Clone(source.Document.Bytes), bytes.Repeat([]byte{' '}, 4<<20-len(source.Document.Bytes)-i)...)
		r.refer(list, endpoint.NewDocument(digest.FromBytes(content), "", content), original.ArtifactType)
	}
	_, err = FindCarriers(t.Context(), r.source(), list)
	require.ErrorAs(t, err, &limit)
	assert.Equal(t, "bytes of manifests", limit.What)

	long := digest.SHA512.FromString("list") // for which there is no tag
	found, err := FindCarriers(t.Context(), newRepository().source(), long)
	require.NoError(t, err)
	assert.Empty(t, found)
}

func TestAnnounceCarriers(t *testing.T) {
	list := digest.FromString("list")
	source, signature := carriersOf(t, list)
	tag := digesttag.Name(list, digesttag.Originals)
	announce := func(r *repository, all ...original.Artifact) error {
		var descriptors []imgspecv1.Descriptor
		for _, a := range all {
			r.put(a.Document)
			descriptors = append(descriptors, a.Descriptor())
		}
		return AnnounceCarriers(t.Context(), r.destination(), list, descriptors)
	}
	found := func(r *repository) int {
		all, err := FindCarriers(t.Context(), r.source(), list)
		require.NoError(t, err)
		require.Empty(t, all.Warnings)
		return len(all.Found)
	}

	r := newRepository()
	require.NoError(t, announce(r, source, signature))
	assert.Empty(t, r.tags)
	assert.Equal(t, 2, found(r))

	r = newRepository()
	r.fails["put referrers "+list.String()] = &endpoint.NotListableError{Subject: list}
	require.NoError(t, announce(r, source))
	first := r.tags[tag]
	require.NoError(t, announce(r, source))
	assert.Equal(t, first, r.tags[tag], "what is listed is listed")
	require.NoError(t, announce(r, signature))
	assert.Equal(t, 2, found(r), "what is listed stays")

	var failed *Error
	r.put(artifact(t, sbomType, "", "a"), tag)
	require.ErrorAs(t, announce(r, source), &failed)
	require.ErrorContains(t, failed, "names something else")
	r.fails["put referrers "+list.String()] = endpoint.ErrUnknown
	require.ErrorIs(t, announce(r, source), endpoint.ErrUnknown)
}
