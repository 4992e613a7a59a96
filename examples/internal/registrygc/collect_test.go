package registrygc_test

import (
	"io/fs"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/examples/internal/referrers"
	"github.com/sparsecopy/sparsecopy/examples/internal/registrygc"
)

// plan is what a collection would remove if everything were old.
func (r *registry) plan(o registrygc.Options) *registrygc.Plan {
	r.t.Helper()
	plan, err := registrygc.MakePlan(r.t.Context(), r.store, o, time.Now().Add(o.Grace+time.Hour))
	require.NoError(r.t, err)
	return plan
}

// collectAll removes untagged manifests, everything being old.
func (r *registry) collectAll() registrygc.Totals {
	r.t.Helper()
	removed, err := r.plan(registrygc.Options{Untagged: true}).Sweep(r.t.Context(), r.store)
	require.NoError(r.t, err)
	return removed
}

// TestWhatStays has one of everything that keeps something.
func TestWhatStays(t *testing.T) {
	r := newRegistry(t)
	config, layer, other, loose := r.pushBlob("app", "{}"), r.pushBlob("app", "layer"), r.pushBlob("app", "other"), r.pushBlob("app", "loose")
	child, sibling := image("", config, layer), image("", config, other)
	inner := list("", child.digest())
	outer := list("", inner.digest(), digest.FromString("absent"))
	signature := image(outer.digest(), config)
	attestation := image(signature.digest(), config, layer) // a referrer of a referrer
	alone := image("", config, r.pushBlob("app", "of an image that nothing needs"))
	strayed := image(digest.FromString("gone"), config) // its subject is not there
	for _, d := range []document{child, sibling, inner, outer, signature, attestation, alone, strayed} {
		r.push("app", "", d)
	}
	r.push("app", "v1", outer)
	r.push("app", "sha256-"+sibling.digest().Encoded()+".sig", sibling)
	r.pushBlob("other", "loose")

	kept := registrygc.Kept{Repositories: 2, Tagged: 2, Listed: 2, Referrers: 2, Layers: 3, Blobs: 9, Bytes: 0}
	plan := r.plan(registrygc.Options{Untagged: true})
	kept.Bytes = plan.Kept.Bytes
	assert.Equal(t, kept, plan.Kept)
	removed := r.collectAll()
	assert.Equal(t, plan.Totals(), removed)
	for _, d := range []document{child, sibling, inner, outer, signature, attestation} {
		assert.True(t, r.hasManifest("app", d.digest()), d.text)
	}
	for _, d := range []document{alone, strayed} {
		assert.False(t, r.hasManifest("app", d.digest()), d.text)
	}
	for _, d := range []digest.Digest{config, layer, other} {
		assert.True(t, r.hasBlob("app", d))
	}
	assert.False(t, r.hasBlob("app", loose))
	assert.False(t, r.hasBlob("other", loose))
	assert.Len(t, r.contents(), 9)
	assert.Zero(t, r.collectAll(), "a second collection has nothing to do")
}

// TestNamesThatBeginWithADomain: distribution takes them, in upper case, too, although the
// specification does not.
func TestNamesThatBeginWithADomain(t *testing.T) {
	r := newDirectory(t)
	for _, name := range []string{"Registry.Example.COM/app", "UPPER/app", "a--b.c-d/app"} {
		config := r.pushBlob(name, "config of "+name)
		tagged := r.push(name, "v1", image("", config))
		r.collectAll()
		assert.True(t, r.hasManifest(name, tagged), name)
		assert.True(t, r.hasBlob(name, config), name)
	}
}

// TestUntaggedManifestsStay by default, with what they name.
func TestUntaggedManifestsStay(t *testing.T) {
	r := newRegistry(t)
	config := r.pushBlob("app", "{}")
	untagged := image("", config)
	r.push("app", "", untagged)
	r.pushBlob("app", "loose")
	plan := r.plan(registrygc.Options{})
	assert.Equal(t, registrygc.Totals{Layers: 1, Blobs: 1, Bytes: 5}, plan.Totals())
	assert.Equal(t, 1, plan.Kept.Untagged)
	_, err := plan.Sweep(t.Context(), r.store)
	require.NoError(t, err)
	assert.True(t, r.hasManifest("app", untagged.digest()))
	assert.True(t, r.hasBlob("app", config))
}

// TestContentsAreGlobal: what one repository does not need, another may.
func TestContentsAreGlobal(t *testing.T) {
	r := newRegistry(t)
	config := r.pushBlob("a", "{}")
	r.must(http.StatusCreated, http.MethodPost, "/v2/b/blobs/uploads/?from=a&mount="+config.String(), "", "")
	img := image("", config)
	r.push("a", "", img)
	r.push("b", "v1", img)
	assert.Equal(t, registrygc.Totals{Manifests: 1, Layers: 1}, r.collectAll())
	assert.False(t, r.hasManifest("a", img.digest()))
	assert.True(t, r.hasManifest("b", img.digest()))
	assert.True(t, r.hasBlob("b", config))
}

// TestGrace spares what is young, with everything that it needs.
func TestGrace(t *testing.T) {
	r := newRegistry(t)
	config := r.pushBlob("app", "{}")
	base := image("", config)
	r.push("app", "", base)
	old := image("", config, r.pushBlob("app", "old"))
	r.push("app", "", old)
	r.pushBlob("app", "old and loose")
	again := r.pushBlob("app", "pushed again")
	begin := mark()
	young := list("", base.digest())
	r.push("app", "", young)
	loose := r.pushBlob("app", "young and loose")
	r.pushBlob("app", "pushed again") // writes the link only

	o := registrygc.Options{Untagged: true, Grace: 24 * time.Hour}
	plan, err := registrygc.MakePlan(t.Context(), r.store, o, begin.Add(o.Grace))
	require.NoError(t, err)
	assert.Equal(t, 1, plan.Kept.Young)
	assert.Equal(t, 2, plan.Kept.YoungLayers)
	_, err = plan.Sweep(t.Context(), r.store)
	require.NoError(t, err)
	assert.True(t, r.hasManifest("app", young.digest()))
	assert.True(t, r.hasManifest("app", base.digest()))
	assert.False(t, r.hasManifest("app", old.digest()))
	for _, d := range []digest.Digest{config, loose, again} {
		assert.True(t, r.hasBlob("app", d))
	}
	assert.Len(t, r.contents(), 5)
}

// TestALayerOfAnotherAlgorithm is one content under two names.
func TestALayerOfAnotherAlgorithm(t *testing.T) {
	r := newRegistry(t)
	config := r.pushBlob("app", "{}")
	layer := r.pushBlobAs("app", "layer", digest.SHA512.FromString("layer"))
	loose := r.pushBlobAs("app", "loose", digest.SHA512.FromString("loose"))
	r.push("app", "v1", image("", config, layer))
	r.collectAll()
	assert.True(t, r.hasBlob("app", layer))
	assert.False(t, r.hasBlob("app", loose))
	assert.Len(t, r.contents(), 3)
}

// TestReferrerLinks: they hold a manifest to its subject, as its own word does, and go with it.
func TestReferrerLinks(t *testing.T) {
	r := newRegistry(t)
	config := r.pushBlob("app", "{}")
	img, added := image("", config), image("", config, config)
	gone := image(digest.FromString("gone"), config)
	r.push("app", "v1", img)
	r.push("app", "", added)
	r.push("app", "", gone)
	ctx := t.Context()
	require.NoError(t, r.store.PutReferrer(ctx, "app", img.digest(), added.digest()))
	require.NoError(t, r.store.PutReferrer(ctx, "app", gone.subject, gone.digest()))
	require.NoError(t, r.store.PutReferrer(ctx, "app", img.digest(), digest.FromString("deleted")))
	assert.Equal(t, registrygc.Totals{Manifests: 1, Referrers: 2, Blobs: 1, Bytes: int64(len(gone.text))}, r.collectAll())
	assert.True(t, r.hasManifest("app", added.digest()))
}

// TestTagsForget what goes.
func TestTagsForget(t *testing.T) {
	r := newRegistry(t)
	config := r.pushBlob("app", "{}")
	first, second := image("", config), image("", config, config)
	r.push("app", "v1", first)
	r.push("app", "v1", second)
	r.collectAll()
	var history []digest.Digest
	require.NoError(t, r.store.TagHistory(t.Context(), "app", "v1", func(d digest.Digest) error { history = append(history, d); return nil }))
	assert.Equal(t, []digest.Digest{second.digest()}, history)
}

// TestDamage: what cannot be read may name anything, so that everything in its repository stays.
func TestDamage(t *testing.T) {
	const root = "/docker/registry/v2/"
	for name, c := range map[string]struct {
		harm func(t *testing.T, r *registry, d digest.Digest)
		want string // object and error
	}{
		"no content": {
			func(t *testing.T, r *registry, d digest.Digest) {
				require.NoError(t, r.store.RemoveBlob(t.Context(), d))
			},
			"manifest DIGEST: opening blob DIGEST: file does not exist",
		},
		"other content": {
			func(t *testing.T, r *registry, d digest.Digest) {
				p := root + "blobs/sha256/" + d.Encoded()[:2] + "/" + d.Encoded() + "/data"
				require.NoError(t, r.driver.PutContent(t.Context(), p, []byte(`{"schemaVersion": 2}`)))
			},
			"manifest DIGEST: reading blob DIGEST: the content does not have this digest",
		},
		"no JSON": {
			func(t *testing.T, r *registry, _ digest.Digest) {
				d := r.pushBlob("app", "no JSON")
				p := root + "repositories/app/_manifests/revisions/sha256/" + d.Encoded() + "/link"
				require.NoError(t, r.driver.PutContent(t.Context(), p, []byte(d)))
			},
			"manifest " + digest.FromString("no JSON").String() + ": reading what it names: invalid character",
		},
		"a tag": {
			func(t *testing.T, r *registry, _ digest.Digest) {
				require.NoError(t, r.driver.PutContent(t.Context(), root+"repositories/app/_manifests/tags/v1/current/link", []byte("sha256:")))
			},
			"tag v1: reading " + root + "repositories/app/_manifests/tags/v1/current/link: ",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRegistry(t)
			config := r.pushBlob("app", "{}")
			loose := r.pushBlob("app", "loose")
			tagged, untagged := image("", config), image("", config, config)
			r.push("app", "v1", tagged)
			r.push("app", "", untagged)
			r.pushBlob("other", "loose in another")
			c.harm(t, r, tagged.digest())
			plan := r.plan(registrygc.Options{Untagged: true})
			require.Len(t, plan.Damage, 1)
			damage := plan.Damage[0]
			assert.Equal(t, "app", damage.Repository)
			assert.Contains(t, damage.Object+": "+damage.Err.Error(), strings.ReplaceAll(c.want, "DIGEST", tagged.digest().String()))
			_, err := plan.Sweep(t.Context(), r.store)
			require.NoError(t, err)
			assert.True(t, r.hasManifest("app", untagged.digest()))
			assert.True(t, r.hasBlob("app", loose))
			assert.False(t, r.hasBlob("other", digest.FromString("loose in another")))
		})
	}
}

// TestLostContents are links that go, and say why.
func TestLostContents(t *testing.T) {
	r := newRegistry(t)
	lost := r.pushBlob("app", "lost")
	require.NoError(t, r.store.RemoveBlob(t.Context(), lost))
	plan := r.plan(registrygc.Options{})
	require.Len(t, plan.Repositories, 1)
	assert.Equal(t, []registrygc.Layer{{Digest: lost, Content: lost, Why: registrygc.Lost}}, plan.Repositories[0].Layers)
}

// madeTags refers to a subject twice, as a server stores that, and returns what the referrers tag
// has named.
func (r *registry) madeTags(subject, config digest.Digest) (tag string, named []digest.Digest) {
	r.t.Helper()
	links := referrers.New(r.store)
	tag = "sha256-" + subject.Encoded()
	for _, layer := range []string{"one", "another"} {
		referrer := r.push("app", "", image(subject, config, r.pushBlob("app", layer)))
		require.NoError(r.t, r.store.PutReferrer(r.t.Context(), "app", subject, referrer))
		require.NoError(r.t, links.Refresh(r.t.Context(), "app", subject))
		current, err := r.store.Current(r.t.Context(), "app", tag)
		require.NoError(r.t, err)
		named = append(named, current)
	}
	return tag, named
}

// TestReplacedIndexesGo although untagged manifests stay: the server has made them for a referrers
// tag, and the one that the tag names stays.
func TestReplacedIndexesGo(t *testing.T) {
	r := newRegistry(t)
	config := r.pushBlob("app", "{}")
	_, made := r.madeTags(r.push("app", "v1", image("", config)), config)
	removed, err := r.plan(registrygc.Options{}).Sweep(t.Context(), r.store)
	require.NoError(t, err)
	assert.Equal(t, 1, removed.Manifests)
	assert.False(t, r.hasManifest("app", made[0]))
	assert.True(t, r.hasManifest("app", made[1]))
	assert.Zero(t, r.plan(registrygc.Options{}).Totals())
}

// TestMadeTagsAreNoRoots has two subjects that are untagged. One is needed, for a client has tagged
// one of its referrers.
func TestMadeTagsAreNoRoots(t *testing.T) {
	r := newRegistry(t)
	config := r.pushBlob("app", "{}")
	gone, signed := r.push("app", "", image("", config)), r.push("app", "", image("", config, r.pushBlob("app", "layer")))
	goneTag, goneIndexes := r.madeTags(gone, config)
	tag, indexes := r.madeTags(signed, config)
	kept := image(signed, config, r.pushBlob("app", "one")).digest()
	r.push("app", "sbom", image(signed, config, r.pushBlob("app", "one")))
	assert.Zero(t, r.plan(registrygc.Options{}).Totals().Tags)

	plan := r.plan(registrygc.Options{Untagged: true})
	require.Len(t, plan.Repositories, 1)
	assert.Equal(t, []registrygc.Note{{Tag: goneTag, Digest: goneIndexes[1]}}, plan.Repositories[0].Tags)
	removed := r.collectAll()
	assert.Equal(t, 1, removed.Tags)
	for _, d := range append(goneIndexes, gone, signed, indexes[0]) {
		assert.False(t, r.hasManifest("app", d), d)
	}
	assert.True(t, r.hasManifest("app", kept))
	assert.True(t, r.hasManifest("app", indexes[1]))
	_, err := r.store.Current(t.Context(), "app", goneTag)
	require.ErrorIs(t, err, fs.ErrNotExist)
	current, err := r.store.Current(t.Context(), "app", tag)
	require.NoError(t, err)
	assert.Equal(t, indexes[1], current)
	assert.Zero(t, r.collectAll())
}

// TestAMadeIndexThatAClientHasTagged: a tag that is none of referrers is a client's, whatever it
// names, and what that lists stays.
func TestAMadeIndexThatAClientHasTagged(t *testing.T) {
	for _, untagged := range []bool{false, true} {
		r := newRegistry(t)
		config := r.pushBlob("app", "{}")
		subject := r.push("app", "", image("", config))
		tag, indexes := r.madeTags(subject, config)
		index := r.must(200, "GET", "/v2/app/manifests/"+tag, "", "").Body.String()
		r.push("app", "backup", document{mediaType: listType, text: index})
		for _, signature := range r.referrersOf(subject) {
			if !untagged { // then nothing stays that it lists
				r.must(202, "DELETE", "/v2/app/manifests/"+signature.String(), "", "")
			}
		}
		_, err := r.plan(registrygc.Options{Untagged: untagged}).Sweep(t.Context(), r.store)
		require.NoError(t, err)
		current, err := r.store.Current(t.Context(), "app", "backup")
		require.NoError(t, err)
		assert.Equal(t, indexes[1], current)
		assert.True(t, r.hasManifest("app", current))
		for _, signature := range r.referrersOf(subject) {
			assert.True(t, r.hasManifest("app", signature), signature)
		}
		assert.Equal(t, untagged, len(r.referrersOf(subject)) > 0)
	}
}

func (r *registry) referrersOf(subject digest.Digest) []digest.Digest {
	r.t.Helper()
	all, err := r.store.ReferrersOf(r.t.Context(), "app", subject)
	require.NoError(r.t, err)
	return all
}

// TestATagThatWasMadeAnewStays.
func TestATagThatWasMadeAnewStays(t *testing.T) {
	r := newRegistry(t)
	config := r.pushBlob("app", "{}")
	subject := r.push("app", "", image("", config))
	tag, _ := r.madeTags(subject, config)
	plan := r.plan(registrygc.Options{Untagged: true})
	other := r.push("app", tag, list("", digest.FromString("absent")))
	_, err := plan.Sweep(t.Context(), r.store)
	require.NoError(t, err)
	current, err := r.store.Current(t.Context(), "app", tag)
	require.NoError(t, err)
	assert.Equal(t, other, current)
}
