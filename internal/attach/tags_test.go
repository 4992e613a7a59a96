package attach

import (
	"fmt"
	"net/http"
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

// names returns what was found as "digest by tag", by short names.
func names(found Found, short func(string) string) []string {
	var all []string
	for _, a := range found.Attachments {
		where := ""
		if a.Elsewhere {
			where = ", elsewhere"
		}
		all = append(all, short(fmt.Sprintf("%s by %s%s", a.Digest, a.Tag, where)))
	}
	return all
}

// TestFindByListedTags: where many tags would have to be asked for, they are listed, and cosign's
// tags of what the source's reference names are asked for besides. A list that is not complete,
// or not there, is none.
func TestFindByListedTags(t *testing.T) {
	const images = 16
	top := index(t, "", "")
	subjects := []digest.Digest{top.Digest}
	for i := range images {
		subjects = append(subjects, artifact(t, "", "", fmt.Sprint("image", i)).Digest)
	}
	signed := artifact(t, "", "", "signed", signature("a"))
	tags := []string{digesttag.Name(top.Digest, digesttag.Signatures), digesttag.Name(subjects[3], digesttag.Attestations)}
	only := func(change func(*Choices)) Choices {
		c := everything()
		c.Referrers = false
		change(&c)
		return c
	}
	for name, c := range map[string]struct {
		choices  Choices
		subjects []digest.Digest
		world    func(*repository)
		found    []string
		asked    int    // in all
		listed   string // how; "" for not at all
		err      string
	}{
		"few questions": {
			choices: only(func(*Choices) {}), subjects: subjects[:6], world: func(*repository) {},
			found: []string{"signed by top.sig", "signed by image.att"}, asked: 18 + 3*1, // what is found may be signed
		},
		"many questions": {
			choices: only(func(*Choices) {}), subjects: subjects, world: func(*repository) {},
			found: []string{"signed by top.sig", "signed by image.att"}, asked: 1 + 3 + 1, listed: "tags in 5 pages",
		},
		"signatures that stay behind": {
			choices:  only(func(c *Choices) { c.Unsigned = func(digest.Digest) bool { return true } }),
			subjects: subjects, world: func(*repository) {},
			found: []string{"signed by image.att"}, asked: 1 + 2 + 1, listed: "tags in 3 pages",
		},
		"the list is refused": {
			choices: only(func(*Choices) {}), subjects: subjects,
			world: func(r *repository) { r.fails["tags in 5 pages"] = errBroken },
			found: []string{"signed by top.sig", "signed by image.att"}, asked: 1 + 3*17 + 3*1, listed: "tags in 5 pages",
		},
		"the list is not complete": {
			choices: only(func(*Choices) {}), subjects: subjects,
			world: func(r *repository) { r.unlisted[tags[0]], r.unlisted[tags[1]] = true, true },
			found: []string{"signed by top.sig", "signed by image.att"}, asked: 1 + 3*17 + 3*1, listed: "tags in 5 pages",
		},
		"any suffix": {
			choices: only(func(c *Choices) { c.AnySuffix = true }), subjects: subjects[:2],
			world: func(r *repository) {
				r.put(signed, digesttag.Name(top.Digest, ".src"), digesttag.Name(top.Digest, ".image-locations.imgpkg"))
				r.put(signed, digesttag.Name(digest.FromString("not copied"), ".src"), "v1")
				r.put(signed, digesttag.Name(signed.Digest, ".dockerfile"))
			},
			found: []string{"signed by top.sig", "signed by top.src", "signed by top.image-locations.imgpkg", "signed by signed.dockerfile"},
			asked: 1 + 3 + 3, listed: "tags in 0 pages",
		},
		"any suffix, refused": {
			choices: only(func(c *Choices) { c.AnySuffix = true }), subjects: subjects[:1],
			world: func(r *repository) { r.fails["tags in 0 pages"] = errBroken }, asked: 4, listed: "tags in 0 pages",
			err: "listing the tags of it: broken; AllDigestTags needs a list of all tags, CosignDigestTags does not",
		},
		"any suffix, not complete": {
			choices: only(func(c *Choices) { c.AnySuffix = true }), subjects: subjects[:1],
			world: func(r *repository) { r.unlisted[tags[0]] = true }, asked: 4, listed: "tags in 0 pages",
			err: "listing the tags of it: the list of tags lacks top.sig, which is there; AllDigestTags needs",
		},
		"a control that is not answered": {
			choices: only(func(*Choices) {}), subjects: subjects,
			world: func(r *repository) { r.fails["tag "+tags[0]] = errBroken }, asked: 4, listed: "tags in 5 pages",
			err: "reading tag top.sig: broken",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRepository()
			r.put(top)
			r.put(signed, tags...)
			c.world(r)
			src := r.source(top)
			src.Top = top.Digest
			short := shortener(map[string]digest.Digest{"top": top.Digest, "image": subjects[3], "signed": signed.Digest})
			found, err := Find(t.Context(), src, c.choices, c.subjects)
			if c.err != "" {
				require.Error(t, err)
				assert.Contains(t, short(err.Error()), c.err)
			} else {
				require.NoError(t, err)
				assert.ElementsMatch(t, c.found, names(found, short))
			}
			assert.LessOrEqual(t, len(r.asked), c.asked)
			if c.err == "" {
				assert.Len(t, r.asked, c.asked, "%v", r.asked)
			}
			lists := slices.DeleteFunc(slices.Clone(r.asked), func(q string) bool { return !strings.HasPrefix(q, "tags in") })
			assert.Equal(t, c.listed, strings.Join(lists, ", "))
			assert.Equal(t, slices.Compact(slices.Clone(r.asked)), r.asked, "nothing is asked twice")
		})
	}
}

// TestTagsOfLongDigests: what the referrers tag schema leaves of a long digest is its stem, too.
func TestTagsOfLongDigests(t *testing.T) {
	long := digest.SHA384.FromString("x")
	whole, cut := digesttag.Name(long, ".src"), endpoint.ReferrersTag(long)
	list := tagList{digesttag.Stem(whole): {whole}, digesttag.Stem(cut): {cut}}
	assert.ElementsMatch(t, []string{whole, cut}, list.of(long))
	longer := digest.SHA512.FromString("x")
	cut = endpoint.ReferrersTag(longer)
	assert.Equal(t, []string{cut + ".src"}, tagList{cut: {cut + ".src"}}.of(longer))
}

// TestTagsWithoutSuffix: one that lists referrers is left to these if they are looked for, and so
// is one that names its subject.
func TestTagsWithoutSuffix(t *testing.T) {
	image := artifact(t, "", "", "image")
	d := image.Digest
	sbom := artifact(t, sbomType, d, "sbom")
	list := index(t, "", "", sbom.Digest)
	other := artifact(t, "", "", "other")
	for name, c := range map[string]struct {
		referrers bool
		names     endpoint.Document
		found     []string
	}{
		"a list":                   {false, list, []string{"list by image", "sbom by "}},
		"a list, and referrers":    {true, list, nil},
		"the image":                {false, image, []string{"image by image"}},
		"the image, and referrers": {true, image, nil},
		"another, and referrers":   {true, other, []string{"other by image"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRepository()
			r.put(sbom)
			r.put(c.names, digesttag.Name(d, ""))
			choices := everything()
			choices.Referrers, choices.AnySuffix = c.referrers, true
			found, err := Find(t.Context(), r.source(image), choices, []digest.Digest{d})
			require.NoError(t, err)
			short := shortener(map[string]digest.Digest{"image": d, "sbom": sbom.Digest, "list": list.Digest, "other": other.Digest})
			assert.ElementsMatch(t, c.found, names(found, short))
		})
	}
}

// TestFindElsewhere finds what two places have. What both have is the source's.
func TestFindElsewhere(t *testing.T) {
	image := artifact(t, "", "", "image")
	d := image.Digest
	here, there := artifact(t, sbomType, d, "here"), artifact(t, sbomType, d, "there")
	both, lost := artifact(t, sbomType, d, "both"), artifact(t, sbomType, d, "lost")
	of := artifact(t, bundleType, there.Digest, "of")
	child := artifact(t, "a/child", "", "child")
	list := index(t, sbomType, d, child.Digest)
	one, two := artifact(t, "", "", "one", signature("a")), artifact(t, "", "", "two", signature("b"))
	sig, sbom := digesttag.Name(d, digesttag.Signatures), digesttag.Name(d, digesttag.SBOM)
	suffixes := everything()
	suffixes.AnySuffix = true
	for name, c := range map[string]struct {
		choices           Choices
		source, elsewhere func(*repository)
		found, warnings   []string
		read              []string // manifests, elsewhere
		err               string
		failed            bool // elsewhere, if there is an error
	}{
		"nothing": {source: func(*repository) {}, elsewhere: func(*repository) {}},
		"referrers": {source: func(r *repository) {
			r.refer(d, here, "")
			r.refer(d, both, "")
			r.list(d, lost, "")
		}, elsewhere: func(r *repository) {
			r.refer(d, there, "")
			r.refer(d, both, "")
			r.refer(d, lost, "")
			r.refer(there.Digest, of, "")
		}, found: []string{"here by ", "both by ", "there by , elsewhere", "lost by , elsewhere", "of by , elsewhere"}, read: []string{"lost", "of", "there"}},
		"a list": {source: func(*repository) {}, elsewhere: func(r *repository) {
			r.refer(d, list, "")
			r.put(child)
		}, found: []string{"list by , elsewhere", "child by , elsewhere"}, read: []string{"child", "list"}},
		"tags that can be merged": {source: func(r *repository) { r.put(one, sig) }, elsewhere: func(r *repository) { r.put(two, sig) },
			found: []string{"one by image.sig", "two by image.sig, elsewhere"}},
		"tags that cannot be merged": {source: func(r *repository) { r.put(one, sbom) }, elsewhere: func(r *repository) { r.put(two, sbom) },
			found: []string{"one by image.sbom"}, warnings: []string{"the tag image.sbom names one, and at there two, which is left out"}},
		"the same by a tag": {source: func(r *repository) { r.put(one, sbom) }, elsewhere: func(r *repository) { r.put(one, sbom) },
			found: []string{"one by image.sbom"}},
		"the image itself": {source: func(*repository) {}, elsewhere: func(r *repository) { r.put(image, sbom) }, found: []string{"image by image.sbom"}},
		"missing": {source: func(*repository) {}, elsewhere: func(r *repository) { r.list(d, there, "") },
			warnings: []string{"there, listed as a referrer of image, is missing at there"}, read: []string{"there"}},
		"no such repository": {choices: suffixes, source: func(r *repository) { r.put(one, digesttag.Name(d, ".src")) },
			elsewhere: func(r *repository) { r.fails["tags in 0 pages"] = notFound("NAME_UNKNOWN") },
			found:     []string{"one by image.src"}},
		"no such repository, or no list": {choices: suffixes, source: func(*repository) {},
			elsewhere: func(r *repository) {
				r.fails["tags in 0 pages"] = notFound("UNSUPPORTED")
				r.put(one, sbom)
			}, found: []string{"one by image.sbom, elsewhere"}, warnings: []string{"there lists no tags, and only cosign's are asked for: "}},
		"not told": {source: func(*repository) {}, elsewhere: func(r *repository) { r.fails["referrers "+string(d)] = errUnknown },
			warnings: []string{"whether image has referrers at there could not be asked"}},
		"refused": {source: func(*repository) {}, elsewhere: func(r *repository) { r.fails["referrers "+string(d)] = errBroken },
			err: "reading referrers of image: broken", failed: true},
		"a manifest that is refused": {source: func(*repository) {}, elsewhere: func(r *repository) {
			r.refer(d, there, "")
			r.fails["manifest "+string(there.Digest)] = errBroken
		}, err: "reading attachment there: broken", failed: true},
		"no list of tags": {choices: suffixes, source: func(*repository) {}, elsewhere: func(r *repository) { r.fails["tags in 0 pages"] = errBroken },
			err: "listing the tags of there: broken; AllDigestTags needs a list of all tags, CosignDigestTags does not", failed: true},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := newRepository(), newRepository()
			c.source(a)
			c.elsewhere(b)
			src := a.source(image)
			src.Elsewhere = &Place{"there", b, b.Manifest}
			if c.choices.Follows == nil {
				c.choices = everything()
			}
			found, err := Find(t.Context(), src, c.choices, []digest.Digest{d})
			short := shortener(map[string]digest.Digest{
				"image": d, "here": here.Digest, "there": there.Digest, "both": both.Digest, "lost": lost.Digest, "of": of.Digest,
				"child": child.Digest, "list": list.Digest, "one": one.Digest, "two": two.Digest,
			})
			if c.err != "" {
				require.Error(t, err)
				assert.Equal(t, c.err, short(err.Error()))
				var failed *Error
				require.ErrorAs(t, err, &failed)
				assert.Equal(t, c.failed, failed.Elsewhere)
				return
			}
			require.NoError(t, err)
			assert.ElementsMatch(t, c.found, names(found, short))
			require.Len(t, found.Warnings, len(c.warnings))
			for i, w := range c.warnings {
				assert.Contains(t, short(found.Warnings[i]), w)
			}
			var read []string
			for _, q := range b.asked {
				if name, ok := strings.CutPrefix(short(q), "manifest "); ok {
					read = append(read, name)
				}
			}
			slices.Sort(read)
			assert.Equal(t, c.read, read)
			for _, a := range found.Attachments {
				assert.Equal(t, a.Elsewhere, slices.Contains(found.Elsewhere, a.Digest), "%s", short(a.Digest.String()))
			}
		})
	}
}

// TestFindSignaturesElsewhere: what would be void is named wherever it is.
func TestFindSignaturesElsewhere(t *testing.T) {
	list := index(t, "", "")
	bundle := artifact(t, bundleType, list.Digest, "bundle")
	a, b := newRepository(), newRepository()
	b.refer(list.Digest, bundle, "")
	src := a.source(list)
	src.Elsewhere = &Place{"there", b, b.Manifest}
	all, err := FindSignatures(t.Context(), src, []digest.Digest{list.Digest}, Choices{}, nil)
	require.NoError(t, err)
	assert.Equal(t, []string{"referrer " + bundle.Digest.String() + " (" + bundleType + ")"}, all[list.Digest].Found)
}

// TestMergeTagsWithoutSuffix: they list referrers, perhaps, and nothing replaces these.
func TestMergeTagsWithoutSuffix(t *testing.T) {
	tag := digesttag.Name(digest.FromString("subject"), "")
	x, y := digest.FromString("x"), digest.FromString("y")
	one, two, both, image := index(t, "", "", x), index(t, "", "", y), index(t, "", "", x, y), artifact(t, "", "", "image")
	for name, c := range map[string]struct {
		there, ours endpoint.Document
		want        Merged
	}{
		"nothing there":  {endpoint.Document{}, one, Merged{Doc: one}},
		"the same":       {one, one, Merged{Doc: one}},
		"more there":     {both, two, Merged{Doc: both}},
		"a list there":   {one, image, Merged{Doc: one, Kept: true}},
		"an image there": {image, one, Merged{Doc: image, Kept: true}},
	} {
		assert.Equal(t, c.want, Merge(tag, c.there, c.ours), name)
	}
	m := Merge(tag, one, two)
	assert.False(t, m.Replaced || m.Kept)
	children, err := childrenOf(m.Doc)
	require.NoError(t, err)
	require.Len(t, children, 2)
	assert.Equal(t, imgspecv1.MediaTypeImageIndex, m.Doc.MediaType)
	assert.Equal(t, Merged{Doc: m.Doc}, Merge(tag, m.Doc, two))
	assert.Equal(t, Merged{Doc: image, Replaced: true}, Merge(tag+".src", one, image), "other suffixes follow the source")
}

// notFound is a registry's answer that something is not there.
func notFound(code string) error {
	return fmt.Errorf("%w: %w", endpoint.ErrNotFound, &endpoint.RegistryError{Status: http.StatusNotFound, Errors: []endpoint.RegistryErrorDetail{{Code: code}}})
}
