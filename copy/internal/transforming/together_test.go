package transforming_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	upstream "go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/pkg/compression"
	"golang.org/x/sync/errgroup"

	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
	"github.com/sparsecopy/sparsecopy/copy/internal/transforming"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// together transforms all images of a list at the same time.
func together(t *testing.T, b *bench, f *imagetest.Fixture, names []string, o upstream.Options) []transforming.Result {
	t.Helper()
	results := make([]transforming.Result, len(names))
	group, ctx := errgroup.WithContext(t.Context())
	for i, name := range names {
		group.Go(func() (err error) {
			results[i], err = b.transform(ctx, f.Digest(name), o)
			return err
		})
	}
	require.NoError(t, group.Wait())
	return results
}

// sharing has n images that share a base layer, which is not compressed, and one that is.
func sharing(n int) (f *imagetest.Fixture, names []string) {
	f = imagetest.New()
	f.Layer("base", imagetest.Random(1, 3<<20), imagetest.Uncompressed())
	f.Layer("small base", imagetest.File("base", strings.Repeat("base", 1000)), imagetest.Uncompressed())
	f.Layer("gzip", imagetest.Random(2, 100<<10))
	for i := range n {
		own := fmt.Sprintf("own %d", i)
		f.Layer(own, imagetest.File("own", strings.Repeat(own, 1000)), imagetest.Uncompressed())
		name := fmt.Sprintf("image %d", i)
		f.Image(name, imagetest.Platform("linux/amd64"), imagetest.Layers("base", "small base", "gzip", own))
		names = append(names, name)
	}
	f.List(imagetest.Top, imagetest.Entries(names...))
	return f, names
}

// TestSharedLayers: what several images share is read, transformed and sent once, and all images
// are what upstream would make of them.
func TestSharedLayers(t *testing.T) {
	for name, set := range map[string]func(*copytest.Env, *upstream.Options){
		"gzip": func(*copytest.Env, *upstream.Options) {},
		"zstd": func(e *copytest.Env, o *upstream.Options) { o.DestinationCtx = compressedAs(e, compression.Zstd, 0) },
		"zstd forced": func(e *copytest.Env, o *upstream.Options) {
			o.DestinationCtx, o.ForceCompressionFormat = compressedAs(e, compression.Zstd, 0), true
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, names := sharing(8)
			e := copytest.NewEnv(t)
			var o upstream.Options
			set(e, &o)
			reg, src := source(t, f, imagetest.Top, registrytest.Options{})
			p := newPlace(t, "docker", registrytest.Options{})
			b := newBench(t, e, src, p.ref(), 4)
			results := together(t, b, f, names, o)
			for i, name := range names {
				want, err := theirs(t, e, copytest.RegistryRef(t, reg, "lib/app", f.Digest(name).String()), newPlace(t, "docker", registrytest.Options{}).ref(), o)
				require.NoError(t, err)
				assert.Equal(t, string(want), string(results[i].Document.Bytes))
			}
			for _, layer := range []string{"base", "small base", "gzip"} {
				bytes, opened := b.read(f.Digest(layer))
				assert.Equal(t, 1, opened, layer)
				assert.Equal(t, f.Size(layer), bytes, layer)
			}
			puts := p.reg.Count(registrytest.Is(http.MethodPut, registrytest.KindUpload))
			assert.Equal(t, 3+8+8, puts, "the shared layers, those of one image each, and the configs")
		})
	}
}
