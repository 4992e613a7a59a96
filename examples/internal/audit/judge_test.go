package audit

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// sample is an image for two platforms, an attestation, a list of both lists, and a signature of
// the image; and a build cache, whose list names a blob.
func sample() *imagetest.Fixture {
	f := imagetest.New()
	f.Layer("base", imagetest.Random(1, 100))
	f.Image("amd64", imagetest.Platform("linux/amd64"), imagetest.Layers("base"))
	f.Image("arm64", imagetest.Platform("linux/arm64"), imagetest.Layers("base"))
	f.Attestation("att", "amd64")
	f.List("top", imagetest.Entries("amd64", "arm64", "att"))
	f.List("outer", imagetest.Entries("top"))
	f.Artifact("sig", imagetest.Subject("top"))
	f.List("cache", imagetest.Entry("base", imagetest.EntryMediaType("application/vnd.oci.image.layer.v1.tar+gzip")))
	return f
}

// whole are the facts of a repository that has all of a fixture, but for the documents named, with
// the tags v1 for outer and cache for cache.
func whole(f *imagetest.Fixture) *facts {
	r := &facts{
		repository: "app", tags: map[string]link{"v1": {target: f.Digest("outer")}, "cache": {target: f.Digest("cache")}},
		manifests: map[digest.Digest]link{}, blobs: map[digest.Digest]link{}, referrers: map[referral]bool{},
		stored: map[digest.Digest]stored{}, documents: map[digest.Digest]document{},
	}
	for _, name := range []string{"amd64", "arm64", "att", "top", "outer", "sig", "cache"} {
		d := f.Digest(name)
		body, _ := f.Document(name)
		r.manifests[d], r.stored[d], r.documents[d] = link{target: d}, stored{size: int64(len(body))}, parse(body)
		for _, blob := range f.Blobs(name) {
			r.blobs[blob], r.stored[blob] = link{target: blob}, stored{size: int64(len(f.Content(f.Name(blob))))}
		}
	}
	r.referrers[referral{f.Digest("top"), f.Digest("sig")}] = true
	return r
}

// named writes findings with the names of a fixture in the place of digests, in the order of their
// kinds.
func named(f *imagetest.Fixture, findings []Finding) []string {
	name := func(d digest.Digest) string {
		if d == "" {
			return "-"
		}
		return f.Name(d)
	}
	var lines []string
	for _, found := range findings {
		line := string(found.Kind) + " " + name(found.Digest) + " " + name(found.Other)
		if found.Tag != "" {
			line += " :" + found.Tag
		}
		if len(found.Tags) > 0 {
			line += " by " + strings.Join(found.Tags, ",")
		}
		if _, hex, ok := strings.Cut(line, " by sha256-"); ok { // a referrers tag
			line = strings.Replace(line, hex, name(digest.NewDigestFromEncoded(digest.SHA256, hex)), 1)
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return lines
}

func TestJudge(t *testing.T) {
	f := sample()
	on := manifest.SparsePolicy{Enabled: true}
	arm64 := manifest.SparsePolicy{Enabled: true, RequiredArchitectures: []string{"arm64"}}
	for _, c := range []struct {
		name   string
		change func(*facts)
		policy demands
		want   []string
	}{
		{"nothing is wrong", func(*facts) {}, demands{proposed: &arm64}, nil},
		{
			"a tag that names nothing", func(r *facts) { r.tags["dead"] = link{} }, demands{},
			[]string{"tag-empty - - :dead"},
		},
		{
			"a tag whose manifest was deleted", func(r *facts) { delete(r.manifests, f.Digest("outer")) }, demands{},
			[]string{"tag-dangling outer - :v1"},
		},
		{
			"links that are damaged", func(r *facts) {
				r.tags["v1"] = link{problem: "is empty"}
				r.manifests[f.Digest("amd64")] = link{problem: "is empty"}
				r.blobs[f.Digest("base")] = link{problem: "is empty"}
				delete(r.documents, f.Digest("amd64"))
			},
			demands{inForce: on},
			[]string{"link-damaged - - :v1", "link-damaged amd64 -", "link-damaged base -"},
		},
		{
			"a manifest that is lost", func(r *facts) {
				delete(r.stored, f.Digest("amd64"))
				delete(r.documents, f.Digest("amd64"))
			},
			demands{inForce: on},
			[]string{"manifest-lost amd64 - by v1"},
		},
		{
			"a layer that is lost", func(r *facts) { delete(r.stored, f.Digest("base")) }, demands{inForce: on},
			[]string{"content-lost amd64 base by v1", "content-lost arm64 base by v1"},
		},
		{
			"a config that was deleted", func(r *facts) { delete(r.blobs, f.Digest("arm64.config")) }, demands{},
			[]string{"content-lost arm64 arm64.config by v1"},
		},
		{
			"a blob that nobody needs is lost", func(r *facts) {
				delete(r.stored, f.Digest("arm64.config"))
				delete(r.manifests, f.Digest("arm64"))
				delete(r.documents, f.Digest("arm64"))
			},
			demands{inForce: on},
			[]string{"blob-lost arm64.config -"},
		},
		{
			"a child that is absent", func(r *facts) {
				delete(r.manifests, f.Digest("arm64"))
				delete(r.documents, f.Digest("arm64"))
			},
			demands{},
			[]string{"child-missing top arm64 by v1"},
		},
		{
			"an optional child that is absent", func(r *facts) {
				delete(r.manifests, f.Digest("arm64"))
				delete(r.documents, f.Digest("arm64"))
			},
			demands{inForce: on},
			nil,
		},
		{
			"a child that a new policy requires", func(r *facts) {
				delete(r.manifests, f.Digest("arm64"))
				delete(r.documents, f.Digest("arm64"))
			},
			demands{inForce: on, proposed: &arm64},
			[]string{"policy-refuses top arm64 by v1"},
		},
		{
			"what the policy in force requires is said once", func(r *facts) {
				delete(r.manifests, f.Digest("arm64"))
				delete(r.documents, f.Digest("arm64"))
			},
			demands{inForce: arm64, proposed: &manifest.SparsePolicy{}},
			[]string{"child-missing top arm64 by v1"},
		},
		{
			"a blob in the place of a manifest", func(r *facts) { delete(r.blobs, f.Digest("base")) }, demands{},
			[]string{"child-missing cache base by cache", "content-lost amd64 base by v1", "content-lost arm64 base by v1"},
		},
		{
			"sizes that are not true", func(r *facts) {
				r.stored[f.Digest("att")] = stored{size: 1}
				r.stored[f.Digest("amd64.config")] = stored{size: 1}
			},
			demands{},
			[]string{"size-untrue amd64 amd64.config by v1", "size-untrue top att by v1"},
		},
		{
			"a document that is no manifest", func(r *facts) { r.documents[f.Digest("amd64")] = parse([]byte(`{"schemaVersion":1}`)) }, demands{},
			[]string{"manifest-unknown amd64 - by v1"},
		},
		{
			"a referrer that is not linked", func(r *facts) { clear(r.referrers) }, demands{},
			[]string{"referrer-unlinked sig top"},
		},
		{
			"links of referrers that should not be", func(r *facts) {
				r.referrers[referral{f.Digest("amd64"), f.Digest("sig")}] = true
				r.referrers[referral{f.Digest("amd64"), f.Digest("amd64.config")}] = true
			},
			demands{},
			[]string{"referrer-stray amd64.config amd64", "referrer-stray sig amd64 "},
		},
		{
			"a referrer that cannot be read keeps its link", func(r *facts) { delete(r.documents, f.Digest("sig")) }, demands{},
			nil,
		},
		{
			"the same in another algorithm", func(r *facts) {
				r.blobs[digest.SHA512.FromString("base")] = link{target: f.Digest("base")}
			},
			demands{},
			nil,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := whole(f)
			c.change(r)
			var want []string
			for _, line := range c.want {
				want = append(want, strings.TrimSpace(line))
			}
			assert.Equal(t, want, named(f, judge(r, c.policy)))
		})
	}
}

// TestLayersElsewhere: what has URLs is not looked for.
func TestLayersElsewhere(t *testing.T) {
	f := imagetest.New()
	f.Layer("windows", imagetest.Foreign("https://example.com/layer"))
	f.Image("image", imagetest.Platform("windows/amd64"), imagetest.Layers("windows"))
	d, config := f.Digest("image"), f.Digest("image.config")
	body, _ := f.Document("image")
	r := &facts{
		manifests: map[digest.Digest]link{d: {target: d}}, blobs: map[digest.Digest]link{config: {target: config}},
		stored: map[digest.Digest]stored{
			d: {size: int64(len(body))}, config: {size: int64(len(f.Content("image.config")))},
		},
		documents: map[digest.Digest]document{d: parse(body)},
	}
	assert.Empty(t, judge(r, demands{}))
}

// TestKindsAreComplete: whatever can be found has a level, something to do about it, and a place in
// the operator's guide.
func TestKindsAreComplete(t *testing.T) {
	page, err := os.ReadFile("../../../docs/sparse-registry.md")
	require.NoError(t, err)
	assert.Len(t, advice, len(level))
	for kind := range level {
		assert.NotEmpty(t, advice[kind], kind)
		assert.Contains(t, string(page), "`"+string(kind)+"`")
	}
}
