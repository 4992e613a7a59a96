package transforming_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	upstream "go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/pkg/compression"

	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// A gate holds requests until others have come.
type gate struct {
	mu   sync.Mutex
	left map[string]bool
	open chan struct{}
}

func newGate(names ...string) *gate {
	g := &gate{left: map[string]bool{}, open: make(chan struct{})}
	for _, name := range names {
		g.left[name] = true
	}
	return g
}

func (g *gate) came(name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if delete(g.left, name); len(g.left) == 0 {
		select {
		case <-g.open:
		default:
			close(g.open)
		}
	}
}

func (g *gate) wait(ctx context.Context) {
	select {
	case <-g.open:
	case <-ctx.Done():
	}
}

// TestErrands: the destination is asked for layers while the config is read, and the config is
// stored before a layer has been read: each waits for the other here. Nothing is asked or sent
// twice.
func TestErrands(t *testing.T) {
	f := imagetest.New()
	f.Layer("one", imagetest.File("one", "one"), imagetest.Uncompressed())
	f.Layer("two", imagetest.File("two", "two"))
	f.Image(imagetest.Top, imagetest.Platform("linux/amd64"), imagetest.Layers("one", "two"))
	image, one, two := f.Digest(imagetest.Top), f.Digest("one").String(), f.Digest("two").String()
	var config string
	for _, d := range f.Blobs(imagetest.Top) {
		if d.String() != one && d.String() != two {
			config = d.String()
		}
	}
	asked, stored := newGate(one, two), newGate(config)
	_, src := source(t, f, imagetest.Top, registrytest.Options{Script: func(_ int, r *http.Request) registrytest.Answer {
		switch name := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]; name {
		case config:
			asked.wait(r.Context())
		case one, two:
			stored.wait(r.Context())
		}
		return registrytest.Answer{}
	}})
	p := newPlace(t, "docker", registrytest.Options{Script: func(_ int, r *http.Request) registrytest.Answer {
		switch r.Method {
		case http.MethodHead:
			asked.came(r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:])
		case http.MethodPut:
			stored.came(r.URL.Query().Get("digest"))
		}
		return registrytest.Answer{}
	}})
	e := copytest.NewEnv(t)
	b := newBench(t, e, src, p.ref(), 4)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	result, err := b.transform(ctx, "", upstream.Options{DestinationCtx: compressedAs(e, compression.Zstd, 0)})
	require.NoError(t, err)
	assert.NotEqual(t, image, result.Document.Digest)
	assert.Len(t, result.Copied, 3)
	assert.Equal(t, 2, p.reg.Count(registrytest.Is(http.MethodHead, registrytest.KindBlob)))
	assert.Equal(t, 3, p.reg.Count(registrytest.Is(http.MethodPut, registrytest.KindUpload)))
	for _, d := range f.Blobs(imagetest.Top) {
		_, opened := b.read(d)
		assert.Equal(t, 1, opened, f.Name(d))
	}
}

// TestConfigThatIsThere: a config that the destination has is read for upstream, and not sent.
func TestConfigThatIsThere(t *testing.T) {
	f := imagetest.New()
	f.Layer("one", imagetest.File("one", "one"), imagetest.Uncompressed())
	f.Image(imagetest.Top, imagetest.Platform("linux/amd64"), imagetest.Layers("one"))
	_, src := source(t, f, imagetest.Top, registrytest.Options{})
	p := newPlace(t, "docker", registrytest.Options{})
	for _, d := range f.Blobs(imagetest.Top) {
		if d != f.Digest("one") {
			p.reg.PutBlob(p.repo, f.Content(f.Name(d)))
		}
	}
	b := newBench(t, copytest.NewEnv(t), src, p.ref(), 4)
	result, err := b.transform(t.Context(), "", upstream.Options{})
	require.NoError(t, err)
	assert.Len(t, result.Copied, 1)
	assert.Len(t, result.Reused, 1)
	p.published(b, result.Document)
	checkBlobs(t, b, result.Document.Digest, p.ref())
}

// TestConfigThatChanges: a config that another will take the place of is not sent.
func TestConfigThatChanges(t *testing.T) {
	f := imagetest.New()
	f.Layer("one", imagetest.File("one", "one"))
	f.Image(imagetest.Top, imagetest.Platform("linux/amd64"), imagetest.Layers("one"), imagetest.Docker())
	_, src := source(t, f, imagetest.Top, registrytest.Options{})
	p := newPlace(t, "docker", registrytest.Options{})
	e := copytest.NewEnv(t)
	b := newBench(t, e, src, p.ref(), 4)
	result, err := b.transform(t.Context(), "", upstream.Options{DestinationCtx: compressedAs(e, compression.Zstd, 0)})
	require.NoError(t, err)
	assert.Equal(t, 2, p.reg.Count(registrytest.Is(http.MethodPut, registrytest.KindUpload)))
	p.published(b, result.Document)
	checkBlobs(t, b, result.Document.Digest, p.ref())
}
