package attach

import (
	"context"
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

// everything looks for all that there may be.
func everything() Choices {
	return Choices{
		Referrers: true, DigestTags: true, Unsigned: func(digest.Digest) bool { return false },
		Follows: func(Attachment) bool { return true },
	}
}

// ofTypes looks for referrers of some types, and for nothing else.
func ofTypes(types ...string) Choices {
	c := everything()
	c.DigestTags, c.ReferrerTypes = false, types
	c.Follows = func(a Attachment) bool { return a.Child || slices.Contains(types, a.ArtifactType) }
	return c
}

// TestFind finds what is attached to an image, in a world that a case makes. The image is held
// already.
func TestFind(t *testing.T) {
	image := artifact(t, "", "", "image")
	d := image.Digest
	sbom := artifact(t, sbomType, d, "sbom")
	others := artifact(t, sbomType, digest.FromString("another"), "sbom of another")
	child, inner := artifact(t, "a/child", "", "child"), artifact(t, "an/inner child", "", "inner")
	nested := index(t, "", "", inner.Digest)
	list := index(t, sbomType, d, child.Digest, nested.Digest)
	cosigned := artifact(t, "", "", "cosigned", signature("a"))
	junk := document(t, imgspecv1.MediaTypeImageManifest, "no manifest")
	onlyReferrers := everything()
	onlyReferrers.DigestTags = false
	skipMissing := onlyReferrers
	skipMissing.SkipMissing = true
	unsigned := everything()
	unsigned.Unsigned = func(subject digest.Digest) bool { return subject == d }
	nobodyFollows := onlyReferrers
	nobodyFollows.Follows = func(Attachment) bool { return false }

	for name, c := range map[string]struct {
		choices  Choices
		world    func(*repository)
		found    []string // "kind digest of subject", where kind is the tag's suffix, referrer or child
		warnings []string // parts of them, in their order
		asked    []string // if not nil, all that is asked
		err      string
	}{
		"nothing": {
			choices: everything(), world: func(*repository) {},
			asked: []string{"referrers image", "tag image.att", "tag image.sbom", "tag image.sig"},
		},
		"a referrer and what is attached to it": {choices: everything(), world: func(r *repository) {
			r.refer(d, sbom, sbomType)
			r.refer(sbom.Digest, artifact(t, bundleType, sbom.Digest, "of sbom"), bundleType)
			r.put(cosigned, digesttag.Name(sbom.Digest, digesttag.Signatures))
		}, found: []string{"referrer sbom of image", "sig cosigned of sbom", "referrer of sbom of sbom"}},
		"a referrer without a type in the list": {
			choices: ofTypes(sbomType), world: func(r *repository) { r.refer(d, sbom, "") },
			found: []string{"referrer sbom of image"},
			asked: []string{"manifest sbom", "referrers image " + sbomType, "referrers sbom " + sbomType},
		},
		"a type that says nothing": {
			choices: ofTypes(sbomType), world: func(r *repository) { r.refer(d, sbom, imgspecv1.MediaTypeEmptyJSON) },
			found: []string{"referrer sbom of image"},
		},
		"another type is listed, and not read": {
			choices: ofTypes("a/b", "c/d"), world: func(r *repository) { r.refer(d, sbom, sbomType) },
			found: []string{"referrer sbom of image"}, asked: []string{"referrers image"},
		},
		"tags": {choices: everything(), world: func(r *repository) {
			for _, suffix := range []string{digesttag.Signatures, digesttag.Attestations, digesttag.SBOM} {
				r.put(cosigned, digesttag.Name(d, suffix))
			}
		}, found: []string{"att cosigned of image", "sbom cosigned of image", "sig cosigned of image"}},
		"signatures that stay behind": {choices: unsigned, world: func(r *repository) {
			r.put(cosigned, digesttag.Name(d, digesttag.Signatures), digesttag.Name(d, digesttag.Attestations))
			r.put(artifact(t, "", "", "again", signature("b")), digesttag.Name(cosigned.Digest, digesttag.Signatures))
		}, found: []string{"att cosigned of image", "sig again of cosigned"}},
		"what is not copied takes nothing with it": {choices: nobodyFollows, world: func(r *repository) {
			r.refer(d, sbom, "")
			r.refer(sbom.Digest, artifact(t, bundleType, sbom.Digest, "of sbom"), "")
		}, found: []string{"referrer sbom of image"}},
		"children of lists": {choices: onlyReferrers, world: func(r *repository) {
			r.refer(d, list, sbomType)
			r.put(nested)
			r.put(child)
			r.put(inner)
			r.refer(inner.Digest, artifact(t, bundleType, inner.Digest, "of inner"), "")
		}, found: []string{
			"referrer list of image", "child child of list", "child nested of list", "child inner of nested", "referrer of inner of inner", //nolint:dupword // a name of one
		}},
		"missing children": {choices: onlyReferrers, world: func(r *repository) {
			r.refer(d, list, sbomType)
			r.put(nested)
		}, found: []string{"referrer list of image"}, err: "child, named by the attached list list, is missing"},
		"missing children are left out": {choices: skipMissing, world: func(r *repository) {
			r.refer(d, list, sbomType)
			r.put(nested)
			r.put(inner)
		}, found: []string{"referrer list of image", "child nested of list", "child inner of nested"},
			warnings: []string{"child, listed as a child of list, is missing at the source"}},
		"what is listed and is not": {choices: onlyReferrers, world: func(r *repository) {
			r.list(d, sbom, sbomType)
			r.refer(d, others, "")
			r.refer(d, junk, sbomType)
			r.list(d, image, "")
		}, warnings: []string{
			"sbom, listed as a referrer of image, is missing at the source", "others, listed as a referrer of image, refers to something else",
			"image, listed as a referrer of image, refers to something else", "junk of image is left out: ",
		}},
		"a tag that names no manifest": {
			choices: everything(), world: func(r *repository) { r.put(junk, digesttag.Name(d, digesttag.Signatures)) },
			warnings: []string{"junk of image is left out: "},
		},
		"listed twice": {choices: onlyReferrers, world: func(r *repository) {
			r.refer(d, sbom, sbomType)
			r.list(d, sbom, sbomType)
		}, found: []string{"referrer sbom of image"}},
		"missing twice": {choices: onlyReferrers, world: func(r *repository) {
			r.refer(d, sbom, sbomType)
			r.list(d, others, sbomType)
			r.list(sbom.Digest, others, sbomType)
		}, found: []string{"referrer sbom of image"}, warnings: []string{
			"others, listed as a referrer of image, is missing at the source", "others, listed as a referrer of sbom, is missing at the source",
		}},
		"in a circle": {choices: everything(), world: func(r *repository) {
			r.put(cosigned, digesttag.Name(d, digesttag.Attestations))
			r.put(image, digesttag.Name(cosigned.Digest, digesttag.Attestations))
		}, found: []string{"att cosigned of image", "att image of cosigned"}},
		"nothing could list referrers": {choices: onlyReferrers, world: func(r *repository) {
			r.fails["referrers "+string(d)] = &endpoint.NotListableError{Subject: d}
		}},
		"no answers": {choices: everything(), world: func(r *repository) {
			r.fails["referrers "+string(d)] = errUnknown
			r.fails["tag "+digesttag.Name(d, digesttag.Signatures)] = errUnknown
			r.put(cosigned, digesttag.Name(d, digesttag.Attestations))
		}, found: []string{"att cosigned of image"},
			warnings: []string{"whether image has a tag image.sig and referrers could not be asked, and is not known: could not be asked: no answer"}},
		"broken referrers": {choices: onlyReferrers, world: func(r *repository) {
			r.fails["referrers "+string(d)] = errBroken
		}, err: "reading referrers of image: broken"},
		"a broken tag": {choices: everything(), world: func(r *repository) {
			r.fails["tag "+digesttag.Name(d, digesttag.SBOM)] = errBroken
		}, err: "reading tag image.sbom: broken"},
		"a broken manifest": {choices: onlyReferrers, world: func(r *repository) {
			r.refer(d, sbom, sbomType)
			r.fails["manifest "+string(sbom.Digest)] = errBroken
		}, err: "reading attachment sbom: broken"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRepository()
			r.put(image)
			c.world(r)
			found, err := Find(t.Context(), r.source(image), c.choices, []digest.Digest{d})
			short := shortener(map[string]digest.Digest{
				"image": d, "sbom": sbom.Digest, "others": others.Digest, "child": child.Digest, "inner": inner.Digest, "nested": nested.Digest,
				"list": list.Digest, "cosigned": cosigned.Digest, "junk": junk.Digest,
				"of sbom": artifact(t, bundleType, sbom.Digest, "of sbom").Digest, "of inner": artifact(t, bundleType, inner.Digest, "of inner").Digest,
				"again": artifact(t, "", "", "again", signature("b")).Digest,
			})
			if c.err == "" {
				require.NoError(t, err)
			} else {
				require.Error(t, err)
				assert.Equal(t, c.err, short(err.Error()))
			}
			var names []string
			for _, a := range found.Attachments {
				kind := "referrer"
				if _, suffix, ok := strings.Cut(a.Tag, "."); ok {
					kind = suffix
				} else if a.Child {
					kind = "child"
				}
				names = append(names, short(fmt.Sprintf("%s %s of %s", kind, a.Digest, a.Subject)))
			}
			assert.ElementsMatch(t, c.found, names)
			require.Len(t, found.Warnings, len(c.warnings))
			var warnings []string
			for _, w := range found.Warnings {
				warnings = append(warnings, short(w))
			}
			slices.Sort(warnings)
			slices.Sort(c.warnings)
			for i, w := range c.warnings {
				assert.Contains(t, warnings[i], w)
			}
			assert.Equal(t, slices.Compact(slices.Clone(r.asked)), r.asked, "nothing is asked twice")
			for i, a := range found.Attachments[:max(1, len(found.Attachments))-1] {
				next := found.Attachments[i+1]
				assert.True(t, a.Subject != next.Subject || compareAttachments(a, next) < 0, "in the order of tags and digests")
			}
			if c.asked != nil {
				var asked []string
				for _, q := range r.asked {
					asked = append(asked, short(q))
				}
				assert.ElementsMatch(t, c.asked, asked)
			}
			for _, doc := range found.Documents {
				assert.Equal(t, r.manifests[doc.Digest], doc)
			}
		})
	}
}

// shortener returns a function that has names in the place of digests, in tags, too.
func shortener(names map[string]digest.Digest) func(string) string {
	var pairs []string
	for name, d := range names {
		pairs = append(pairs, string(d), name, digesttag.Name(d, ""), name)
	}
	return strings.NewReplacer(pairs...).Replace
}

// TestFoundDescribesItself: what comes back is what a manifest says of itself, not what it is
// listed as, and subjects come first.
func TestFoundDescribesItself(t *testing.T) {
	image := artifact(t, "", "", "image")
	sbom := artifact(t, sbomType, image.Digest, "sbom")
	r := newRepository()
	r.put(sbom)
	r.referrers[image.Digest] = []imgspecv1.Descriptor{{MediaType: "a/lie", Digest: sbom.Digest, Size: 7, ArtifactType: ""}}
	of := r.refer(sbom.Digest, artifact(t, "", sbom.Digest, "of sbom"), "")
	c := everything()
	c.DigestTags = false
	found, err := Find(t.Context(), r.source(), c, []digest.Digest{image.Digest})
	require.NoError(t, err)
	require.Len(t, found.Attachments, 2)
	assert.Equal(t, Attachment{Subject: image.Digest, Descriptor: imgspecv1.Descriptor{
		MediaType: imgspecv1.MediaTypeImageManifest, Digest: sbom.Digest, Size: int64(len(sbom.Bytes)), ArtifactType: sbomType,
		Annotations: map[string]string{"text": "sbom"},
	}}, found.Attachments[0])
	assert.Equal(t, of.Digest, found.Attachments[1].Digest)
	assert.Equal(t, imgspecv1.MediaTypeEmptyJSON, found.Attachments[1].ArtifactType, "that of the config")
}

// TestChildrenOfTheTreeAreNotAttached: what a list that is copied names is copied with it, or not;
// it is not attached to it.
func TestChildrenOfTheTreeAreNotAttached(t *testing.T) {
	image := artifact(t, "", "", "image")
	list := index(t, "", "", image.Digest)
	found, err := Find(t.Context(), newRepository().source(list, image), everything(), []digest.Digest{list.Digest, image.Digest})
	require.NoError(t, err)
	assert.Empty(t, found)
}

// TestFindWithinLimits ends with what there is too much of.
func TestFindWithinLimits(t *testing.T) {
	image := artifact(t, "", "", "image")
	for what, world := range map[string]func(*repository){
		"depth": func(r *repository) {
			d := image.Digest
			for i := range maxDepth + 2 {
				d = r.put(artifact(t, "", "", fmt.Sprint(i)), digesttag.Name(d, digesttag.SBOM)).Digest
			}
		},
		"number": func(r *repository) {
			for i := range maxAttachments + 1 {
				r.list(image.Digest, endpoint.Document{Digest: digest.FromString(fmt.Sprint(i))}, sbomType)
			}
		},
		"bytes of manifests": func(r *repository) {
			fat := strings.Repeat("x", 4<<20)
			for i := range maxBytes>>22 + 1 {
				r.refer(image.Digest, artifact(t, sbomType, image.Digest, fmt.Sprint(i, fat)), sbomType)
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			r := newRepository()
			world(r)
			_, err := Find(t.Context(), r.source(), everything(), []digest.Digest{image.Digest})
			var limit *LimitError
			require.ErrorAs(t, err, &limit)
			assert.Equal(t, what, limit.What)
		})
	}
}

// TestDeepestChain: as long as may be.
func TestDeepestChain(t *testing.T) {
	image := artifact(t, "", "", "image")
	r, d := newRepository(), image.Digest
	for i := range maxDepth {
		d = r.put(artifact(t, "", "", fmt.Sprint(i)), digesttag.Name(d, digesttag.SBOM)).Digest
	}
	found, err := Find(t.Context(), r.source(), everything(), []digest.Digest{image.Digest})
	require.NoError(t, err)
	assert.Len(t, found.Attachments, maxDepth)
}

func TestFindEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errBroken)
	_, err := Find(ctx, newRepository().source(), everything(), []digest.Digest{digest.FromString("x")})
	require.ErrorIs(t, err, errBroken)
}

// TestFindEntries: what is copied and states something else that is copied is a referrer, once,
// whoever lists it. What is not there states nothing, and what was read is not read again.
func TestFindEntries(t *testing.T) {
	image := artifact(t, "", "", "image")
	d := image.Digest
	attestation, other := artifact(t, sbomType, d, "attestation"), artifact(t, sbomType, digest.FromString("gone"), "of another")
	list := index(t, "", "", d, attestation.Digest, other.Digest, digest.FromString("absent"))
	subjects := []digest.Digest{list.Digest, d, attestation.Digest, other.Digest, digest.FromString("absent")}
	for _, referrers := range []bool{false, true} {
		r := newRepository()
		r.put(image)
		r.refer(d, attestation, "")
		r.put(other)
		choices := Choices{Entries: true, Referrers: referrers, Follows: func(Attachment) bool { return true }}
		found, err := Find(t.Context(), r.source(list, image), choices, subjects)
		require.NoError(t, err)
		require.Len(t, found.Attachments, 1)
		assert.Equal(t, Key{Subject: d, Digest: attestation.Digest}, found.Attachments[0].Key())
		assert.Equal(t, sbomType, found.Attachments[0].ArtifactType)
		assert.Empty(t, found.Warnings)
		read := slices.DeleteFunc(r.asked, func(q string) bool { return !strings.HasPrefix(q, "manifest") })
		assert.ElementsMatch(t, []string{"manifest " + string(attestation.Digest), "manifest " + string(other.Digest), "manifest " + digest.FromString("absent").String()}, read)

		r.fails["manifest "+string(other.Digest)] = errBroken
		_, err = Find(t.Context(), r.source(list, image), choices, subjects)
		require.ErrorIs(t, err, errBroken)
	}
}
