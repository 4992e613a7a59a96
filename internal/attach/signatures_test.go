package attach

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/digesttag"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// TestFindSignatures finds the signatures of a list, in a world that a case makes.
func TestFindSignatures(t *testing.T) {
	list := index(t, "", "")
	d := list.Digest
	tag := digesttag.Name(d, digesttag.Signatures)
	bundle, sbom := artifact(t, bundleType, d, "bundle"), artifact(t, sbomType, d, "sbom")
	others := artifact(t, bundleType, digest.FromString("another"), "others")
	junk := document(t, imgspecv1.MediaTypeImageManifest, "no manifest")
	denied := &endpoint.RegistryError{Status: 403}
	for name, c := range map[string]struct {
		choices Choices
		found   []Attachment
		world   func(*repository)
		want    Signatures
		asked   []string
	}{
		"nothing": {world: func(*repository) {}, asked: []string{"referrers list", "tag list.sig"}},
		"a tag and a referrer": {world: func(r *repository) {
			r.put(bundle, tag)
			r.refer(d, bundle, bundleType)
		}, want: Signatures{Found: []string{"referrer bundle (" + bundleType + ")", "tag list.sig"}}},
		"listed twice": {world: func(r *repository) {
			r.refer(d, bundle, bundleType)
			r.list(d, bundle, bundleType)
		}, want: Signatures{Found: []string{"referrer bundle (" + bundleType + ")"}}},
		"an SBOM": {
			world: func(r *repository) { r.refer(d, sbom, sbomType) },
			asked: []string{"referrers list", "tag list.sig"},
		},
		"listed without a type": {world: func(r *repository) {
			r.refer(d, bundle, "")
			r.refer(d, sbom, imgspecv1.MediaTypeEmptyJSON)
			r.refer(d, others, "")
			r.list(d, artifact(t, bundleType, d, "missing"), "")
		}, want: Signatures{Found: []string{"referrer bundle (" + bundleType + ")"}}},
		"read already": {choices: Choices{Referrers: true, DigestTags: true}, found: []Attachment{
			{Subject: d, Descriptor: imgspecv1.Descriptor{Digest: sbom.Digest}, Tag: tag},
			{Subject: d, Descriptor: imgspecv1.Descriptor{Digest: bundle.Digest, ArtifactType: bundleType}},
			{Subject: d, Descriptor: imgspecv1.Descriptor{Digest: sbom.Digest, ArtifactType: sbomType}},
			{Subject: d, Descriptor: imgspecv1.Descriptor{Digest: others.Digest, ArtifactType: bundleType}, Child: true},
			{Subject: others.Digest, Descriptor: imgspecv1.Descriptor{Digest: others.Digest, ArtifactType: bundleType}},
			{Subject: d, Descriptor: imgspecv1.Descriptor{Digest: sbom.Digest}, Tag: digesttag.Name(d, digesttag.SBOM)},
		}, world: func(*repository) {}, want: Signatures{Found: []string{"referrer bundle (" + bundleType + ")", "tag list.sig"}}, asked: []string{}},
		"some types were asked for": {
			choices: Choices{Referrers: true, ReferrerTypes: []string{sbomType}, DigestTags: true},
			world:   func(r *repository) { r.refer(d, bundle, bundleType) },
			want:    Signatures{Found: []string{"referrer bundle (" + bundleType + ")"}}, asked: []string{"referrers list"},
		},
		"no answer": {world: func(r *repository) {
			r.fails["referrers "+string(d)], r.fails["tag "+tag] = errBroken, denied
		}, want: Signatures{Unknown: "tag list.sig: " + denied.Error(), Unanswered: true}},
		"not understood": {
			world: func(r *repository) { r.fails["referrers "+string(d)] = &endpoint.RegistryError{Status: 405} },
			want:  Signatures{Unknown: "its referrers: " + (&endpoint.RegistryError{Status: 405}).Error()},
		},
		"nothing could list referrers": {world: func(r *repository) {
			r.fails["referrers "+string(d)] = &endpoint.NotListableError{Subject: d}
		}},
		"a manifest that cannot be read": {world: func(r *repository) {
			r.refer(d, bundle, "")
			r.fails["manifest "+string(bundle.Digest)] = denied
		}, want: Signatures{Unknown: "referrer bundle: " + denied.Error(), Unanswered: true}},
		"junk": {world: func(r *repository) { r.refer(d, junk, "") }, want: Signatures{Unknown: "referrer junk: "}},
		"more than are read": {world: func(r *repository) {
			for i := range maxUntoldReferrers {
				r.list(d, endpoint.Document{Digest: digest.FromString(fmt.Sprint(i))}, "")
			}
			r.refer(d, bundle, "")
		}, want: Signatures{Unknown: "its referrers: more than 200 do not say what they are"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRepository()
			r.put(list)
			c.world(r)
			all, err := FindSignatures(t.Context(), r.source(list), []digest.Digest{d}, c.choices, c.found)
			require.NoError(t, err)
			short := shortener(map[string]digest.Digest{"list": d, "bundle": bundle.Digest, "sbom": sbom.Digest, "junk": junk.Digest})
			got := all[d]
			for i, s := range got.Found {
				got.Found[i] = short(s)
			}
			assert.Equal(t, c.want.Found, got.Found)
			assert.Equal(t, c.want.Unanswered, got.Unanswered)
			if c.want.Unknown == "" {
				assert.Empty(t, got.Unknown)
			} else {
				assert.Contains(t, short(got.Unknown), c.want.Unknown)
			}
			if c.asked != nil {
				asked := slices.Clone(r.asked)
				for i, q := range asked {
					asked[i] = short(q)
				}
				assert.ElementsMatch(t, c.asked, asked)
			}
		})
	}
}

// TestSignaturesOfManyReferrers: as many manifests are read for all lists as there may be, and no
// more.
func TestSignaturesOfManyReferrers(t *testing.T) {
	r := newRepository()
	lists := []digest.Digest{digest.FromString("a"), digest.FromString("b")}
	for _, d := range lists {
		for i := range maxUntoldReferrers/2 + 1 {
			r.list(d, endpoint.Document{Digest: digest.FromString(fmt.Sprint(d, i))}, "")
		}
	}
	all, err := FindSignatures(t.Context(), r.source(), lists, Choices{}, nil)
	require.NoError(t, err)
	assert.Len(t, all, 1, "one of them is not known")
	read := slices.DeleteFunc(r.asked, func(q string) bool { return !strings.HasPrefix(q, "manifest ") })
	assert.Len(t, read, maxUntoldReferrers)
}

// TestTheWorstUnknownDecides: a question that was refused goes before one that was not understood,
// whichever comes first.
func TestTheWorstUnknownDecides(t *testing.T) {
	denied := &endpoint.RegistryError{Status: 401}
	for _, errs := range [][]error{{errBroken, denied}, {denied, errBroken}, {denied, &endpoint.RegistryError{Status: 500}}} {
		f := signatureFinder{}
		for _, err := range errs {
			f.unknown("d", "it", err)
		}
		assert.Equal(t, Signatures{Unknown: "it: " + denied.Error(), Unanswered: true}, f["d"])
	}
}

// attachable are signatures as endpoint.Signatures, by their layers.
type attachable struct {
	endpoint.Signatures
	layers []imgspecv1.Descriptor
	others bool // than sigstore's are among them
}

func (s attachable) Len() int { return len(s.layers) }

func (s attachable) Split() (sigs []endpoint.AttachableSignature, others endpoint.Signatures) {
	for _, layer := range s.layers {
		sigs = append(sigs, endpoint.AttachableSignature{Layer: layer})
	}
	if s.others {
		return sigs, s
	}
	return sigs, attachable{}
}

// TestCarried: signatures travel with what their tag names only if that has them all.
func TestCarried(t *testing.T) {
	image := digest.FromString("image")
	signed := artifact(t, "", "", "signatures", signature("a"), signature("b"))
	tagged := func(suffix string, doc endpoint.Document) Attachment {
		return Attachment{Subject: image, Descriptor: imgspecv1.Descriptor{Digest: doc.Digest}, Tag: digesttag.Name(image, suffix)}
	}
	sigs := func(texts ...string) attachable {
		var s attachable
		for _, text := range texts {
			s.layers = append(s.layers, signature(text))
		}
		return s
	}
	r := newRepository()
	carried := CarriedBy([]Attachment{tagged(digesttag.Signatures, signed)}, r.source(signed).Held)
	assert.True(t, carried.All(image, sigs("a")))
	assert.True(t, carried.All(image, sigs("b", "a")))
	assert.False(t, carried.All(image, sigs("a", "c")))
	assert.False(t, carried.All(digest.FromString("another"), sigs("a")))
	mixed := sigs("a")
	mixed.others = true
	assert.False(t, carried.All(image, mixed))

	list := index(t, "", "")
	for name, c := range map[string]Carried{
		"another tag": CarriedBy([]Attachment{tagged(digesttag.Attestations, signed)}, r.source(signed).Held),
		"not read":    CarriedBy([]Attachment{tagged(digesttag.Signatures, signed)}, r.source().Held),
		"a referrer":  CarriedBy([]Attachment{{Subject: image, Descriptor: imgspecv1.Descriptor{Digest: signed.Digest}}}, r.source(signed).Held),
		"a list":      CarriedBy([]Attachment{tagged(digesttag.Signatures, list)}, r.source(list).Held),
		"none":        nil,
	} {
		assert.False(t, c.All(image, sigs("a")), name)
	}
}
