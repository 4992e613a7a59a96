package syncfile

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/transports/alltransports"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/examples/internal/tagselect"
	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
)

func TestMain(m *testing.M) { os.Exit(hermetictest.Main(m.Run)) }

func parseRef(what, text string) (types.ImageReference, error) {
	ref, err := alltransports.ParseImageName(text)
	if err != nil {
		return nil, fmt.Errorf("%s %q: %w", what, text, err)
	}
	return ref, nil
}

func parse(text string) (*File, error) { return Parse("f.yaml", []byte(text), parseRef) }

const digestText = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func TestDestinations(t *testing.T) {
	for _, c := range []struct{ source, destination, want string }{
		{"docker://quay.io/a/b:1", "docker://m.example/b", "docker://m.example/b:1"},
		{"docker://quay.io/a/b", "docker://m.example/b", "docker://m.example/b:latest"},
		{"docker://quay.io/a/b:1", "docker://m.example/b:2", "docker://m.example/b:2"},
		{"docker://quay.io/a/b@" + digestText, "docker://m.example/b", "docker://m.example/b@" + digestText},
		{"docker://quay.io/a/b@" + digestText, "docker://m.example/b:1", "docker://m.example/b:1"},
		{"docker://quay.io/a/b:1@" + digestText, "docker://m.example/b", "docker://m.example/b:1"},
		{"docker://alpine:3@" + digestText, "docker://m.example/{repository}:{tag}-x", "docker://m.example/library/alpine:3-x"},
		{"docker://quay.io/a/b:1@" + digestText, "docker://m.example/b@" + digestText, "docker://m.example/b@" + digestText},
		{"docker://h.example:5000/a/b:1", "docker://m.example/{registry}/{repository}:{tag}-x", "docker://m.example/h.example-5000/a/b:1-x"},
		{"docker://alpine:3", "docker://m.example/{registry}/{name}", "docker://m.example/docker.io/alpine:3"},
		{"docker://alpine:3", "oci:/layout:{name}-{tag}", "oci:/layout:alpine-3"},
		{"oci:/layout:x", "docker://m.example/x:1", "docker://m.example/x:1"},
	} {
		f, err := parse(fmt.Sprintf("images: [{source: %q, destination: %q}]", c.source, c.destination))
		require.NoError(t, err)
		copies, err := f.Images[0].Copies(nil)
		require.NoError(t, err)
		require.Len(t, copies, 1)
		assert.Equal(t, c.want, transports.ImageName(copies[0].Destination), c.source)
	}
}

func TestDefaultsAndOwnSettings(t *testing.T) {
	f, err := parse(`
version: 1
defaults: &d
  destination: docker://m.example/{repository}
  platforms: &p [linux/amd64, linux/arm/v7, "!windows/*"]
  optional: [linux/s390x]
  required: [linux/amd64]
  sparse: auto
  attestations: drop
  missing: skip
  single: skip
  referrers: [application/spdx+json]
  digest-tags: true
  entries-as-referrers: true
  parallel: 4
  keep-void: true
  check-blobs: true
  widened-child-tags: true
  preserve-digests: true
  remove-signatures: true
  remove-list-signatures: true
  list-signatures: warn
images:
- source: docker://quay.io/a:1
- source: docker://quay.io/b:1
  platforms: []
  optional: []
  single: check
  sparse: strip
  referrers: true
- source: docker://quay.io/c:1
  platforms: *p
  single: copy
  platformless-entries: keep
  referrers: false
  keep-void: false
  check-blobs: false
  entries-as-referrers: false
  preserve-digests: false
  remove-signatures: false
  remove-list-signatures: false
  list-signatures: guard
`)
	require.NoError(t, err)
	require.Len(t, f.Images, 3)
	a, b, c := f.Images[0], f.Images[1], f.Images[2]
	assert.Equal(t, 24, a.Line)
	added := func(i *Image) []bool {
		o := i.Options
		return []bool{o.EntriesAsReferrers, o.KeepVoid, o.CheckBlobs, o.PreserveDigests, o.RemoveSignatures, o.RemoveListSignatures, o.ListSignatures == copy.WarnListSignatures}
	}
	assert.Equal(t, []bool{true, true, true, true, true, true, true}, added(a))
	assert.Equal(t, []bool{false, false, false, false, false, false, false}, added(c))
	assert.Equal(t, copy.CopySpecificImages, a.Options.ImageListSelection)
	assert.Len(t, a.Options.InstancePlatforms, 3)
	assert.Len(t, a.Options.OptionalPlatforms, 1)
	assert.Len(t, a.Options.RequiredPlatforms, 1)
	assert.Equal(t, copy.AutoSparseManifestList, a.Options.SparseManifestListAction)
	assert.Equal(t, copy.DropAttestations, a.Options.Attestations)
	assert.Equal(t, copy.SkipMissing, a.Options.MissingInstances)
	assert.Equal(t, []string{"application/spdx+json"}, a.Options.ReferrerTypes)
	assert.Equal(t, copy.AllReferrers, a.Options.Referrers)
	assert.True(t, a.Options.DigestTags)
	assert.True(t, a.Options.WidenedChildTags)
	assert.Equal(t, SkipSingle, a.Single)
	assert.True(t, a.Budget().TryAcquire(4))
	assert.False(t, a.Budget().TryAcquire(1))

	assert.Equal(t, copy.CopyAllImages, b.Options.ImageListSelection)
	assert.Equal(t, copy.StripSparseManifestList, b.Options.SparseManifestListAction)
	assert.Equal(t, copy.AllReferrers, b.Options.Referrers)
	assert.Empty(t, b.Options.ReferrerTypes)
	assert.Equal(t, CheckSingle, b.Single)
	assert.Equal(t, copy.CheckSingleImage, b.Options.SingleImage)
	assert.Equal(t, CopySingle, c.Single)
	assert.Equal(t, copy.StripPlatformlessEntries, a.Options.PlatformlessEntries)
	assert.Equal(t, copy.KeepPlatformlessEntries, c.Options.PlatformlessEntries)
	assert.Equal(t, copy.CopySingleImage, c.Options.SingleImage)
	assert.Len(t, c.Options.InstancePlatforms, 3)
	assert.Equal(t, copy.NoReferrers, c.Options.Referrers)
}

func TestTags(t *testing.T) {
	f, err := parse(`
images:
- source: docker://quay.io/a
  destination: docker://m.example/a
  tags: [1.10, "v[12].?", {regexp: "x+"}]
  exclude-tags: [v1.0, {regexp: ".*9"}]
`)
	require.NoError(t, err)
	tags := f.Images[0].Tags
	assert.True(t, tags.Listed())
	got, err := tags.Match([]string{"v1.0", "v1.1", "v2.9", "v3.0", "v1x1", "v2.10", "xx", "axx", "xxb", "1.10"})
	require.NoError(t, err)
	assert.Equal(t, tagselect.Matched{Names: []string{"1.10"}, Taken: []string{"xx", "v1.1"}, PassedOver: []string{}}, got)
	_, err = tags.Match([]string{"v1.1"})
	assert.ErrorContains(t, err, `regexp "x+"`)
	key, same := f.Images[0].Repository()
	assert.Equal(t, "docker://m.example/a", key)
	assert.True(t, same)
}

// TestDigestTagSuffixes: an image may want fewer than the defaults say.
func TestDigestTagSuffixes(t *testing.T) {
	for value, want := range map[string]copy.Options{
		"true": {DigestTags: true}, "cosign": {DigestTags: true}, "false": {},
		"all": {DigestTags: true, DigestTagSuffixes: copy.AllDigestTags},
	} {
		f, err := parse("defaults: {digest-tags: all}\nimages: [{source: docker://quay.io/a, destination: docker://m.example/a, digest-tags: " + value + "}]")
		require.NoError(t, err)
		o := f.Images[0].Options
		assert.Equal(t, want, copy.Options{DigestTags: o.DigestTags, DigestTagSuffixes: o.DigestTagSuffixes}, value)
	}
}

// TestDefaultsThatNeedPlatforms are no error for an image that takes the platforms away, and are
// one for all if there are none.
func TestDefaultsThatNeedPlatforms(t *testing.T) {
	const text = "defaults: {destination: 'docker://m.example/{name}', single: copy, platformless-entries: keep%s}\n" +
		"images:\n- source: docker://quay.io/a:1\n- {source: 'docker://quay.io/b:1', platforms: []%s}\n"
	f, err := parse(fmt.Sprintf(text, ", platforms: [linux/amd64]", ""))
	require.NoError(t, err)
	assert.Equal(t, copy.CopyAllImages, f.Images[1].Options.ImageListSelection)
	_, err = parse(fmt.Sprintf(text, "", ""))
	require.ErrorContains(t, err, "f.yaml:1: single: copy needs platforms")
	require.ErrorContains(t, err, "f.yaml:1: platformless-entries: keep needs platforms")
	_, err = parse(fmt.Sprintf(text, ", platforms: [linux/amd64]", ", single: skip"))
	require.ErrorContains(t, err, "f.yaml:4: single: skip needs platforms")
}

// TestDefaultsThatAttachOriginals are no error for an image whose list is kept, and are one for all
// if the defaults keep lists.
func TestDefaultsThatAttachOriginals(t *testing.T) {
	const text = "defaults: {destination: 'docker://m.example/{name}', attach-original: true%s}\n" +
		"images:\n- source: docker://quay.io/a:1\n- {source: 'docker://quay.io/b:1', sparse: keep}\n"
	_, err := parse(fmt.Sprintf(text, ", sparse: auto"))
	require.NoError(t, err)
	_, err = parse(fmt.Sprintf(text, ""))
	require.ErrorContains(t, err, "f.yaml:1: attach-original needs sparse: strip or auto")
}

// TestReferrersSource: a repository for each image, or none.
func TestReferrersSource(t *testing.T) {
	f, err := parse(`
defaults:
  destination: docker://m.example/{name}
  referrers: true
  referrers-source: docker://scout.example/docker/dhi-{name}
images:
- source: docker://dhi.io/python
  tags: ["3.13", "3.14"]
- {source: "docker://dhi.io/node:24", referrers-source: docker://scout.example/other}
- {source: "docker://quay.io/a:1", referrers-source: none}
- {source: "docker://quay.io/b:1", referrers: false, referrers-source: none}
`)
	require.NoError(t, err)
	var got []string
	for _, image := range f.Images {
		copies, err := image.Copies(nil)
		require.NoError(t, err)
		for _, c := range copies {
			name := "none"
			if c.ReferrersFrom != nil {
				name = c.ReferrersFrom.Reference.DockerReference().Name()
				assert.Nil(t, c.ReferrersFrom.SystemContext)
			}
			got = append(got, name)
		}
	}
	assert.Equal(t, []string{"scout.example/docker/dhi-python", "scout.example/docker/dhi-python", "scout.example/other", "none", "none"}, got)
}

// TestDigestTags has patterns that match tags named after digests, which only names take.
func TestDigestTags(t *testing.T) {
	hex := strings.Repeat("0123456789abcdef", 4)
	f, err := parse(`
images:
- source: docker://quay.io/a
  destination: docker://m.example/a
  tags: ["*", {regexp: ".*sig"}, sha256-` + hex + `.att, v2]
  exclude-tags: ["*.sbom"]
`)
	require.NoError(t, err)
	listed := []string{
		"v1", "sha256-" + hex, "sha256-" + hex + ".sig", "sha256-" + hex + ".att", "sha256-" + hex + ".sbom", "sha512-" + hex + hex + "-x_y", "sha256-x.sig", "sha-0123456789abcdef",
	}
	got, err := f.Images[0].Tags.Match(listed)
	require.NoError(t, err)
	assert.Equal(t, []string{"sha256-x.sig", "sha-0123456789abcdef", "v1"}, got.Taken)
	assert.Equal(t, []string{"sha256-" + hex + ".att", "v2"}, got.Names)
	assert.Len(t, got.PassedOver, 3, "not those that are named or excluded; those that two patterns match once")

	_, err = f.Images[0].Tags.Match([]string{"v1", "sha256-" + hex + ".sig"})
	assert.ErrorContains(t, err, `regexp ".*sig", but for 1 that are named after digests, which patterns do not take`)
}

func TestRepository(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	f, err := parse("images:\n- {source: 'docker://a.example/a', tags: ['*'], destination: 'docker://m.example/a-{tag}:1'}\n" +
		"- {source: 'docker://a.example/a:1', destination: 'oci:" + dir + ":x'}\n")
	require.NoError(t, err)
	_, same := f.Images[0].Repository()
	assert.False(t, same)
	key, same := f.Images[1].Repository()
	assert.Equal(t, "oci:"+dir, key)
	assert.True(t, same)
}

// TestProblems has what is wrong with files, in one clear line each.
func TestProblems(t *testing.T) {
	const ok = "- {source: 'docker://a.example/a:1', destination: 'docker://m.example/a'}\n"
	image := func(more string) string {
		return "images:\n- source: docker://a.example/a:1\n  destination: docker://m.example/a\n  " + more + "\n"
	}
	for _, c := range []struct{ text, says string }{
		{"", "f.yaml: the file is empty"},
		{"# nothing\n", "f.yaml: the file is empty"},
		{"images: [\n", "f.yaml:1: no valid YAML"},
		{"a: b: c\n", "f.yaml:1: no valid YAML: mapping values are not allowed"},
		{"images:\n" + ok + "---\n", "more than one document"},
		{"- a\n", "f.yaml:1: the file must be a mapping"},
		{"image:\n" + ok, `f.yaml:1: the file has no key "image"; did you mean "images"?`},
		{"version: 2\nimages:\n" + ok, `f.yaml:1: version "2" is unknown`},
		{"version: 1\n", "f.yaml:1: there is no key images"},
		{"images: []\n", "f.yaml:1: images has no elements"},
		{"images: {}\n", "f.yaml:1: images must be a list"},
		{"images:\n- docker://a.example/a\n", "f.yaml:2: an image must be a mapping"},
		{"images:\n- destination: docker://m.example/a\n", "f.yaml:2: the image has no source"},
		{"images:\n- source: docker://a.example/a\n", "f.yaml:2: the image has no destination"},
		{"images:\n- {source: , destination: x}\n", "f.yaml:2: source must be a text"},
		{"images:\n- {source: 'docker://A', destination: 'docker://m.example/a'}\n", "f.yaml:2: source \"docker://A\""},
		{"images:\n- {source: 'docker://a.example/a', destination: 'docker://M'}\n", "f.yaml:2: destination \"docker://M"},
		{image("platform: [linux/amd64]"), `f.yaml:4: an image has no key "platform"; did you mean "platforms"?`},
		{image("completely-different: 1"), `known are always-sign, annotate-transformed, attach-original, attestations, changed-subjects, check, check-blobs, cron, decryption-key, dest-compress-format`},
		{image("source: docker://b"), `f.yaml:4: an image has the key "source" twice`},
		{image("platforms: linux/amd64"), "f.yaml:4: platforms must be a list"},
		{image("platforms: [linux]"), "f.yaml:4: platforms: "},
		{image("platforms: [[linux/amd64]]"), "f.yaml:4: platforms must be a text"},
		{image("required: ['!linux/amd64']"), `f.yaml:4: required: "!linux/amd64" excludes`},
		{image("sparse: delete"), `f.yaml:4: sparse: write auto, keep or strip, not "delete"`},
		{image("missing: maybe"), `write fail or skip`},
		{image("single: skip"), "f.yaml:4: single: skip needs platforms"},
		{image("single: copy"), "f.yaml:4: single: copy needs platforms"},
		{image("platformless-entries: keep"), "f.yaml:4: platformless-entries: keep needs platforms"},
		{image("platformless-entries: drop"), `f.yaml:4: platformless-entries: write keep or strip, not "drop"`},
		{image("single: always"), `f.yaml:4: single: write check, copy or skip, not "always"`},
		{image("referrers: some"), `write false or true`},
		{image("referrers-source: docker://m.example/{x}"), `f.yaml:4: referrers-source "docker://m.example/{x}" has {x}, which is unknown`},
		{image("referrers: true\n  referrers-source: 'oops:x'"), `f.yaml:5: referrers-source: write docker://HOST/NAME, a repository of a registry, not "oops:x"`},
		{image("referrers: true\n  referrers-source: 'oci:x'"), `f.yaml:5: referrers-source: write docker://HOST/NAME`},
		{image("referrers: true\n  referrers-source: 'docker://M'"), `f.yaml:5: referrers-source "docker://M`},
		{image("referrers-source: docker://m.example/a"), "f.yaml:4: referrers-source needs referrers or digest-tags"},
		{image("digest-tags: some"), `digest-tags: write all, cosign, false or true, not "some"`},
		{image("keep-void: true"), "f.yaml:4: keep-void needs referrers or digest-tags"},
		{image("attach-original: true"), "f.yaml:4: attach-original needs sparse: strip or auto: a list that is kept is the original"},
		{image("sparse: keep\n  attach-original: true"), "f.yaml:5: attach-original needs sparse: strip or auto"},
		{image("keep-void: yes"), `keep-void: write false or true, not "yes"`},
		{image("list-signatures: keep"), "list-signatures: write guard or warn"},
		{image("referrers: []"), "f.yaml:4: referrers has no elements"},
		{image("parallel: many"), `f.yaml:4: parallel: "many" is no number`},
		{image("parallel: 0"), `f.yaml:4: parallel: "0" is no number`},
		{image("tags: [a]"), "f.yaml:2: tags needs a source that is a repository"},
		{image("exclude-tags: [a]"), "f.yaml:4: exclude-tags needs tags"},
		{"images:\n- {source: 'docker://a.example/a', destination: 'docker://m.example/a', tags: []}\n", "tags has no elements"},
		{"images:\n- {source: 'docker://a.example/a', destination: 'docker://m.example/a', tags: ['a b']}\n", `"a b" is neither a tag nor a glob`},
		{"images:\n- {source: 'docker://a.example/a', destination: 'docker://m.example/a', tags: ['a[']}\n", `glob "a["`},
		{"images:\n- {source: 'docker://a.example/a', destination: 'docker://m.example/a', tags: [{regexp: '('}]}\n", `regexp "("`},
		{"images:\n- {source: 'docker://a.example/a', destination: 'docker://m.example/a', tags: [{glob: 'x'}]}\n", `a tag has no key "glob"`},
		{"images:\n- {source: 'docker://a.example/a', destination: 'docker://m.example/a:1', tags: [a, b]}\n", "it needs {tag}"},
		{"images:\n- {source: 'docker://a.example/a', destination: 'docker://m.example/{repo}'}\n", `f.yaml:2: destination "docker://m.example/{repo}" has {repo}, which is unknown`},
		{"images:\n- {source: 'oci:/a:1', destination: 'docker://m.example/{name}'}\n", "the source is in no registry"},
		{"images:\n- {source: 'docker://a.example/a@" + digestText + "', destination: 'docker://m.example/a:{tag}'}\n", "has {tag}, and the source has none"},
		{"images:\n" + ok + ok, "f.yaml:3: docker://m.example/a:1 is the destination of the image in line 2 too"},
		{"defaults: {sparse: x}\nimages:\n" + ok + ok, "f.yaml:1: sparse: write"},
		{"defaults: {source: x}\nimages:\n" + ok, `f.yaml:1: defaults has no key "source"`},
		{"defaults: [x]\nimages:\n" + ok, "f.yaml:1: defaults must be a mapping"},
		{"images: &a [*a]\n", "f.yaml:1: "},
	} {
		_, err := parse(c.text)
		if assert.ErrorContains(t, err, c.says, "%s", c.text) {
			assert.NotContains(t, err.Error(), "\n")
			assert.Equal(t, 1, strings.Count(err.Error(), c.says), "%v", err)
		}
	}
	_, err := Parse("f.yaml", make([]byte, MaxSize+1), parseRef)
	assert.ErrorContains(t, err, "more than 16777216 bytes")
}

// TestOneProblem: what is wrong with a value is said, and nothing about what it would need.
func TestOneProblem(t *testing.T) {
	for _, key := range []string{"single: always", "single: [copy]", "platformless-entries: drop"} {
		_, err := parse("images:\n- source: docker://a.example/a:1\n  destination: docker://m.example/a\n  " + key + "\n")
		var problems Problems
		require.ErrorAs(t, err, &problems, key)
		assert.Len(t, problems, 1, key)
	}
}

// TestManyProblems names all of them, in the order of their lines, up to a point.
func TestManyProblems(t *testing.T) {
	_, err := parse("images:\n" + strings.Repeat("- {sauce: x}\n", 20))
	assert.ErrorContains(t, err, "f.yaml:2: an image has no key")
	assert.ErrorContains(t, err, "and 35 problems more")
	var all Problems
	require.ErrorAs(t, err, &all)
	assert.Len(t, all, 40)
}

func FuzzParse(f *testing.F) {
	f.Add("images:\n- {source: 'docker://a.example/a', destination: 'docker://m.example/{name}', tags: ['a[b-c]*', {regexp: 'x'}]}\n")
	f.Add("defaults: &d {platforms: [linux/*]}\nimages: [*d]\n")
	f.Fuzz(func(t *testing.T, text string) {
		file, err := parse(text)
		if err != nil {
			return
		}
		for _, image := range file.Images {
			image.Repository()
			if image.Tags == nil {
				_, err := image.Copies(nil)
				assert.NoError(t, err)
			}
		}
	})
}

// TestEveryKeyIsDocumented holds the table of docs/sync.md against the keys that there are.
func TestEveryKeyIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../../../docs/sync.md")
	require.NoError(t, err)
	for _, key := range append(keysOf(settings), imageKeys...) {
		assert.Regexp(t, "(?m)^\\| (`[a-z-]+`, )*`"+key+"`", string(page), "a row of the table begins with it")
	}
}
