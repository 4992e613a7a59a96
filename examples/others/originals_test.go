package others

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/original"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// TestOriginals: a stripped list, to which its original is attached, is an image like others for
// other tools: they copy it to each of the servers, from a mirror with and without the referrers
// API, and whether the original is stored as an artifact or as a plain image. Those that copy
// referrers bring along all that is needed to check the list.
func TestOriginals(t *testing.T) {
	for _, s := range servers {
		if s.crashes || s.subjectHeader {
			continue // nothing can be attached there, by these tools
		}
		for from, o := range map[string]registrytest.Options{"the API": {}, "the tag": {NoReferrers: true}} {
			for form, attached := range map[string]func(original.Artifact) original.Artifact{
				"artifact": func(a original.Artifact) original.Artifact { return a }, "plain": original.Plain,
			} {
				t.Run(fmt.Sprintf("%s/from %s/%s", s.name, from, form), func(t *testing.T) {
					t.Parallel()
					originals(t, newScene(t, &s, fixture()), registrytest.Start(t, o), attached)
				})
			}
		}
	}
}

// originals strips a list into a mirror, and lets other tools copy it from there to the server.
func originals(t *testing.T, s *scene, mirror *registrytest.Registry, form func(original.Artifact) original.Artifact) {
	report, err := s.copy(t.Context(), at(t, mirror.Host()), at(t, s.source.Host()), options(copy.StripSparseManifestList, "amd64", "s390x"))
	require.NoError(t, err)
	attached := attachOriginal(t, s.f, mirror, report.DestinationDigest, form)
	want := imagetest.Want{Tag: tag, Digest: report.DestinationDigest, Fixture: s.f, Present: []string{"amd64", "s390x"}, Absent: []string{"arm64"}}
	for name, c := range clients {
		there := s.fresh(t)
		require.NoError(t, c.copyAttached(t.Context(), there.host, mirror.Host()), name)
		for _, violation := range imagetest.Inspect(there, want) {
			t.Errorf("%s: %s", name, violation)
		}
		found, err := c.referrers(t.Context(), there.host, report.DestinationDigest)
		require.NoError(t, err, name)
		assert.Equal(t, attached, found, name)
		there.proves(s.f, report.DestinationDigest, found)
	}
	there := s.fresh(t)
	require.NoError(t, crane.Copy(mirror.Host()+"/"+repo+":"+tag, there.host+"/"+repo+":"+tag, crane.WithContext(t.Context())))
	for _, violation := range imagetest.Inspect(there, want) {
		t.Errorf("crane: %s", violation)
	}
}

// proves requires that what is attached to a stripped list is the original from which it was made,
// and its signature.
func (r *running) proves(f *imagetest.Fixture, stripped digest.Digest, attached []digest.Digest) {
	r.t.Helper()
	roles := map[original.Role]int{}
	for _, d := range attached {
		content, mediaType, _ := r.Manifest(d)
		doc := manifest.Document{Digest: d, MediaType: mediaType, Bytes: content}
		image, err := manifest.ParseImage(content, mediaType)
		require.NoError(r.t, err)
		role := original.KindOf(image.ArtifactType, image.Annotations)
		roles[role]++
		if role == original.RoleSignature {
			signature, err := original.ReadSignature(doc, r.blob)
			require.NoError(r.t, err)
			assert.Equal(r.t, f.Digest("cosign"), signature.Document.Digest)
			continue
		}
		source, err := original.Read(doc, r.blob)
		require.NoError(r.t, err)
		assert.Equal(r.t, f.Digest(imagetest.Top), source.Top().Digest)
		list, _, _ := r.Manifest(stripped)
		removal, err := manifest.StrippedFrom(list, source.Top().Bytes, nil)
		require.NoError(r.t, err)
		assert.Len(r.t, removal.Removed, 1)
	}
	assert.Equal(r.t, map[original.Role]int{original.RoleOriginal: 1, original.RoleSignature: 1}, roles)
}

func (r *running) blob(d imgspecv1.Descriptor) ([]byte, error) {
	content, _, ok := r.Blob(d.Digest)
	if !ok {
		return nil, fmt.Errorf("no blob %s", d.Digest)
	}
	defer content.Close()
	return io.ReadAll(content)
}

// attachOriginal attaches the original of a stripped list at a registry, with a signature, and
// returns their digests.
func attachOriginal(
	t *testing.T, f *imagetest.Fixture, at *registrytest.Registry, stripped digest.Digest, form func(original.Artifact) original.Artifact,
) []digest.Digest {
	t.Helper()
	list, mediaType, ok := at.Manifest(repo, stripped.String())
	require.True(t, ok)
	subject := imgspecv1.Descriptor{MediaType: mediaType, Digest: stripped, Size: int64(len(list))}
	document := func(name string) manifest.Document {
		content, mediaType := f.Document(name)
		return manifest.Document{Digest: f.Digest(name), MediaType: mediaType, Bytes: content}
	}
	blobs := map[digest.Digest][]byte{}
	for _, d := range f.Blobs("cosign") {
		blobs[d] = f.Content(f.Name(d))
	}
	signature, err := original.OfSignature(subject, original.Signature{
		Of: f.Digest(imagetest.Top), Kind: original.TagSignature, Document: document("cosign"), Blobs: blobs,
	})
	require.NoError(t, err)
	var all []imgspecv1.Descriptor
	for _, a := range []original.Artifact{form(original.Of(subject, []manifest.Document{document(imagetest.Top)}, "")), form(signature)} {
		for _, part := range append(a.Layers, a.Config) {
			at.PutBlob(repo, part.Content)
		}
		at.PutManifest(repo, a.Document.Digest.String(), a.Document.MediaType, a.Document.Bytes)
		all = append(all, a.Descriptor())
	}
	index, err := json.Marshal(imgspecv1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspecv1.MediaTypeImageIndex, Manifests: all})
	require.NoError(t, err)
	at.PutManifest(repo, strings.Replace(stripped.String(), ":", "-", 1), imgspecv1.MediaTypeImageIndex, index)
	return sortedDigests([]digest.Digest{all[0].Digest, all[1].Digest})
}
