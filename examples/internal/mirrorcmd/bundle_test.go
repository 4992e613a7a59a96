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

	"github.com/sparsecopy/sparsecopy/copy/bundle"
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
	file    string                       // a sync file that says what is in the bundle
	images  []string                     // that are in it, without the registry; app:1 if none are named
	since   []string                     // those of a bundle that was made before
	signed  []string                     // what signatures are kept for, beside the registries
	// old is set if such a bundle is not made any more: the file is only loaded.
	old bool

	arrivals string // where the last load has put signatures
}

// plain makes images without compressed layers, so that a bundle of theirs is text: amd64 and
// arm64, under top.
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

	single := func(options ...imagetest.Option) *imagetest.Fixture {
		f := imagetest.New()
		f.Blob("base", imgspecv1.MediaTypeImageLayerGzip, []byte("base, and no gzip in truth"))
		f.Blob("more", imgspecv1.MediaTypeImageLayer, []byte("more, not compressed"))
		f.Image(imagetest.Top, append(options, imagetest.Platform("linux/amd64"), imagetest.Layers("base", "more"))...)
		return f
	}
	nothing := func(*registrytest.Registry) {}
	cases["single"] = goldenBundle{fixture: single(), push: nothing}

	nested := func() *imagetest.Fixture {
		f := plain()
		f.Image("s390x", imagetest.Platform("linux/s390x"), imagetest.Layers("base"))
		f.List("inner", imagetest.Entries("arm64", "s390x"))
		f.List("outer", imagetest.Entries("amd64", "arm64"), imagetest.Entry("inner"))
		return f
	}
	for name, sparse := range map[string]string{"nested-kept": "keep", "nested-stripped": "strip"} {
		f := nested()
		cases[name] = goldenBundle{
			fixture: f, omit: []string{imagetest.Top}, absent: []string{"arm64"}, images: []string{"nested:1"}, flags: []string{"--platform", "linux/amd64,linux/s390x", "--sparse", sparse},
			push: func(r *registrytest.Registry) { f.PushTo(r, "nested", "1", "outer") },
		}
	}

	l := plain()
	cases["digest-tags"] = goldenBundle{fixture: l, flags: []string{"--all", "--digest-tags"}, push: func(r *registrytest.Registry) {
		l.PushTo(r, "app", digestTagOf(l, imagetest.Top, ".sig"), "arm64")
		l.PushTo(r, "app", digestTagOf(l, "amd64", ".att"), "arm64")
		l.PushTo(r, "app", digestTagOf(l, "arm64", ".sbom"), "amd64")
	}}
	m := plain()
	cases["signed"] = goldenBundle{fixture: m, flags: []string{"--all"}, signed: []string{imagetest.Top, "arm64"}, push: nothing}

	n := nested()
	several := func(r *registrytest.Registry) {
		n.PushTo(r, "app", "2", "outer")
		n.PushTo(r, "team/other", "1", "arm64")
	}
	cases["several"] = goldenBundle{
		fixture: n, absent: []string{"amd64", "s390x"}, images: []string{"team/other:1", "app:2", "app:1"}, flags: []string{"--platform", "linux/arm64"}, push: several,
	}
	cases["since"] = goldenBundle{
		fixture: n, images: []string{"app:2", "team/other:1"}, since: []string{"app:1"}, flags: []string{"--all"}, push: several,
	}
	cases["by-digest"] = goldenBundle{
		fixture: n, images: []string{"app@" + n.Digest("outer").String(), "app:1"}, push: several, flags: []string{"--platform", "linux/arm64", "--sparse", "strip"},
	}

	o := plain()
	o.Artifact("of-the-list", imagetest.Subject(imagetest.Top), imagetest.ArtifactType("application/spdx+json"))
	cases["void-kept"] = goldenBundle{
		fixture: o, file: "  platforms: [linux/amd64]\n  sparse: strip\n  referrers: true\n  keep-void: true\n",
		push: func(r *registrytest.Registry) {
			push(r, o, "of-the-list")
			list(r, o, imagetest.Top, [2]string{"of-the-list", "application/spdx+json"})
		},
	}
	return cases
}

// TestGoldenBundles makes the bundles in testdata/bundles, and loads them. A file has, after a
// comment that says what is special, the warnings of both sides, with names in the place of
// digests; what has arrived at a registry without the referrers API, and at one that wants all
// children of a list; and the bundle, all files of which but bundle.json end without a newline.
// -update writes the files anew; bundles that are not made any more stay.
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
			bundles := []string{dir}
			if c.old {
				unpackGolden(t, golden, dir)
			} else {
				says = c.create(t, &bundles)
			}
			got := &txtar.Archive{Comment: golden.Comment}
			add := func(name, content string) {
				got.Files = append(got.Files, txtar.File{Name: name, Data: []byte(content)})
			}
			add("create says", c.named(says.stderr))
			dst := registrytest.Start(t, registrytest.Options{NoReferrers: true})
			loaded := c.load(t, dst, bundles)
			require.Equal(t, StatusDone, loaded.status, loaded.stderr)
			add("load says", c.named(loaded.stderr))
			arrived := c.arrived(t, dst)
			add("arrived", arrived+c.signatures(t))
			for _, ref := range c.refs() {
				repo, tag, _ := strings.Cut(ref, ":")
				if strings.Contains(repo, "@") {
					continue
				}
				imagetest.CheckRegistry(t, dst, repo, imagetest.Want{Tag: tag, Optional: c.absent, Fixture: c.fixture})
			}
			strict := registrytest.Start(t, registrytest.Options{NoReferrers: true, Strict: true})
			loaded = c.load(t, strict, bundles)
			switch now := c.arrived(t, strict); {
			case loaded.status == StatusDone && now == arrived:
				add("arrived where all children are wanted", "the same\n")
			default:
				add("arrived where all children are wanted", fmt.Sprintf("status %d\n%s", loaded.status, now))
			}
			packGolden(t, got, dir)
			if *update { // of an old bundle, what is said and what arrives
				require.NoError(t, os.WriteFile(file, txtar.Format(got), 0o600))
			}
			assert.Equal(t, string(txtar.Format(golden)), string(txtar.Format(got)))
		})
	}
}

// refs returns the images of the bundle, and of the one before, without the registry.
func (c *goldenBundle) refs() []string {
	if len(c.images) == 0 {
		return append([]string{"app:1"}, c.since...)
	}
	return append(slices.Clone(c.images), c.since...)
}

// repositories returns the repositories of the images.
func (c *goldenBundle) repositories() []string {
	var all []string
	for _, ref := range c.refs() {
		repo, _, _ := strings.Cut(ref, ":")
		all = append(all, strings.TrimSuffix(repo, "@sha256"))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// create makes the last of the bundles, of images whose names do not depend on the test, and puts
// that before it first.
func (c *goldenBundle) create(t *testing.T, bundles *[]string) outcome {
	t.Helper()
	src := registrytest.Start(t, registrytest.Options{NoReferrers: true})
	if !slices.Contains(c.omit, imagetest.Top) {
		c.fixture.PushTo(src, "app", "1", imagetest.Top, c.omit...)
	}
	c.push(src)
	dir := (*bundles)[0]
	write := func(name, format string, args ...any) string {
		path := filepath.Join(filepath.Dir(dir), name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, fmt.Appendf(nil, format, args...), 0o600))
		return path
	}
	conf := write("registries.conf", "[[registry]]\nprefix = \"registry.example\"\nlocation = %q\ninsecure = true\n", src.Host())
	for _, name := range c.signed {
		write("kept/app@"+strings.Replace(c.fixture.Digest(name).String(), ":", "=", 1)+"/signature-1", "\x89of %s", name)
	}
	d := write("registries.d/all.yaml", "default-docker:\n  lookaside: file://%s/kept\n", filepath.Dir(dir))
	create := func(dir string, refs []string, more ...string) outcome {
		args := slices.Concat([]string{"bundle", "create", "--insecure-policy", "--registries-conf", conf, "--registries.d", filepath.Dir(d)}, c.flags, more, []string{dir})
		for _, ref := range refs {
			args = append(args, "docker://registry.example/"+ref)
		}
		r := runAll(t.Context(), t, "", args...)
		require.Equal(t, StatusDone, r.status, r.stderr)
		return r
	}
	if c.file != "" {
		return create(dir, nil, "--file", write("images.yaml", "version: 1\nimages:\n- source: docker://registry.example/app:1\n  destination: docker://nowhere.example/app:1\n%s", c.file))
	}
	refs := c.refs()
	refs, since := refs[:len(refs)-len(c.since)], c.since
	if len(since) == 0 {
		return create(dir, refs)
	}
	before := filepath.Join(filepath.Dir(dir), "before")
	*bundles = []string{before, dir}
	create(before, since)
	return create(dir, refs, "--since", before)
}

// load loads bundles, the one after the other, and returns what the last has led to.
func (c *goldenBundle) load(t *testing.T, dst *registrytest.Registry, bundles []string) (r outcome) {
	t.Helper()
	dir := t.TempDir()
	d := filepath.Join(dir, "all.yaml")
	require.NoError(t, os.WriteFile(d, fmt.Appendf(nil, "docker:\n  %s:\n    lookaside: file://%s/arrived\n", dst.Host(), dir), 0o600))
	c.arrivals = filepath.Join(dir, "arrived")
	for _, bundle := range bundles {
		r = runAll(t.Context(), t, "", "bundle", "load", "--insecure-policy", "--dest-tls-verify=false", "--registries.d", dir, bundle, dst.Host())
	}
	return r
}

// signatures says which signatures have arrived beside the registry of the last load.
func (c *goldenBundle) signatures(t *testing.T) string {
	t.Helper()
	var lines []string
	for _, name := range c.signed {
		content, err := os.ReadFile(filepath.Join(c.arrivals, "app@"+strings.Replace(c.fixture.Digest(name).String(), ":", "=", 1), "signature-1"))
		require.NoError(t, err)
		lines = append(lines, fmt.Sprintf("signature of %s: %q\n", name, content))
	}
	return strings.Join(lines, "")
}

var (
	logged        = regexp.MustCompile(`(?m)^time=\S+ level=warning msg=(".*")$`)
	aDigest       = regexp.MustCompile(`sha256[:-][0-9a-f]{64}`)
	aReferrersTag = regexp.MustCompile(`^sha256-[0-9a-f]{64}$`)
	loopback      = regexp.MustCompile(`127\.0\.0\.1:[0-9]+`)
	newline       = []byte("\n")
	bundleDoc     = "bundle/" + bundle.RecordFile
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

// arrived says what is in the repositories: what their tags name, and their manifests and blobs by
// their names.
func (c *goldenBundle) arrived(t *testing.T, r *registrytest.Registry) string {
	t.Helper()
	var all []string
	for _, repo := range c.repositories() {
		for _, line := range c.arrivedIn(t, r, repo) {
			if len(c.repositories()) > 1 {
				line = repo + ": " + line
			}
			all = append(all, line)
		}
	}
	return strings.Join(all, "")
}

func (c *goldenBundle) arrivedIn(t *testing.T, r *registrytest.Registry, repo string) (lines []string) {
	t.Helper()
	known := map[digest.Digest]bool{}
	for _, tag := range r.Tags(repo) {
		d, _ := r.Resolve(repo, tag)
		if !aReferrersTag.MatchString(tag) {
			lines = append(lines, c.tagName(tag)+" names "+c.fixture.Name(d)+"\n")
			continue
		}
		content, _, _ := r.Manifest(repo, tag)
		var index imgspecv1.Index
		require.NoError(t, json.Unmarshal(content, &index))
		known[d] = true
		names := make([]string, len(index.Manifests))
		for i, l := range index.Manifests {
			names[i] = fmt.Sprintf("%s (%s)", c.fixture.Name(l.Digest), l.ArtifactType)
		}
		lines = append(lines, c.tagName(tag)+" lists "+strings.Join(names, ", ")+"\n")
	}
	for kind, all := range map[string][]digest.Digest{"manifest": r.Manifests(repo), "blob": r.Blobs(repo)} {
		for _, d := range all {
			if !known[d] {
				lines = append(lines, kind+" "+c.fixture.Name(d)+"\n")
			}
		}
	}
	slices.Sort(lines)
	return lines
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
		if name != bundle.RecordFile {
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
	assert.Contains(t, r.stdout, "tag "+sig+" named "+f.Digest("sbom").String()+" at the destination, and now names "+f.Digest("cosigned").String())
}

// TestBundleKeepsVoid carries what is attached to a list that is stripped, if the sync file says
// so.
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
		assert.NotEqual(t, keep, strings.Contains(r.stderr, "void: what is attached to the list "+f.Digest(imagetest.Top).String()+" (1)"), r.stderr)
		runAll(t.Context(), t, "", "bundle", "load", "--insecure-policy", "--dest-tls-verify=false", bundle, dst.Host()).done(t)
		_, _, there := dst.Manifest(repo, f.Digest("group").String())
		assert.Equal(t, keep, there)
	}
}
