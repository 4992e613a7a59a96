package transforming_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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
	f.Layer("base", imagetest.Random(1, 5<<18), imagetest.Uncompressed())
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
			f, names := sharing(4)
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
			assert.Equal(t, 3+4+4, puts, "the shared layers, those of one image each, and the configs")
		})
	}
}

// heads are the options of a registry that closes asked once n questions for blobs have come.
func heads(n int) (asked <-chan struct{}, o registrytest.Options) {
	come := make(chan struct{})
	return come, registrytest.Options{Script: registrytest.Only(
		registrytest.Matching(http.MethodHead, registrytest.KindBlob),
		func(i int, _ *http.Request) registrytest.Answer {
			if i == n {
				close(come)
			}
			return registrytest.Answer{}
		},
	)}
}

// TestFewEncoders: only a few layers are encoded, and read for that, at the same time. Those that
// do not change go on meanwhile, and so does an image without others.
func TestFewEncoders(t *testing.T) {
	f := imagetest.New()
	var names, large []string
	for i := range 8 {
		for j := range 3 {
			layer := fmt.Sprintf("layer %d.%d", i, j)
			f.Layer(layer, imagetest.Random(uint64(10*i+j+1), 5<<18), imagetest.Uncompressed())
			large = append(large, layer)
		}
		name := fmt.Sprintf("image %d", i)
		f.Image(name, imagetest.Platform("linux/amd64"), imagetest.Layers(large[3*i:]...))
		names = append(names, name)
	}
	f.Layer("gzip", imagetest.Random(100, 5<<18))
	f.Image("compressed", imagetest.Platform("linux/amd64"), imagetest.Layers("gzip"))
	f.List(imagetest.Top, imagetest.Entries(append(names, "compressed")...))

	var reading, most atomic.Int64
	begun, goOn := make(chan struct{}), make(chan struct{})
	begin := sync.OnceFunc(func() { close(begun) })
	encoded := map[string]bool{}
	for _, layer := range large {
		encoded["/v2/lib/app/blobs/"+f.Digest(layer).String()] = true
	}
	e := copytest.NewEnv(t)
	_, src := source(t, f, imagetest.Top, registrytest.Options{Script: func(_ int, req *http.Request) registrytest.Answer {
		if req.Method == http.MethodGet && encoded[req.URL.Path] {
			if n := reading.Add(1); n > most.Load() {
				most.Store(n)
			}
			begin()
			<-goOn
			reading.Add(-1)
		}
		return registrytest.Answer{}
	}})
	asked, o := heads(len(large))
	b := newBench(t, e, src, newPlace(t, "docker", o).ref(), 64)
	group, ctx := errgroup.WithContext(t.Context())
	for _, name := range names {
		group.Go(func() error {
			_, err := b.transform(ctx, f.Digest(name), upstream.Options{})
			return err
		})
	}
	<-asked
	<-begun
	for range 3 { // takes longer than it takes the others to begin
		_, err := b.transform(t.Context(), f.Digest("compressed"), upstream.Options{})
		require.NoError(t, err)
	}
	close(goOn)
	require.NoError(t, group.Wait())
	assert.LessOrEqual(t, most.Load(), int64(6))
	for _, layer := range large {
		_, opened := b.read(f.Digest(layer))
		assert.Equal(t, 1, opened)
	}
	_, opened := b.read(f.Digest("gzip"))
	assert.Equal(t, 1, opened)
}

// TestDeadEnds: images that wait for each other's layers come to an end with one slot of the budget
// and however many images there are.
func TestDeadEnds(t *testing.T) {
	f := imagetest.New()
	var layers, names []string
	for i := range 12 {
		layer := fmt.Sprintf("layer %d", i)
		size := int64(1000)
		if i%3 == 0 {
			size = 5 << 18
		}
		f.Layer(layer, imagetest.Random(uint64(i+1), size), imagetest.Uncompressed())
		layers = append(layers, layer)
	}
	for i := range 16 { // each in another order
		name := fmt.Sprintf("image %d", i)
		ordered := append(slices.Clone(layers[i%12:]), layers[:i%12]...)
		if i%2 == 1 {
			slices.Reverse(ordered)
		}
		f.Image(name, imagetest.Platform("linux/amd64"), imagetest.Layers(ordered...))
		names = append(names, name)
	}
	f.List(imagetest.Top, imagetest.Entries(names...))
	e := copytest.NewEnv(t)
	_, src := source(t, f, imagetest.Top, registrytest.Options{})
	b := newBench(t, e, src, newPlace(t, "docker", registrytest.Options{}).ref(), 1)
	together(t, b, f, names, upstream.Options{DestinationCtx: compressedAs(e, compression.Zstd, 0), ForceCompressionFormat: true})
	for _, layer := range layers {
		_, opened := b.read(f.Digest(layer))
		assert.Equal(t, 1, opened)
	}
}

// TestManyWait: an image that is held up has the layer that all others wait for. They leave it room
// to go on.
func TestManyWait(t *testing.T) {
	f := imagetest.New()
	f.Layer("shared", imagetest.File("shared", strings.Repeat("shared", 1000)), imagetest.Uncompressed())
	f.Image("first", imagetest.Platform("linux/arm64"), imagetest.Layers("shared"))
	var names []string
	for i := range 70 {
		name := fmt.Sprintf("image %d", i)
		f.Image(name, imagetest.Platform("linux/amd64"), imagetest.Layers("shared"), imagetest.Annotation("number", name))
		names = append(names, name)
	}
	f.List(imagetest.Top, imagetest.Entries(append(names, "first")...))
	reached, goOn := make(chan struct{}), make(chan struct{})
	_, src := source(t, f, imagetest.Top, about(configOf(t, f, "first"), http.MethodGet, func(int, *http.Request) registrytest.Answer {
		close(reached)
		<-goOn
		return registrytest.Answer{}
	}))
	asked, o := heads(len(names) + 1)
	b := newBench(t, copytest.NewEnv(t), src, newPlace(t, "docker", o).ref(), 64)
	group, ctx := errgroup.WithContext(t.Context())
	transform := func(name string) {
		group.Go(func() error {
			_, err := b.transform(ctx, f.Digest(name), upstream.Options{})
			return err
		})
	}
	transform("first")
	<-reached
	for _, name := range names {
		transform(name)
	}
	<-asked
	close(goOn)
	require.NoError(t, group.Wait())
	_, opened := b.read(f.Digest("shared"))
	assert.Equal(t, 1, opened)
}
