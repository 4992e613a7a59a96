package mirrorcmd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// A goldenBundle is what a file of testdata/bundles was made of.
type goldenBundle struct {
	fixture *imagetest.Fixture
	omit    []string                     // of the list, at the source
	absent  []string                     // at the other side, too
	push    func(*registrytest.Registry) // what is beside the list
	flags   []string                     // of create
	// old is set if such a bundle is not made any more: the file is only loaded.
	old bool
}

// plain makes images without compressed layers, so that a bundle of theirs is text: amd64 and arm64, under top.
func plain() *imagetest.Fixture {
	f := imagetest.New()
	f.Blob("base", imgspecv1.MediaTypeImageLayerGzip, []byte("base, and no gzip in truth"))
	for _, arch := range []string{"amd64", "arm64"} {
		f.Image(arch, imagetest.Platform("linux/"+arch), imagetest.Layers("base"))
	}
	f.List(imagetest.Top, imagetest.Entries("amd64", "arm64"))
	return f
}

// bundleType is the artifact type of sigstore's bundles, which cosign 3 writes.
const bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"

func goldenBundles() map[string]goldenBundle {
	// list makes a referrers tag list things, each with an artifact type or none.
	list := func(r *registrytest.Registry, f *imagetest.Fixture, subject string, things ...[2]string) {
		var listed []imgspecv1.Descriptor
		for _, thing := range things {
			_, mediaType := f.Document(thing[0])
			listed = append(listed, imgspecv1.Descriptor{MediaType: mediaType, Digest: f.Digest(thing[0]), Size: f.Size(thing[0]), ArtifactType: thing[1]})
		}
		index, _, err := endpoint.MergeReferrers(nil, listed)
		if err != nil {
			panic(err)
		}
		r.PutManifest("app", endpoint.ReferrersTag(f.Digest(subject)), imgspecv1.MediaTypeImageIndex, index)
	}
	push := func(r *registrytest.Registry, f *imagetest.Fixture, names ...string) {
		for _, name := range names {
			f.PushTo(r, "app", "", name)
		}
	}
	signed := func() *imagetest.Fixture {
		f := plain()
		for _, name := range []string{"signature", "untyped-signature"} {
			f.Artifact(name, imagetest.Subject("amd64"), imagetest.ArtifactType(bundleType))
		}
		f.Artifact("sbom", imagetest.Subject("amd64"), imagetest.ArtifactType("application/spdx+json"))
		f.Artifact("of-arm64", imagetest.Subject("arm64"), imagetest.ArtifactType(bundleType))
		f.Artifact("gone", imagetest.Subject("amd64"), imagetest.ArtifactType(bundleType))
		return f
	}
	cases := map[string]goldenBundle{}

	f := signed()
	cases["listed-types"] = goldenBundle{fixture: f, flags: []string{"--all", "--referrers=" + bundleType}, push: func(r *registrytest.Registry) {
		push(r, f, "signature", "untyped-signature", "sbom")
		list(r, f, "amd64", [2]string{"signature", "application/vnd.oci.empty.v1+json"}, [2]string{"untyped-signature", ""}, [2]string{"sbom", bundleType})
	}}
	g := signed()
	cases["listed-and-gone"] = goldenBundle{fixture: g, flags: []string{"--all", "--referrers"}, push: func(r *registrytest.Registry) {
		push(r, g, "signature")
		list(r, g, "amd64", [2]string{"signature", bundleType}, [2]string{"gone", bundleType})
	}}
	h := signed()
	cases["another-subject"] = goldenBundle{fixture: h, flags: []string{"--all", "--referrers"}, push: func(r *registrytest.Registry) {
		push(r, h, "signature", "of-arm64")
		list(r, h, "amd64", [2]string{"signature", bundleType}, [2]string{"of-arm64", bundleType})
	}}
	cases["another-subject-old"] = goldenBundle{fixture: h, old: true}

	group := func() *imagetest.Fixture {
		f := plain()
		f.Image("part", imagetest.Platform("linux/s390x"), imagetest.Layers("base"))
		f.Image("lost", imagetest.Platform("linux/ppc64le"), imagetest.Layers("base"))
		f.List("inner", imagetest.Entries("part"))
		f.List("group", imagetest.Entries("part", "lost"), imagetest.Entry("inner"), imagetest.Subject(imagetest.Top), imagetest.ArtifactType("application/x-group"))
		f.Artifact("note", imagetest.Subject("group"), imagetest.ArtifactType("application/x-note"))
		return f
	}
	i := group()
	cases["lists-as-referrers"] = goldenBundle{fixture: i, absent: []string{"lost"}, flags: []string{"--all", "--referrers", "--digest-tags", "--skip-missing"}, push: func(r *registrytest.Registry) {
		i.PushTo(r, "app", "", "group", "lost")
		push(r, i, "note")
		list(r, i, imagetest.Top, [2]string{"group", "application/x-group"})
		list(r, i, "group", [2]string{"note", "application/x-note"})
		i.PushTo(r, "app", digestTagOf(i, "amd64", ".att"), "inner")
	}}

	windows := func(docker ...imagetest.Option) *imagetest.Fixture {
		f := imagetest.New()
		f.Layer("elsewhere", imagetest.Foreign("https://registry.invalid/base"))
		mediaType := imgspecv1.MediaTypeImageLayerGzip
		if len(docker) > 0 {
			mediaType = "application/vnd.docker.image.rootfs.diff.tar.gzip"
		}
		f.Blob("own", mediaType, []byte("own, and no gzip in truth"))
		f.Image("windows", append([]imagetest.Option{imagetest.Platform("windows/amd64"), imagetest.Layers("elsewhere", "own")}, docker...)...)
		f.List(imagetest.Top, append([]imagetest.Option{imagetest.Entries("windows")}, docker...)...)
		return f
	}
	for name, f := range map[string]*imagetest.Fixture{"layers-elsewhere": windows(), "layers-elsewhere-docker": windows(imagetest.Docker())} {
		cases[name] = goldenBundle{fixture: f, omit: []string{"elsewhere"}, absent: []string{"elsewhere"}, flags: []string{"--all"}, push: func(*registrytest.Registry) {}}
	}

	j := plain()
	cases["kept"] = goldenBundle{fixture: j, absent: []string{"arm64"}, flags: []string{"--platform", "linux/amd64"}, push: func(*registrytest.Registry) {}}

	k := plain()
	k.Artifact("of-the-list", imagetest.Subject(imagetest.Top), imagetest.ArtifactType("application/spdx+json"))
	cases["void"] = goldenBundle{fixture: k, flags: []string{"--platform", "linux/amd64", "--sparse", "strip", "--referrers"}, push: func(r *registrytest.Registry) {
		push(r, k, "of-the-list")
		list(r, k, imagetest.Top, [2]string{"of-the-list", "application/spdx+json"})
	}}
	return cases
}

// TestGoldenBundles makes the bundles in testdata/bundles, and loads them. A file has, after a comment that says what is special, the
// warnings of both sides, with names in the place of digests; what has arrived at a registry without the referrers API; and the bundle, all
// files of which but bundle.json end without a newline. -update writes the files anew; bundles that are not made any more stay.
func TestGoldenBundles(t *testing.T) {
	cases := goldenBundles()
	files, err := filepath.Glob("testdata/bundles/*.txtar")
	require.NoError(t, err)
	for _, file := range files {
		assert.Contains(t, cases, strings.TrimSuffix(filepath.Base(file), ".txtar"), "nobody knows what it was made of")
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("testdata", "bundles", name+".txtar")
			golden, err := txtar.ParseFile(file)
			if *update && os.IsNotExist(err) {
				golden, err = &txtar.Archive{Comment: []byte(name + "\n\n")}, nil
			}
			require.NoError(t, err)
			require.NotEmpty(t, golden.Comment, "the comment says what is special")
			dir := filepath.Join(t.TempDir(), "bundle")
			var says outcome
			if c.old {
				unpackGolden(t, golden, dir)
			} else {
				says = c.create(t, dir)
			}
			got := &txtar.Archive{Comment: golden.Comment}
			add := func(name, content string) {
				got.Files = append(got.Files, txtar.File{Name: name, Data: []byte(content)})
			}
			add("create says", c.named(says.stderr))
			dst := registrytest.Start(t, registrytest.Options{NoReferrers: true})
			loaded := runAll(t.Context(), t, "", "bundle", "load", "--insecure-policy", "--dest-tls-verify=false", dir, dst.Host())
			require.Equal(t, StatusDone, loaded.status, loaded.stderr)
			add("load says", c.named(loaded.stderr))
			add("arrived", c.arrived(t, dst))
			imagetest.CheckRegistry(t, dst, "app", imagetest.Want{Tag: "1", Optional: c.absent, Fixture: c.fixture})
			packGolden(t, got, dir)
			if *update { // of an old bundle, what is said and what arrives
				require.NoError(t, os.WriteFile(file, txtar.Format(got), 0o600))
			}
			assert.Equal(t, string(txtar.Format(golden)), string(txtar.Format(got)))
		})
	}
}

// create makes the bundle of images whose names do not depend on the test.
func (c *goldenBundle) create(t *testing.T, dir string) outcome {
	t.Helper()
	src := registrytest.Start(t, registrytest.Options{NoReferrers: true})
	c.fixture.PushTo(src, "app", "1", imagetest.Top, c.omit...)
	c.push(src)
	conf := filepath.Join(t.TempDir(), "registries.conf")
	require.NoError(t, os.WriteFile(conf, fmt.Appendf(nil, "[[registry]]\nprefix = \"registry.example\"\nlocation = %q\ninsecure = true\n", src.Host()), 0o600))
	args := append([]string{"bundle", "create", "--insecure-policy", "--registries-conf", conf}, c.flags...)
	r := runAll(t.Context(), t, "", append(args, dir, "docker://registry.example/app:1")...)
	require.Equal(t, StatusDone, r.status, r.stderr)
	return r
}

var (
	logged        = regexp.MustCompile(`(?m)^time=\S+ level=warning msg=(".*")$`)
	aDigest       = regexp.MustCompile(`sha256[:-][0-9a-f]{64}`)
	aReferrersTag = regexp.MustCompile(`^sha256-[0-9a-f]{64}$`)
	loopback      = regexp.MustCompile(`127\.0\.0\.1:[0-9]+`)
	newline       = []byte("\n")
	bundleDoc     = "bundle/" + recordFile
)

// named returns the messages of a log, sorted, with names in the place of digests.
func (c *goldenBundle) named(log string) string {
	var lines []string
	for _, match := range logged.FindAllStringSubmatch(log, -1) {
		var text string
		if err := json.Unmarshal([]byte(match[1]), &text); err != nil {
			text = match[1]
		}
		text = aDigest.ReplaceAllStringFunc(text, func(d string) string {
			return "<" + c.fixture.Name(digest.Digest(strings.Replace(d, "-", ":", 1))) + ">"
		})
		lines = append(lines, loopback.ReplaceAllString(text, "registry")+"\n")
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// arrived says what is in the repository: what its tags name, and its manifests and blobs by their names.
func (c *goldenBundle) arrived(t *testing.T, r *registrytest.Registry) string {
	t.Helper()
	var lines []string
	known := map[digest.Digest]bool{}
	for _, tag := range r.Tags("app") {
		d, _ := r.Resolve("app", tag)
		if !aReferrersTag.MatchString(tag) {
			lines = append(lines, c.tagName(tag)+" names "+c.fixture.Name(d)+"\n")
			continue
		}
		content, _, _ := r.Manifest("app", tag)
		var index imgspecv1.Index
		require.NoError(t, json.Unmarshal(content, &index))
		known[d] = true
		names := make([]string, len(index.Manifests))
		for i, l := range index.Manifests {
			names[i] = fmt.Sprintf("%s (%s)", c.fixture.Name(l.Digest), l.ArtifactType)
		}
		lines = append(lines, c.tagName(tag)+" lists "+strings.Join(names, ", ")+"\n")
	}
	for kind, all := range map[string][]digest.Digest{"manifest": r.Manifests("app"), "blob": r.Blobs("app")} {
		for _, d := range all {
			if !known[d] {
				lines = append(lines, kind+" "+c.fixture.Name(d)+"\n")
			}
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// tagName names a tag that is made of a digest.
func (c *goldenBundle) tagName(tag string) string {
	return "tag " + aDigest.ReplaceAllStringFunc(tag, func(d string) string {
		return "<" + c.fixture.Name(digest.Digest(strings.Replace(d, "-", ":", 1))) + ">"
	})
}

// packGolden adds the files of a bundle.
func packGolden(t *testing.T, golden *txtar.Archive, dir string) {
	t.Helper()
	require.NoError(t, fs.WalkDir(os.DirFS(dir), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(filepath.Join(dir, name))
		if name != recordFile {
			content = append(content, newline...)
		}
		golden.Files = append(golden.Files, txtar.File{Name: "bundle/" + name, Data: content})
		return err
	}))
}

// unpackGolden writes the files of a bundle.
func unpackGolden(t *testing.T, golden *txtar.Archive, dir string) {
	t.Helper()
	for _, f := range golden.Files {
		name, ok := strings.CutPrefix(f.Name, "bundle/")
		if !ok {
			continue
		}
		content := f.Data
		if f.Name != bundleDoc {
			content = bytes.TrimSuffix(content, newline)
		}
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), content, 0o600))
	}
}

// TestLoadMergesDigestTags: what a digest tag names at the other side is not lost.
func TestLoadMergesDigestTags(t *testing.T) {
	f := attachedFixture()
	src, dst := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{Strict: true})
	pushAttached(f, src)
	bundle := filepath.Join(t.TempDir(), "bundle")
	runAll(t.Context(), t, "", "bundle", "create", "--insecure-policy", "--src-tls-verify=false", "--all", "--digest-tags", bundle, refTo(src)).done(t)
	sig := digestTagOf(f, imagetest.Top, ".sig")
	f.PushTo(dst, repo, sig, "cosigned-else")
	load := []string{"bundle", "load", "--insecure-policy", "--dest-tls-verify=false", bundle, dst.Host()}
	runAll(t.Context(), t, "", load...).done(t)
	content, _, ok := dst.Manifest(repo, sig)
	require.True(t, ok)
	for _, name := range []string{"payload", "other"} {
		assert.Contains(t, string(content), f.Digest(name).String())
	}
	imagetest.CheckRegistry(t, dst, repo, imagetest.Want{Tag: sig})
	imagetest.CheckRegistry(t, dst, repo, imagetest.Want{Tag: tag, Digest: f.Digest(imagetest.Top), Fixture: f})
	before := writes(dst)
	r := runAll(t.Context(), t, "", append(load, "--output", "json")...).done(t)
	assert.Contains(t, r.stdout, `"attached": 1`)
	assert.NotContains(t, r.stdout, `"warnings"`)
	assert.Equal(t, before, writes(dst), "nothing to do")

	f.PushTo(dst, repo, digestTagOf(f, "sbom", ".sbom"), "cosigned-else") // of nothing in the bundle
	r = mirror(t, "verify", "--all", "--digest-tags", refTo(src), refTo(dst)).done(t)
	assert.Contains(t, r.stdout, "1 attached")

	// A manifest of another kind cannot be merged with: what it was is said.
	f.PushTo(dst, repo, sig, "sbom")
	r = runAll(t.Context(), t, "", append(load, "--output", "json")...)
	assert.Equal(t, StatusDone, r.status)
	assert.Contains(t, r.stdout, "tag "+sig+" named "+f.Digest("sbom").String()+", and now names "+f.Digest("cosigned").String())
}

// TestBundleKeepsVoid carries what is attached to a list that is stripped, if the sync file says so.
func TestBundleKeepsVoid(t *testing.T) {
	f := attachedFixture()
	src, dst := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{})
	pushAttached(f, src)
	dir := t.TempDir()
	for _, keep := range []bool{false, true} {
		file := filepath.Join(dir, fmt.Sprintf("images-%t.yaml", keep))
		require.NoError(t, os.WriteFile(file, fmt.Appendf(nil,
			"images:\n- source: %s\n  destination: %s\n  platforms: [linux/amd64]\n  sparse: strip\n  list-signatures: warn\n  referrers: true\n  keep-void: %t\n", refTo(src), refTo(dst), keep), 0o600))
		bundle := filepath.Join(dir, fmt.Sprintf("bundle-%t", keep))
		r := runAll(t.Context(), t, "", "bundle", "create", "--insecure-policy", "--src-tls-verify=false", "--file", file, bundle)
		require.Equal(t, StatusDone, r.status, r.stderr)
		assert.NotEqual(t, keep, strings.Contains(r.stderr, "what is attached to the list "+f.Digest(imagetest.Top).String()+", which changes, is left out (1)"), r.stderr)
		runAll(t.Context(), t, "", "bundle", "load", "--insecure-policy", "--dest-tls-verify=false", bundle, dst.Host()).done(t)
		_, _, there := dst.Manifest(repo, f.Digest("group").String())
		assert.Equal(t, keep, there)
	}
}
