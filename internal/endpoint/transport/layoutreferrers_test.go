package transport

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/directory"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
)

const sbomType = "application/spdx+json"

// referrersFixture is an image with two SBOMs, one of which is a list, and a signature of the
// first.
func referrersFixture() *imagetest.Fixture {
	f := imagetest.Platforms(2, 1, 100)
	f.Artifact("sbom", imagetest.ArtifactType(sbomType), imagetest.Subject("amd64"))
	f.Artifact("signature", imagetest.Subject("sbom"))
	f.Artifact("part")
	f.List("sboms", imagetest.ArtifactType(sbomType), imagetest.Entries("part"), imagetest.Subject("amd64"))
	return f
}

func descriptorOf(f *imagetest.Fixture, name string) imgspecv1.Descriptor {
	_, mediaType := f.Document(name)
	return imgspecv1.Descriptor{MediaType: mediaType, Digest: f.Digest(name), Size: f.Size(name)}
}

func attachedSource(t *testing.T, dir string) endpoint.ReferrerSource {
	src, err := OpenSource(t.Context(), layoutRef(t, dir, "v1"), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, src.Close()) })
	attached, err := endpoint.ReferrersAt(src)
	require.NoError(t, err)
	return attached
}

func digestsOf(t *testing.T, src endpoint.ReferrerSource, d digest.Digest) []digest.Digest {
	found, err := src.Referrers(t.Context(), d, "")
	require.NoError(t, err)
	var digests []digest.Digest
	for _, r := range found {
		digests = append(digests, r.Digest)
	}
	return digests
}

// TestLayoutReferrersAreFound wherever index.json leads to them.
func TestLayoutReferrersAreFound(t *testing.T) {
	f := referrersFixture()
	for name, write := range map[string]func(dir string){
		"as entries": func(dir string) {
			for _, name := range []string{"sbom", "sboms", "signature"} {
				require.NoError(t, f.WriteLayout(dir, name, name))
			}
		},
		"by referrers tags": func(dir string) {
			for subject, referrers := range map[string][]string{"amd64": {"sbom", "sboms"}, "sbom": {"signature"}} {
				var all []imgspecv1.Descriptor
				for _, r := range referrers {
					all = append(all, descriptorOf(f, r))
				}
				index, _, err := endpoint.MergeReferrers(nil, all)
				require.NoError(t, err)
				g := referrersFixture()
				g.Raw("index", imgspecv1.MediaTypeImageIndex, index, referrers...)
				require.NoError(t, g.WriteLayout(dir, endpoint.ReferrersTag(f.Digest(subject)), "index"))
			}
		},
		"in a list of everything": func(dir string) {
			g := referrersFixture()
			g.List("everything", imagetest.Entries("sbom", "sboms", "signature"))
			require.NoError(t, g.WriteLayout(dir, "everything", "everything"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(dir)
			require.NoError(t, f.WriteLayout(dir, "v1", imagetest.Top))
			src := attachedSource(t, dir)
			assert.ElementsMatch(t, f.Digests("sbom", "sboms"), digestsOf(t, src, f.Digest("amd64")))
			assert.Equal(t, f.Digests("signature"), digestsOf(t, src, f.Digest("sbom")))
			assert.Empty(t, digestsOf(t, src, f.Digest("arm64")))
			found, err := src.Referrers(t.Context(), f.Digest("sbom"), "")
			require.NoError(t, err)
			want := descriptorOf(f, "signature")
			want.ArtifactType = "application/vnd.cncf.helm.config.v1+json"
			assert.Equal(t, []imgspecv1.Descriptor{want}, found, "the type of the config stands in for the artifact's")

			doc, err := src.Tagged(t.Context(), "v1")
			require.NoError(t, err)
			assert.Equal(t, document(f, imagetest.Top), doc)
			_, err = src.Tagged(t.Context(), "v2")
			assert.ErrorIs(t, err, endpoint.ErrNotFound)
		})
	}
}

// TestLayoutReferrersOfDamagedLayouts: what is not there or no manifest has no subject; a damaged
// manifest is not handed out.
func TestLayoutReferrersOfDamagedLayouts(t *testing.T) {
	f := referrersFixture()
	dir := t.TempDir()
	for _, name := range []string{"v1", "sbom", "sboms", "signature"} {
		document := name
		if name == "v1" {
			document = imagetest.Top
		}
		require.NoError(t, f.WriteLayout(dir, name, document))
	}
	path := func(name string) string { return filepath.Join(dir, "blobs", "sha256", f.Digest(name).Encoded()) }
	require.NoError(t, os.Remove(path("sbom")))
	require.NoError(t, os.WriteFile(path("signature"), []byte("{"), 0o600))
	src := attachedSource(t, dir)
	assert.Equal(t, f.Digests("sboms"), digestsOf(t, src, f.Digest("amd64")))
	assert.Empty(t, digestsOf(t, src, f.Digest("sbom")))
	_, err := src.Tagged(t.Context(), "signature")
	assert.ErrorContains(t, err, "digest")
	_, err = src.Tagged(t.Context(), "sbom")
	assert.ErrorIs(t, err, os.ErrNotExist)

	require.NoError(t, os.WriteFile(path("signature"), []byte(strings.Repeat(" ", maxManifest+1)), 0o600))
	_, err = attachedSource(t, dir).Referrers(t.Context(), f.Digest("sbom"), "")
	assert.ErrorContains(t, err, "more than 4194304")
}

func attachedDestination(t *testing.T, dir string) (*Destination, endpoint.ReferrerDestination) {
	dest, err := OpenDestination(t.Context(), layoutRef(t, dir, "v1"), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, dest.Close()) })
	attached, err := endpoint.ReferrersTo(dest)
	require.NoError(t, err)
	return dest, attached
}

func always(doc endpoint.Document) func(endpoint.Document) (endpoint.Document, error) {
	return func(endpoint.Document) (endpoint.Document, error) { return doc, nil }
}

// TestLayoutAttachmentsAppearAtOnce with the tag or by Flush, once, and not at all if neither
// comes.
func TestLayoutAttachmentsAppearAtOnce(t *testing.T) {
	f := referrersFixture()
	for name, publish := range map[string]func(dest *Destination, attached endpoint.ReferrerDestination) error{
		"with the tag": func(dest *Destination, _ endpoint.ReferrerDestination) error {
			return dest.PutTop(t.Context(), document(f, imagetest.Top), nil)
		},
		"without": func(_ *Destination, attached endpoint.ReferrerDestination) error { return attached.Flush(t.Context()) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			index := filepath.Join(dir, "index.json")
			require.NoError(t, f.WriteLayout(dir, "old", "arm64"))
			require.NoError(t, f.WriteLayout(dir, "tag", "arm64"))
			for range 2 {
				before, err := os.ReadFile(index)
				require.NoError(t, err)
				dest, attached := attachedDestination(t, dir)
				var group sync.WaitGroup
				for _, name := range []string{"sbom", "sboms"} {
					group.Go(func() {
						assert.NoError(t, dest.PutManifest(t.Context(), document(f, name)))
						desc := descriptorOf(f, name)
						desc.Annotations = map[string]string{imgspecv1.AnnotationRefName: "old"}
						assert.NoError(t, attached.PutReferrers(t.Context(), f.Digest("amd64"), []imgspecv1.Descriptor{desc, desc}))
					})
				}
				group.Go(func() { assert.NoError(t, attached.UpdateTag(t.Context(), "tag", always(document(f, "signature")))) })
				group.Wait()
				now, err := os.ReadFile(index)
				require.NoError(t, err)
				assert.Equal(t, string(before), string(now))

				require.NoError(t, publish(dest, attached))
				tags := tagsOf(t, dir)
				assert.Equal(t, f.Digest("arm64"), tags["old"], "annotations of strangers name nothing")
				assert.Equal(t, f.Digest("signature"), tags["tag"])
				doc, err := attached.Tagged(t.Context(), "tag")
				require.NoError(t, err)
				assert.Equal(t, f.Digest("signature"), doc.Digest)
				assert.ElementsMatch(t, f.Digests("sbom", "sboms"), digestsOf(t, attached, f.Digest("amd64")))
				require.NoError(t, dest.Close())
				var parsed imgspecv1.Index
				content, err := os.ReadFile(index)
				require.NoError(t, err)
				require.NoError(t, json.Unmarshal(content, &parsed))
				seen := map[string]bool{}
				for _, entry := range parsed.Manifests {
					key := fmt.Sprint(entry.Digest, entry.Annotations)
					assert.False(t, seen[key], "twice: %s", key)
					seen[key] = true
				}
			}
			assert.Empty(t, leftovers(t, dir))
		})
	}
	t.Run("nobody publishes", func(t *testing.T) {
		dir := t.TempDir()
		require.NoError(t, f.WriteLayout(dir, "old", "arm64"))
		before, err := os.ReadFile(filepath.Join(dir, "index.json"))
		require.NoError(t, err)
		dest, attached := attachedDestination(t, dir)
		require.NoError(t, attached.PutReferrers(t.Context(), f.Digest("amd64"), []imgspecv1.Descriptor{descriptorOf(f, "sbom")}))
		failed := errors.New("failed")
		assert.ErrorIs(t, attached.UpdateTag(t.Context(), "tag", func(old endpoint.Document) (endpoint.Document, error) { return old, failed }), failed)
		require.NoError(t, dest.Close())
		after, err := os.ReadFile(filepath.Join(dir, "index.json"))
		require.NoError(t, err)
		assert.Equal(t, string(before), string(after))
	})
}

// TestIndexAddAll keeps the bytes of what it does not touch.
func TestIndexAddAll(t *testing.T) {
	f := referrersFixture()
	a, b := f.Digest("sbom"), f.Digest("signature")
	entry := func(d digest.Digest, name string) string {
		if name != "" {
			name = fmt.Sprintf(`,"annotations":{"org.opencontainers.image.ref.name":%q}`, name)
		}
		return fmt.Sprintf(`{"mediaType":"m","digest":%q,"size":1%s}`, d, name)
	}
	desc := func(d digest.Digest) imgspecv1.Descriptor {
		return imgspecv1.Descriptor{MediaType: "m", Digest: d, Size: 1}
	}
	around := func(entries ...string) string {
		return "{ \"x\": 1.0,\n \"manifests\": [\n  " + strings.Join(entries, ",\n  ") + "\n ],\n \"schemaVersion\": 2 }"
	}
	for name, c := range map[string]struct {
		before  string
		unnamed []imgspecv1.Descriptor
		named   map[string]imgspecv1.Descriptor
		after   string
	}{
		"nothing":          {around(entry(a, "a")), nil, nil, around(entry(a, "a"))},
		"there":            {around(entry(a, "a")), []imgspecv1.Descriptor{desc(a)}, map[string]imgspecv1.Descriptor{"a": desc(a)}, around(entry(a, "a"))},
		"new":              {around(entry(a, "a")), []imgspecv1.Descriptor{desc(b), desc(b)}, nil, around(entry(a, "a"), entry(b, ""))},
		"another name":     {around(entry(a, "a")), nil, map[string]imgspecv1.Descriptor{"b": desc(a)}, around(entry(a, "a"), entry(a, "b"))},
		"a name moves":     {around(entry(a, "a")), nil, map[string]imgspecv1.Descriptor{"a": desc(b)}, around(entry(a, ""), entry(b, "a"))},
		"named and not":    {around(entry(a, "")), []imgspecv1.Descriptor{desc(b)}, map[string]imgspecv1.Descriptor{"b": desc(b)}, around(entry(a, ""), entry(b, "b"))},
		"the second is it": {around(entry(a, "n"), entry(b, "n")), nil, map[string]imgspecv1.Descriptor{"n": desc(b)}, around(entry(a, ""), entry(b, "n"))},
		"empty":            {`{"manifests":[]}`, []imgspecv1.Descriptor{desc(a), desc(b)}, nil, `{"manifests":[` + entry(a, "") + "," + entry(b, "") + `]}`},
	} {
		index, err := parseIndex([]byte(c.before))
		require.NoError(t, err, name)
		after, err := index.addAll(c.unnamed, c.named)
		require.NoError(t, err, name)
		assert.Equal(t, c.after, string(after), name)
	}
}

// TestAttachedIsRefused where it would go wrong.
func TestAttachedIsRefused(t *testing.T) {
	f := referrersFixture()
	dir := filepath.Join(t.TempDir(), "dir")
	toDir, err := directory.NewReference(dir)
	require.NoError(t, err)
	dest, err := OpenDestination(t.Context(), toDir, nil)
	require.NoError(t, err)
	_, err = endpoint.ReferrersTo(dest)
	assert.ErrorContains(t, err, "dir")
	require.NoError(t, dest.PutTop(t.Context(), document(f, "amd64"), nil))
	require.NoError(t, dest.Close())
	src, err := OpenSource(t.Context(), toDir, nil)
	require.NoError(t, err)
	_, err = endpoint.ReferrersAt(src)
	assert.ErrorContains(t, err, "dir")
	require.NoError(t, src.Close())

	unnamed, err := OpenDestination(t.Context(), layoutRef(t, t.TempDir(), ""), nil)
	require.NoError(t, err)
	_, err = endpoint.ReferrersTo(unnamed)
	assert.ErrorContains(t, err, "no tag")
	require.NoError(t, unnamed.Close())
}
