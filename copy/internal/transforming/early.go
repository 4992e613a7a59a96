package transforming

import (
	"bytes"
	"context"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// This file has what is begun before upstream asks for it: that does one thing after the other, and
// each of them is a round trip or two.

// maxConfig is the size in bytes up to which a config is read; upstream reads none that is larger.
const maxConfig = 4 << 20

// An early layer is one that is looked for at the destination, and, if it is small and has to be
// encoded, read. Its fields are nil for what is not done.
type earlyLayer struct {
	there   *future[bool]
	content *future[*held]
	claim   *claim // on what becomes of content
	taken   bool   // by the layer that it was begun for; guarded by ends.mu
}

// Held is content in memory, with the slots of Limits.readAhead that it takes.
type held struct {
	content []byte
	slots   *slots
}

// beginEarly begins what can be begun for an image.
func (e *ends) beginEarly(ctx context.Context, image *manifest.Image) {
	config := endpoint.Blob{Digest: image.Config.Digest, Size: image.Config.Size, MediaType: image.Config.MediaType, Config: true}
	if 0 <= config.Size && config.Size <= maxConfig {
		e.beginConfig(ctx, config)
	}
	for _, layer := range image.Layers {
		b := endpoint.Blob{Digest: layer.Digest, Size: layer.Size, MediaType: layer.MediaType}
		if len(layer.URLs) == 0 && e.early[b.Digest] == nil && b.Digest != config.Digest {
			e.early[b.Digest] = e.beginLayer(ctx, b)
		}
	}
}

// beginConfig reads the config, and stores it if it is expected to stay as it is.
func (e *ends) beginConfig(ctx context.Context, b endpoint.Blob) {
	read := begin(e, func() ([]byte, error) { return e.readAll(ctx, b, e.begin(b).Open) })
	e.configRead = read
	if e.converts() {
		return
	}
	e.configStored = begin(e, func() (struct{}, error) {
		content, err := read.wait(ctx)
		if err == nil {
			err = e.storeConfig(ctx, b, content)
		}
		return struct{}{}, err
	})
}

func (e *ends) beginLayer(ctx context.Context, b endpoint.Blob) *earlyLayer {
	l := &earlyLayer{}
	if !e.sendsAll && !e.options.ForceCompressionFormat && !e.changes.crypts(b.MediaType) {
		l.there = begin(e, func() (bool, error) {
			there, err := endpoint.Present(ctx, e.budget, e.image.Destination, []endpoint.Blob{b})
			return there[b.Digest], err
		})
	}
	if !e.changes.expect(b.MediaType) || b.Size < 0 || b.Size > smallLayer {
		return l
	}
	if k, ok := e.shared(b); ok {
		if _, l.claim = e.results.outcome(k); l.claim == nil {
			return l // somebody else reads it
		}
	}
	l.content = begin(e, func() (*held, error) { return e.readAhead(ctx, b, e.begin(b).Open) })
	return l
}

// readAhead reads all of the small blob b, which open opens, once there is room for it.
func (e *ends) readAhead(ctx context.Context, b endpoint.Blob, open endpoint.Opener) (*held, error) {
	room, err := take(ctx, e.limits.readAhead, b.Size)
	if err != nil {
		return nil, err
	}
	content, err := e.readAll(ctx, b, open)
	if err != nil {
		room.release()
		return nil, err
	}
	return &held{content, room}, nil
}

// readAll reads all of b, which open opens.
func (e *ends) readAll(ctx context.Context, b endpoint.Blob, open endpoint.Opener) ([]byte, error) {
	travels, err := take(ctx, e.budget, e.weigh(b))
	if err != nil {
		return nil, err
	}
	defer travels.release()
	r, err := open(ctx)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	buffer := bytes.NewBuffer(make([]byte, 0, b.Size+bytes.MinRead))
	_, err = buffer.ReadFrom(r)
	return buffer.Bytes(), err
}

// askedFor returns the answer to whether the destination has a blob, if that was asked early.
func (e *ends) askedFor(d digest.Digest) *future[bool] {
	e.mu.Lock()
	defer e.mu.Unlock()
	if l := e.early[d]; l != nil {
		return l.there
	}
	return nil
}

// takeEarly returns what was begun for a layer, once; nil for nothing.
func (e *ends) takeEarly(d digest.Digest) *earlyLayer {
	e.mu.Lock()
	defer e.mu.Unlock()
	l := e.early[d]
	if l == nil || l.taken {
		return nil
	}
	l.taken = true
	return l
}

// leaveEarly leaves a layer that need not be read to others.
func (e *ends) leaveEarly(d digest.Digest) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if l := e.early[d]; l != nil && l.claim != nil {
		l.claim.abandon()
	}
}

// endEarly ends what was begun early, and gives back what it holds, whoever has asked for it.
func (e *ends) endEarly() {
	e.cancel(nil)
	e.background.Wait()
	for _, l := range e.early {
		if l.claim != nil {
			l.claim.abandon()
		}
		if l.content != nil && l.content.err == nil {
			l.content.value.slots.release()
		}
	}
}

// converts reports whether the manifest is expected to become one of another type, with another
// config.
func (e *ends) converts() bool {
	is, forced, stored := e.image.Document.MediaType, e.options.ForceManifestMIMEType, e.image.Wants.MediaTypes
	docker := is == manifest.MediaTypeDockerManifest
	return forced != "" && forced != is || stored != nil && !slices.Contains(stored, is) ||
		docker && (e.changes.encrypts || strings.HasPrefix(e.changes.format, "zstd"))
}

// A future is what something that runs in the background results in.
type future[T any] struct {
	over chan struct{}
	// Valid once over is closed.
	value T
	err   error
}

// begin runs f in the background, until e is closed.
func begin[T any](e *ends, f func() (T, error)) *future[T] {
	later := &future[T]{over: make(chan struct{})}
	e.background.Go(func() {
		defer close(later.over)
		later.value, later.err = f()
	})
	return later
}

// wait returns the result, or fails with the cause of ctx when that ends first.
func (f *future[T]) wait(ctx context.Context) (value T, err error) {
	select {
	case <-f.over:
		return f.value, f.err
	case <-ctx.Done():
		return value, context.Cause(ctx)
	}
}
