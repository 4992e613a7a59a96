package differential

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker/reference"
	upstreammanifest "go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/pkg/compression"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
	"github.com/sparsecopy/sparsecopy/manifest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// A schema1Source is a repository with images in Docker's obsolete format. Such manifests say what
// they are called, and may carry a signature that their digest does not cover.
type schema1Source struct {
	t   *testing.T
	reg *registrytest.Registry
}

const schema1Repo = "team/app"

// newSchema1Source starts a registry that, as some do, only hands out what it is asked for: not
// even upstream converts for it.
func newSchema1Source(t *testing.T) schema1Source {
	return schema1Source{t, registrytest.Start(t, registrytest.Options{HonourAccept: true})}
}

// push stores an image that says it is called name, as tag v1, and returns its digest.
func (s schema1Source) push(name string, signed bool) digest.Digest {
	s.t.Helper()
	f := imagetest.New()
	var layers []upstreammanifest.Schema1FSLayers
	var history []upstreammanifest.Schema1History
	for i, layer := range []string{"top", "base"} { // the base comes last
		f.Layer(layer, imagetest.File("name", layer))
		s.reg.PutBlob(schema1Repo, f.Content(layer))
		layers = append(layers, upstreammanifest.Schema1FSLayers{BlobSum: f.Digest(layer)})
		v1 := map[string]any{
			"id": fmt.Sprintf("%064x", 2-i), "created": "2020-01-01T00:00:00Z", "os": "linux", "architecture": "amd64",
			"container_config": map[string]any{"Cmd": []string{layer}},
		}
		if i == 0 {
			v1["parent"] = fmt.Sprintf("%064x", 1)
		}
		said, err := json.Marshal(v1)
		require.NoError(s.t, err)
		history = append(history, upstreammanifest.Schema1History{V1Compatibility: string(said)})
	}
	named, err := reference.ParseNormalizedNamed(name)
	require.NoError(s.t, err)
	m, err := upstreammanifest.Schema1FromComponents(named, layers, history, "amd64")
	require.NoError(s.t, err)
	content, err := json.Marshal(m)
	require.NoError(s.t, err)
	mediaType := manifest.MediaTypeDockerSchema1
	if signed {
		content, err = upstreammanifest.AddDummyV2S1Signature(content)
		require.NoError(s.t, err)
		mediaType = manifest.MediaTypeDockerSchema1Signed
	}
	return s.put(mediaType, content)
}

// put stores a manifest as tag v1, and returns its digest, which is that of what was signed.
func (s schema1Source) put(mediaType string, content []byte) digest.Digest {
	s.t.Helper()
	d, err := upstreammanifest.Digest(content)
	require.NoError(s.t, err)
	s.reg.PutManifest(schema1Repo, d.String(), mediaType, content)
	s.reg.PutManifest(schema1Repo, "v1", mediaType, content)
	return d
}

// TestSchema1LikeUpstreams copies single images in Docker's obsolete format.
func TestSchema1LikeUpstreams(t *testing.T) {
	zstd := types.SystemContext{CompressionFormat: &compression.Zstd}
	s2only := types.SystemContext{DockerDisableDestSchema1MIMETypes: true}
	succeeded, failed := 0, 0
	for title, source := range map[string]struct {
		name   string
		signed bool
	}{
		"signed": {"example.com/team/app:v1", true}, "unsigned": {"example.com/team/app:v1", false}, "called otherwise": {"example.com/other/app:v2", true},
	} {
		s := newSchema1Source(t)
		d := s.push(source.name, source.signed)
		for _, to := range []string{"docker", "oci", "oci-archive", "dir", "docker-archive"} {
			for option, o := range map[string]copy.Options{
				"nothing":         {},
				"all":             {ImageListSelection: copy.CopyAllImages},
				"digests stay":    {PreserveDigests: true},
				"OCI":             {ForceManifestMIMEType: imgspecv1.MediaTypeImageManifest},
				"Docker":          {ForceManifestMIMEType: manifest.MediaTypeDockerManifest},
				"schema 1":        {ForceManifestMIMEType: manifest.MediaTypeDockerSchema1Signed},
				"zstd":            {DestinationCtx: &zstd},
				"schema 2 at all": {DestinationCtx: &s2only},
			} {
				t.Run(title+"/"+to+"/"+option, func(t *testing.T) {
					c := newFixedCase(t, to, o)
					theirs, ours := c.compareSchema1(copytest.RegistryRef(t, s.reg, schema1Repo, "v1"))
					if theirs.err == nil {
						succeeded++
						assert.Equal(t, to == "docker-archive", ours.plan.Way == copy.Upstream)
						return
					}
					failed++
				})
			}
		}
		t.Run(title+"/by digest", func(t *testing.T) {
			newFixedCase(t, "dir", copy.Options{}).compareSchema1(copytest.RegistryRef(t, s.reg, schema1Repo, d.String()))
		})
	}
	assert.Greater(t, succeeded, 60)
	assert.Greater(t, failed, 10)
}

// compareSchema1 copies twice. What upstream writes in this format it signs with a key that is made
// for the purpose, so that digests are the same and bytes are not.
func (c *diffCase) compareSchema1(src types.ImageReference) (theirs, ours outcome) {
	theirs, ours = c.upstreams(src), c.ours(src, c.options)
	require.True(c.t, alike(theirs.err, ours.err), "upstream %v\nours %v", theirs.err, ours.err)
	if theirs.err != nil {
		return theirs, ours
	}
	want, err := upstreammanifest.Digest(theirs.copied)
	require.NoError(c.t, err)
	got, err := upstreammanifest.Digest(ours.copied)
	require.NoError(c.t, err)
	assert.Equal(c.t, want, got)
	assert.Equal(c.t, upstreammanifest.GuessMIMEType(theirs.copied), upstreammanifest.GuessMIMEType(ours.copied))
	assert.Empty(c.t, compareLines(withoutLists(theirs.lines, theirs, ours), withoutLists(ours.lines, theirs, ours)))
	return theirs, ours
}

// TestSchema1InLists copies lists with an image in Docker's obsolete format.
func TestSchema1InLists(t *testing.T) {
	s := newSchema1Source(t)
	old := s.push("example.com/team/app:v1", true)
	f := imagetest.New()
	f.Image("arm64", imagetest.Docker(), imagetest.Platform("linux/arm64"))
	f.PushTo(s.reg, schema1Repo, "other", "arm64")
	oldContent, _, _ := s.reg.Manifest(schema1Repo, old.String())
	newContent, newType := f.Document("arm64")
	entry := func(mediaType string, content []byte, d digest.Digest, architecture string) map[string]any {
		return map[string]any{
			"mediaType": mediaType, "size": len(content), "digest": d,
			"platform": map[string]string{"os": "linux", "architecture": architecture},
		}
	}
	list, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": manifest.MediaTypeDockerList,
		"manifests": []any{
			entry(manifest.MediaTypeDockerSchema1Signed, oldContent, old, "amd64"), entry(newType, newContent, f.Digest("arm64"), "arm64"),
		},
	})
	require.NoError(t, err)
	s.reg.PutManifest(schema1Repo, "list", manifest.MediaTypeDockerList, list)
	for selection, o := range map[string]copy.Options{
		"all":       {ImageListSelection: copy.CopyAllImages},
		"system":    {},
		"the old":   {ImageListSelection: copy.CopySpecificImages, Instances: []digest.Digest{old}},
		"the new":   {ImageListSelection: copy.CopySpecificImages, Instances: f.Digests("arm64")},
		"new, only": {ImageListSelection: copy.CopySpecificImages, Instances: f.Digests("arm64"), SparseManifestListAction: copy.StripSparseManifestList},
		"as OCI":    {ImageListSelection: copy.CopyAllImages, ForceManifestMIMEType: imgspecv1.MediaTypeImageManifest},
	} {
		for _, to := range []string{"docker", "dir", "oci"} {
			t.Run(selection+"/"+to, func(t *testing.T) {
				c := newFixedCase(t, to, o)
				theirs, ours := c.upstreams(copytest.RegistryRef(t, s.reg, schema1Repo, "list")), c.ours(copytest.RegistryRef(t, s.reg, schema1Repo, "list"), c.options)
				if to == "docker" && theirs.err != nil && strings.Contains(theirs.err.Error(), "digest invalid") {
					require.ErrorContains(t, ours.err, "DIGEST_INVALID")
					return
				}
				assert.Empty(t, c.compare(theirs, ours))
				if selection == "all" && to == "dir" {
					require.NoError(t, ours.err)
				}
			})
		}
	}
}

// TestSchema1OfAnotherPayload copies signed images in Docker's obsolete format whose body is not
// what was signed. Their digest is that of the signed payload: a body that differs is not what the
// digest names.
func TestSchema1OfAnotherPayload(t *testing.T) {
	s := schema1Source{t, registrytest.Start(t, registrytest.Options{})}
	genuine := s.push("example.com/team/app:v1", true)
	content, _, _ := s.reg.Manifest(schema1Repo, genuine.String())
	signatures := bytes.Index(content, []byte(`"signatures"`)) // what was signed ends before them: parsers take the last of two values
	require.Positive(t, signatures)
	forged := slices.Concat(content[:signatures], []byte(`"architecture": "arm64",`), content[signatures:])
	for _, declared := range []string{
		manifest.MediaTypeDockerSchema1Signed, manifest.MediaTypeDockerSchema1, manifest.MediaTypeDockerManifest, "text/plain",
	} {
		s.reg.PutManifest(schema1Repo, genuine.String(), declared, forged)
		s.reg.PutManifest(schema1Repo, "forged", declared, forged)
		list, err := json.Marshal(map[string]any{
			"schemaVersion": 2, "mediaType": manifest.MediaTypeDockerList,
			"manifests": []any{map[string]any{
				"mediaType": manifest.MediaTypeDockerSchema1Signed, "size": len(forged), "digest": genuine,
				"platform": map[string]string{"os": "linux", "architecture": "amd64"},
			}},
		})
		require.NoError(t, err)
		s.reg.PutManifest(schema1Repo, "list", manifest.MediaTypeDockerList, list)
		for _, ref := range []string{"forged", genuine.String(), "list"} {
			for _, to := range []string{"docker", "dir"} {
				t.Run(declared+"/"+ref+"/"+to, func(t *testing.T) {
					c := newFixedCase(t, to, copy.Options{ImageListSelection: copy.CopyAllImages})
					src := copytest.RegistryRef(t, s.reg, schema1Repo, ref)
					theirs, ours := c.upstreams(src), c.ours(src, c.options)
					assert.Error(t, theirs.err)
					assert.ErrorContains(t, ours.err, "payload does not match")
					assert.Empty(t, strings.Join(ours.lines, ""), "nothing is written")
				})
			}
		}
	}
}
