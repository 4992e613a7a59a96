package transport

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
)

// TestLayoutsAsToolsWriteThem has what each tool leaves, and how each image there is named.
func TestLayoutsAsToolsWriteThem(t *testing.T) {
	platforms, attested, nested := imagetest.Platforms(2, 1, 100), imagetest.WithAttestations(), imagetest.Nested()
	const hub, app = "docker.io/library/alpine:3", "registry.example/team/app:1"
	const top = imagetest.Top
	dated := func(e imgspecv1.Descriptor) imgspecv1.Descriptor {
		e.Annotations[imgspecv1.AnnotationCreated] = "2026-11-30T00:00:00Z"
		return e
	}
	for _, c := range []struct {
		writer  string
		fixture *imagetest.Fixture
		absent  []string // what the tool leaves out
		others  []string // files that a layout need not have
		entries []imgspecv1.Descriptor
		images  map[string]string // by the image part of a reference: what it names
	}{
		{
			writer: "docker save alpine:3 registry.example/team/app:1", fixture: platforms, others: []string{"manifest.json", "repositories"},
			entries: []imgspecv1.Descriptor{entry(platforms, "amd64", "3", hub), entry(platforms, "arm64", "1", app)},
			images:  map[string]string{hub: "amd64", app: "arm64", "3": "amd64", "1": "arm64", "@1": "arm64"},
		},
		{
			writer: "docker save ID", fixture: platforms, others: []string{"manifest.json"},
			entries: []imgspecv1.Descriptor{entry(platforms, "amd64", "", "")},
			images:  map[string]string{"": "amd64", "@0": "amd64"},
		},
		{
			writer: "docker save alpine:3, of containerd's store, with one platform", fixture: attested, absent: []string{"arm64", "s390x", "att-arm64", "att-s390x"},
			others:  []string{"manifest.json"},
			entries: []imgspecv1.Descriptor{entry(attested, top, "3", hub)},
			images:  map[string]string{hub: top, "3": top, "": top},
		},
		{
			writer: "ctr image export --platform linux/amd64 FILE docker.io/library/alpine:3", fixture: platforms, absent: []string{"arm64"},
			others:  []string{"manifest.json"},
			entries: []imgspecv1.Descriptor{entry(platforms, top, "3", hub)},
			images:  map[string]string{hub: top, "3": top, "": top},
		},
		{
			writer: "docker buildx build --output type=oci,tar=false,dest=DIRECTORY", fixture: attested, others: []string{"ingest/"},
			entries: []imgspecv1.Descriptor{dated(entry(attested, top, "", ""))},
			images:  map[string]string{"": top},
		},
		{
			writer: "docker buildx build --output type=oci,dest=FILE --tag registry.example/team/app:1", fixture: attested,
			entries: []imgspecv1.Descriptor{dated(entry(attested, top, "1", app))},
			images:  map[string]string{"": top, "1": top, app: top},
		},
		{
			writer: "crane pull --format oci", fixture: platforms,
			entries: []imgspecv1.Descriptor{entry(platforms, "amd64", "", ""), entry(platforms, top, "", "")},
			images:  map[string]string{"@0": "amd64", "@1": top},
		},
		{
			writer: "crane pull --format oci --annotate-ref", fixture: platforms,
			entries: []imgspecv1.Descriptor{entry(platforms, "amd64", "index.docker.io/library/alpine:3", ""), entry(platforms, top, app, "")},
			images:  map[string]string{"index.docker.io/library/alpine:3": "amd64", app: top},
		},
		{
			writer: "ko build --oci-layout-path", fixture: platforms,
			entries: []imgspecv1.Descriptor{entry(platforms, top, "", "")},
			images:  map[string]string{"": top},
		},
		{
			writer: "oras copy --to-oci-layout, with a referrer", fixture: platforms, others: []string{"ingest/"},
			entries: []imgspecv1.Descriptor{entry(platforms, "arm64", "", ""), entry(platforms, top, "1", "")},
			images:  map[string]string{"1": top, "@0": "arm64"},
		},
		{
			writer: "regctl image copy ocidir://", fixture: nested,
			entries: []imgspecv1.Descriptor{dated(entry(nested, top, "1", ""))},
			images:  map[string]string{"": top, "1": top},
		},
		{
			writer: "skopeo copy --all oci:", fixture: platforms,
			entries: []imgspecv1.Descriptor{entry(platforms, top, "1", ""), entry(platforms, "amd64", "", ""), entry(platforms, "arm64", "2", "")},
			images:  map[string]string{"1": top, "2": "arm64", "@1": "amd64"},
		},
		{
			writer: "skopeo copy, of one child of a list", fixture: platforms, absent: []string{"arm64"},
			entries: []imgspecv1.Descriptor{entry(platforms, "amd64", "1", "")},
			images:  map[string]string{"1": "amd64", "": "amd64"},
		},
	} {
		dir := t.TempDir()
		require.NoError(t, c.fixture.WriteLayout(dir, "", top, c.absent...), c.writer)
		writeEntries(t, dir, c.entries...)
		for _, name := range c.others {
			path := filepath.Join(dir, name)
			if filepath.Base(name)+"/" == name {
				require.NoError(t, os.Mkdir(path, 0o700))
			} else {
				require.NoError(t, os.WriteFile(path, []byte("{}"), 0o600))
			}
		}
		for _, form := range straight {
			for image, want := range c.images {
				if form.name != "layout" && image != "" && image[0] == '@' {
					continue // archives have no such references
				}
				t.Run(c.writer+"/"+form.name+"/"+image, func(t *testing.T) {
					src := openSource(t, form.ref(t, dir, image), system(t, ""))
					require.IsType(t, &layoutImage{}, src.ImageSource())
					if len(c.absent) > 0 && want == top {
						checkSparse(t, c.fixture, src, c.absent)
						return
					}
					checkSource(t, c.fixture, src, want)
				})
			}
		}
	}
}

// checkSparse checks that src has a list, and of what that names only what is not absent.
func checkSparse(t *testing.T, f *imagetest.Fixture, src *Source, absent []string) {
	assert.Equal(t, f.Digest(imagetest.Top), src.Top().Digest)
	for _, d := range f.Manifests(imagetest.Top) {
		doc, err := src.Manifest(t.Context(), d)
		if slices.Contains(absent, f.Name(d)) {
			assert.ErrorIs(t, err, endpoint.ErrNotFound, f.Name(d))
			continue
		}
		require.NoError(t, err, f.Name(d))
		assert.Equal(t, document(f, f.Name(d)), doc)
	}
}

// TestLayoutsOfOtherAlgorithms: all that a layout has is named by another digest.
func TestLayoutsOfOtherAlgorithms(t *testing.T) {
	for _, algorithm := range []digest.Algorithm{digest.SHA384, digest.SHA512} {
		dir := t.TempDir()
		put := func(mediaType string, content []byte) imgspecv1.Descriptor {
			d := algorithm.FromBytes(content)
			require.NoError(t, os.MkdirAll(filepath.Dir(blobFile(dir, d)), 0o700))
			require.NoError(t, os.WriteFile(blobFile(dir, d), content, 0o600))
			return imgspecv1.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(content))}
		}
		putDocument := func(mediaType string, document any) imgspecv1.Descriptor {
			content, err := json.Marshal(document)
			require.NoError(t, err)
			return put(mediaType, content)
		}
		layer := put(imgspecv1.MediaTypeImageLayer, []byte("layer"))
		image := imgspecv1.Manifest{MediaType: imgspecv1.MediaTypeImageManifest, Config: putDocument(imgspecv1.MediaTypeImageConfig, imgspecv1.Image{}), Layers: []imgspecv1.Descriptor{layer}}
		image.SchemaVersion = 2
		child := putDocument(imgspecv1.MediaTypeImageManifest, image)
		list := imgspecv1.Index{MediaType: imgspecv1.MediaTypeImageIndex, Manifests: []imgspecv1.Descriptor{child}}
		list.SchemaVersion = 2
		top := putDocument(imgspecv1.MediaTypeImageIndex, list)
		writeEntries(t, dir, top)
		for _, form := range forms {
			src := openSource(t, form.ref(t, dir, ""), system(t, ""))
			assert.Equal(t, top.Digest, src.Top().Digest, form.name)
			doc, err := src.Manifest(t.Context(), child.Digest)
			require.NoError(t, err, form.name)
			assert.Equal(t, child.Digest, doc.Digest)
			for _, b := range []imgspecv1.Descriptor{image.Config, layer} {
				size, err := src.BlobSize(t.Context(), endpoint.Blob{Digest: b.Digest, Size: -1})
				require.NoError(t, err, form.name)
				assert.Equal(t, b.Size, size)
				r, err := src.Blob(t.Context(), endpoint.Blob{Digest: b.Digest, Size: b.Size})
				require.NoError(t, err, form.name)
				content, err := io.ReadAll(r)
				require.NoError(t, errors.Join(err, r.Close()), form.name)
				assert.Equal(t, b.Digest, algorithm.FromBytes(content))
			}
		}
	}
}
