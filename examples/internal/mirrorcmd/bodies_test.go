package mirrorcmd

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// misdeclares is a registry that declares all documents to be something else, as some do.
var misdeclares = registrytest.Options{DeclareAs: map[string]string{
	imgspecv1.MediaTypeImageIndex:    manifest.MediaTypeDockerManifest,
	imgspecv1.MediaTypeImageManifest: manifest.MediaTypeDockerSchema1Signed,
}}

// odd has a list of a list, of which two entries say that they are something else, and manifests
// that lack what they should have.
func odd() *imagetest.Fixture {
	f := imagetest.New()
	without := func(text string) imagetest.Option {
		return imagetest.Reformat(func(doc []byte) []byte { return []byte(strings.Replace(string(doc), text, "", 1)) })
	}
	f.Image("amd64", imagetest.Platform("linux/amd64"), imagetest.Layers(), without(`,"layers":[]`))
	f.Image("arm64", imagetest.Platform("linux/arm64"), imagetest.Layers(), without(`"schemaVersion":2,`))
	f.Image("s390x", imagetest.Platform("linux/s390x"), imagetest.Layers(), imagetest.NoMediaType())
	f.List("inner", imagetest.Entries("arm64", "s390x"))
	f.List(imagetest.Top, imagetest.Entry("amd64", imagetest.EntryMediaType(manifest.MediaTypeDockerManifest)),
		imagetest.Entry("inner", imagetest.EntryMediaType(imgspecv1.MediaTypeImageManifest)))
	return f
}

// TestDocumentsAreWhatTheySay: whatever a registry or a list takes documents for, every command
// reads them as what they are, and writes them so.
func TestDocumentsAreWhatTheySay(t *testing.T) {
	f := odd()
	src, dst := registrytest.Start(t, misdeclares), registrytest.Start(t, registrytest.Options{})
	f.PushTo(src, repo, tag, imagetest.Top)
	want := imagetest.Want{
		Tag: tag, Digest: f.Digest(imagetest.Top), Fixture: f, Present: []string{"amd64", "arm64", "s390x", "inner"}, Irregular: true, Only: true,
	}
	check := func(r *registrytest.Registry) {
		t.Helper()
		imagetest.CheckRegistry(t, r, repo, want)
		for _, d := range r.Manifests(repo) {
			content, mediaType, _ := r.Manifest(repo, d.String())
			assert.Equal(t, manifest.TypeOf(content, ""), mediaType)
		}
	}
	warned := func(text string) {
		t.Helper()
		assert.Contains(t, text, "declared as "+manifest.MediaTypeDockerManifest)
		assert.Contains(t, text, "declared as "+manifest.MediaTypeDockerSchema1Signed)
		assert.Contains(t, text, "has entries for "+imgspecv1.MediaTypeImageManifest)
	}

	r := mirror(t, "copy", "--all", refTo(src), refTo(dst)).done(t)
	warned(r.stdout)
	check(dst)
	warned(mirror(t, "plan", "--all", refTo(src), refTo(dst)).done(t).stdout)

	r = mirror(t, "verify", "--all", "--blobs", refTo(src), refTo(dst)).done(t)
	assert.Contains(t, r.stdout, "complete and true: 5 manifests")
	assert.NotContains(t, r.stdout, "the destination declares")
	r = mirror(t, "verify", "--all", refTo(dst), refTo(src)).done(t)
	assert.Contains(t, r.stdout, "the destination declares 2 documents to be "+manifest.MediaTypeDockerManifest)
	assert.Contains(t, r.stdout, "the destination declares 3 documents to be "+manifest.MediaTypeDockerSchema1Signed)

	for _, of := range []*registrytest.Registry{src, dst} {
		r = runAll(t.Context(), t, "", "inspect", "--tls-verify=false", "--output", "json", refTo(of)).done(t)
		for _, name := range []string{"amd64", "arm64", "s390x"} {
			assert.Contains(t, r.stdout, f.Digest(name).String())
		}
	}

	bundle := filepath.Join(t.TempDir(), "bundle")
	r = runAll(t.Context(), t, "", "bundle", "create", "--insecure-policy", "--src-tls-verify=false", "--all", bundle, refTo(src))
	assert.Equal(t, StatusDone, r.status)
	warned(r.stderr)
	carried := registrytest.Start(t, registrytest.Options{})
	r = runAll(t.Context(), t, "", "bundle", "load", "--insecure-policy", "--dest-tls-verify=false", bundle, carried.Host())
	assert.Equal(t, StatusDone, r.status)
	assert.Contains(t, r.stderr, "has entries for "+manifest.MediaTypeDockerManifest)
	assert.NotContains(t, r.stderr, "declared as", "nobody declares what is in a bundle")
	check(carried)

	s := newSyncTest(t, misdeclares, registrytest.Options{})
	f.PushTo(s.src, repo, tag, imagetest.Top)
	s.write("images:\n- {source: 'SRC/" + repo + ":" + tag + "', destination: 'DST/" + repo + "'}\n")
	warned(s.sync().done(t).stdout)
	check(s.dst)
	assert.Contains(t, s.sync().done(t).stdout, "nothing to do")
}

// TestEmptyListIsCopied: what has no entries is copied if everything is asked for.
func TestEmptyListIsCopied(t *testing.T) {
	for _, body := range []string{`{"schemaVersion":2,"mediaType":"` + imgspecv1.MediaTypeImageIndex + `","manifests":null}`, listOf()} {
		src, dst := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{})
		d := src.PutManifest(repo, tag, imgspecv1.MediaTypeImageIndex, []byte(body))
		require.Equal(t, digest.FromString(body), d)
		for _, sparse := range []string{"keep", "strip", "auto"} {
			dst.DeleteTag(repo, tag)
			mirror(t, "copy", "--all", "--sparse", sparse, refTo(src), refTo(dst)).done(t)
			got, _ := dst.Resolve(repo, tag)
			assert.Equal(t, d, got)
		}
		mirror(t, "verify", "--all", refTo(src), refTo(dst)).done(t)
		mirror(t, "copy", "--platform", "linux/amd64", refTo(src), refTo(dst)).failed(t, StatusFailed, "no instances found for platform linux/amd64")
	}
}
