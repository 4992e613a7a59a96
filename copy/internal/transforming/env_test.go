package transforming_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	upstream "go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/types"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/copy/internal/access"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
	"github.com/sparsecopy/sparsecopy/copy/internal/transforming"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/endpoint/registry"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/progress"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// A bench is a source and a destination that are open, and a Transformer between them.
type bench struct {
	t      testing.TB
	env    *copytest.Env
	srcRef types.ImageReference
	src    endpoint.SizedSource
	dst    endpoint.Destination
	*transforming.Transformer
	budget *semaphore.Weighted
	slots  int64

	mu        sync.Mutex // guards transfers
	transfers []*transfer
}

// newBench opens both ends. The budget has as many slots as given.
func newBench(t testing.TB, e *copytest.Env, src, dst types.ImageReference, slots int64) *bench {
	t.Helper()
	shared := &registry.Shared{Retry: registry.RetryPolicy{BaseDelay: time.Millisecond, MaxDelay: 10 * time.Millisecond}}
	t.Cleanup(func() { require.NoError(t, shared.Close()) })
	source, _, err := access.OpenSource(t.Context(), src, e.Sys, shared)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, source.Close()) })
	destination, _, err := access.OpenDestination(t.Context(), dst, e.Sys, shared)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, destination.Close()) })
	b := &bench{t: t, env: e, srcRef: src, src: source, dst: destination, budget: semaphore.NewWeighted(slots), slots: slots}
	b.Transformer = transforming.New(transforming.NewLimits(), b.budget, func(endpoint.Blob) int64 { return 1 })
	t.Cleanup(b.checkNothingLeft)
	return b
}

// transform transforms the image with digest d, "" for what the source's reference names.
func (b *bench) transform(ctx context.Context, d digest.Digest, o upstream.Options) (transforming.Result, error) {
	b.t.Helper()
	doc := b.src.Top()
	if d != "" {
		var err error
		doc, err = b.src.Manifest(b.t.Context(), d)
		require.NoError(b.t, err)
	}
	if o.SourceCtx == nil {
		o.SourceCtx = b.env.Sys
	}
	if o.DestinationCtx == nil {
		o.DestinationCtx = b.env.Sys
	}
	return b.Transform(ctx, transforming.Image{
		Document: doc, Source: b.srcRef, Begin: b.begin,
		Destination: &transforming.ByDigest{Destination: b.dst, IsTop: d == "", Keep: keep, Storing: nothing, Stored: nothing},
		Wants:       access.Wanted(access.TransportOf(b.dst.Reference()), o.DestinationCtx),
	}, &o)
}

func nothing() {}

func keep(context.Context, endpoint.Blob, endpoint.Opener) error { return nil }

// A transfer keeps what it was told.
type transfer struct {
	endpoint.Opener
	source  endpoint.Blob
	mu      sync.Mutex // guards what follows
	read    int64
	opened  int
	written endpoint.Blob
	outcome []progress.Outcome
}

func (t *transfer) Open(ctx context.Context) (io.ReadCloser, error) {
	t.mu.Lock()
	t.opened++
	t.mu.Unlock()
	return t.Opener(ctx)
}

func (t *transfer) End(written endpoint.Blob, outcome progress.Outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.written, t.outcome = written, append(t.outcome, outcome)
}

// A sourceError is what fails about the source.
type sourceError struct{ error }

func (e *sourceError) Unwrap() error { return e.error }

func (b *bench) begin(blob endpoint.Blob) transforming.Transfer {
	t := &transfer{source: blob}
	failed := func(err error) error { return &sourceError{err} }
	count := func(n int) {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.read += int64(n)
	}
	t.Opener = func(ctx context.Context) (io.ReadCloser, error) {
		r, err := b.src.Blob(ctx, blob)
		if err != nil {
			return nil, failed(err)
		}
		return endpoint.Verified(r, blob, count, failed), nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.transfers = append(b.transfers, t)
	return t
}

// checkNothingLeft makes sure that all slots are free, that each transfer has ended once, and that
// no temporary file is left.
func (b *bench) checkNothingLeft() {
	assert.True(b.t, b.budget.TryAcquire(b.slots), "slots of the budget are held")
	for _, t := range b.transfers {
		assert.Len(b.t, t.outcome, 1, "%s", t.source.Digest)
	}
	left, err := os.ReadDir(b.env.Sys.BigFilesTemporaryDir)
	require.NoError(b.t, err)
	assert.Empty(b.t, left)
}

// read counts the bytes that were read of a blob, and how often it was opened.
func (b *bench) read(d digest.Digest) (bytes int64, opened int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, t := range b.transfers {
		if t.source.Digest == d {
			bytes, opened = bytes+t.read, opened+t.opened
		}
	}
	return bytes, opened
}

// theirs copies with upstream's package, and returns what was written.
func theirs(t testing.TB, e *copytest.Env, src, dst types.ImageReference, o upstream.Options) ([]byte, error) {
	t.Helper()
	if o.SourceCtx == nil {
		o.SourceCtx = e.Sys
	}
	if o.DestinationCtx == nil {
		o.DestinationCtx = e.Sys
	}
	o.RemoveSignatures = true
	return upstream.Image(t.Context(), e.Policy, dst, src, &o)
}

// A place is where images are written to.
type place struct {
	t    testing.TB
	kind string // of transport
	dir  string
	reg  *registrytest.Registry
	repo string
}

func newPlace(t testing.TB, kind string, o registrytest.Options) *place {
	p := &place{t: t, kind: kind, dir: filepath.Join(t.TempDir(), "place"), repo: "mirror/app"}
	if kind == "docker" {
		p.reg = registrytest.Start(t, o)
	}
	return p
}

func (p *place) ref() types.ImageReference {
	switch p.kind {
	case "docker":
		return copytest.RegistryRef(p.t, p.reg, p.repo, "v1")
	case "oci":
		return copytest.LayoutRef(p.t, p.dir, "v1")
	case "dir":
		return copytest.DirRef(p.t, p.dir)
	}
	panic(p.kind)
}

// published makes the place's reference name doc, so that it can be read.
func (p *place) published(b *bench, doc endpoint.Document) {
	p.t.Helper()
	require.NoError(p.t, b.dst.PutTop(p.t.Context(), doc, nil))
}

// source pushes an image of a fixture into a registry, and returns its reference.
func source(t testing.TB, f *imagetest.Fixture, name string, o registrytest.Options) (*registrytest.Registry, types.ImageReference) {
	t.Helper()
	reg := registrytest.Start(t, o)
	f.PushTo(reg, "lib/app", "v1", name)
	return reg, copytest.RegistryRef(t, reg, "lib/app", "v1")
}

// checkBlobs reads all blobs of the image that a reference names, and makes sure that it is the one
// with digest d.
func checkBlobs(t testing.TB, b *bench, d digest.Digest, ref types.ImageReference) {
	t.Helper()
	src, _, err := access.OpenSource(t.Context(), ref, b.env.Sys, &registry.Shared{})
	require.NoError(t, err)
	defer src.Close()
	require.Equal(t, d, src.Top().Digest)
	image, err := manifest.ParseImage(src.Top().Bytes, src.Top().MediaType)
	require.NoError(t, err)
	here, _ := endpoint.PlacesOf(image)
	for _, blob := range here {
		r, err := src.Blob(t.Context(), blob)
		require.NoError(t, err)
		r = endpoint.Verified(r, blob, nil, func(err error) error { return err })
		_, err = io.Copy(io.Discard, r)
		require.NoError(t, err)
		require.NoError(t, r.Close())
	}
}
