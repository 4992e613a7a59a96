package transports

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	upstream "go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/docker/archive"
	istorage "go.podman.io/image/v5/storage"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/types"
	"go.podman.io/storage"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
)

// newStore makes a store below dir that needs nothing of the machine's.
func newStore(t *testing.T, dir string) storage.Store {
	t.Helper()
	store, err := storage.GetStore(storage.StoreOptions{
		GraphDriverName: "vfs", GraphRoot: filepath.Join(dir, "root"), RunRoot: filepath.Join(dir, "run"),
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := store.Shutdown(true)
		require.NoError(t, err)
	})
	return store
}

// stored is a place in a store, which names hold already.
func stored(name string) kind {
	return func(t *testing.T, dir string) place {
		store := newStore(t, dir)
		ref, err := istorage.Transport.ParseStoreReference(store, name)
		require.NoError(t, err)
		return place{ref, func() []string { return storeContent(t, store) }}
	}
}

// storeContent describes images and layers.
func storeContent(t *testing.T, store storage.Store) []string {
	t.Helper()
	var lines []string
	images, err := store.Images()
	require.NoError(t, err)
	for _, image := range images {
		lines = append(lines, fmt.Sprintf("image %s %s %v %v top %s", image.ID, image.Digest, image.Names, image.Digests, image.TopLayer))
		for _, key := range image.BigDataNames {
			content, err := store.ImageBigData(image.ID, key)
			require.NoError(t, err)
			lines = append(lines, fmt.Sprintf("image %s %s %s", image.ID, key, digest.FromBytes(content)))
		}
	}
	layers, err := store.Layers()
	require.NoError(t, err)
	for _, layer := range layers {
		lines = append(lines, fmt.Sprintf("layer %s on %s %s %s", layer.ID, layer.Parent, layer.CompressedDigest, layer.UncompressedDigest))
	}
	slices.Sort(lines)
	return lines
}

// TestToStorage stores images.
func TestToStorage(t *testing.T) {
	f := fixtures["OCI"]
	list, image, name := layoutOf(f, imagetest.Top), layoutOf(f, "arm64"), stored("example.com/app:v1")
	byDigest := func(name string) kind { return stored("example.com/app@" + f.Digest(name).String()) }
	const notThis, ours = "would not match destination reference", "the destination names the digest"
	for title, b := range map[string]both{
		"the system image of a list":                  {src: list, dst: name},
		"the system image, by the digest of the list": {src: list, dst: byDigest(imagetest.Top)},
		"the system image, by its digest":             {src: list, dst: byDigest("amd64")},
		"the system image, by another digest":         {src: list, dst: byDigest("arm64"), want: notThis, ours: ours},
		"the system image of a Docker list":           {src: layoutOf(fixtures["Docker"], imagetest.Top), dst: name},
		"a list":                                      {src: list, dst: name, options: all, want: notAGroup},
		"some of a list":                              {src: list, dst: name, options: some, want: notAGroup},
		"an image":                                    {src: image, dst: name},
		"an image, by its digest":                     {src: image, dst: byDigest("arm64")},
		"an image, by another digest":                 {src: image, dst: byDigest("amd64"), want: notThis, ours: ours},
		"an image that is there":                      {src: image, dst: having(f, "arm64", name)},
		"an image of which a layer is there":          {src: image, dst: having(f, "amd64", name)},
		"digests stay":                                {src: image, dst: name, options: copy.Options{PreserveDigests: true}},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			b.unsure = b.want == "" && os.Geteuid() != 0 // a store extracts layers, with their owners
			if out := b.run(t); out.err == nil {
				assert.NotEmpty(t, out.content)
				assert.Contains(t, transports.ImageName(out.resolved), "@", "the image's ID")
			}
		})
	}
}

// having is a place in a store that has an image already, under another name.
func having(f *imagetest.Fixture, image string, at kind) kind {
	return func(t *testing.T, dir string) place {
		p := at(t, dir)
		store(t, dir, f, image)
		return p
	}
}

// store stores an image of a fixture as example.com/other:v1 in the store below dir and returns its
// reference.
func store(t *testing.T, dir string, f *imagetest.Fixture, image string) types.ImageReference {
	t.Helper()
	return storeAs(t, dir, "example.com/other:v1", f, image, newSystem(t))
}

// storeAs stores an image, or the one of a list that sys chooses, by upstream's own copy.
func storeAs(t *testing.T, dir, name string, f *imagetest.Fixture, image string, sys *types.SystemContext) types.ImageReference {
	t.Helper()
	p := stored(name)(t, dir)
	_, err := upstream.Image(t.Context(), acceptAnything(t), p.ref, layoutOf(f, image)(t, t.TempDir()).ref,
		&upstream.Options{SourceCtx: sys, DestinationCtx: sys})
	if os.Geteuid() != 0 && err != nil {
		t.Skipf("nobody but root stores images in a directory of a test: %v", err)
	}
	require.NoError(t, err)
	return p.ref
}

// TestFromStorage reads images of a store.
func TestFromStorage(t *testing.T) {
	src := func(format string) kind {
		return func(t *testing.T, dir string) place { return place{ref: store(t, dir, fixtures[format], "amd64")} }
	}
	byID := func(t *testing.T, dir string) place {
		_, image, err := istorage.ResolveReference(store(t, dir, fixtures["OCI"], "amd64"))
		require.NoError(t, err)
		return stored("@"+image.ID)(t, dir)
	}
	// byList is an image that is stored under the digest of the list that it comes from, as tools
	// do that pull by digest.
	byList := func(architectures ...string) kind {
		return func(t *testing.T, dir string) place {
			f := fixtures["OCI"]
			var ref types.ImageReference
			for _, architecture := range architectures {
				sys := newSystem(t)
				sys.ArchitectureChoice = architecture
				ref = storeAs(t, dir, "example.com/other@"+f.Digest(imagetest.Top).String(), f, imagetest.Top, sys)
			}
			return place{ref: ref}
		}
	}
	const absent = "reading manifest for image instance"
	for title, b := range map[string]both{
		"by the digest of the list":        {src: byList("amd64"), dst: emptyLayout},
		"by the digest, all of the list":   {src: byList("amd64"), dst: emptyLayout, options: all, want: absent, ours: "missing at the source"},
		"by the digest, another system":    {src: byList("arm64"), dst: emptyLayout, want: absent, ours: "missing at the source"},
		"by the digest, both systems":      {src: byList("arm64", "amd64"), dst: emptyLayout},
		"to a layout":                      {src: src("OCI"), dst: emptyLayout},
		"to a layout, all of it":           {src: src("OCI"), dst: emptyLayout, options: all},
		"to a layout, from Docker's":       {src: src("Docker"), dst: emptyLayout},
		"to a layout, with the same bytes": {src: src("OCI"), dst: emptyLayout, options: copy.Options{PreserveDigests: true}, want: "Instructed to preserve digests"},
		"to a directory":                   {src: src("OCI"), dst: emptyDirectory},
		"to an archive":                    {src: src("OCI"), dst: parsed(archive.Transport, "DIR/b.tar:example.com/app:v1")},
		"to a store":                       {src: src("OCI"), dst: stored("example.com/app:v1")},
		"by ID":                            {src: byID, dst: emptyLayout},
		"of nothing":                       {src: stored("example.com/app:v1"), dst: emptyLayout, want: "does not resolve to an image ID"},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			b.run(t)
		})
	}
}
