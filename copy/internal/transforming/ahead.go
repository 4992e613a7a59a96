package transforming

import (
	"bytes"
	"context"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	compressiontypes "go.podman.io/image/v5/pkg/compression/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// Errands are what is done for an image before upstream's copy comes to it: that asks for the
// config, then for layers, and brings the config when all layers are there, each a round trip or
// two after the other.
type errands struct {
	running sync.WaitGroup
	asked   map[digest.Digest]bool // layers that the destination is asked for
	told    chan struct{}          // is closed when there is valid
	there   map[digest.Digest]bool
	config  *early // nil if the config is not brought
}

// An early is a config that is brought before upstream stores it.
type early struct {
	blob endpoint.Blob
	read chan struct{} // is closed when content is valid, which may never be
	over chan struct{} // is closed when err is valid

	content []byte
	err     error
}

// largestEarly is the size in bytes up to which configs are held in memory for that.
const largestEarly = 1 << 20

// runErrands does what is worth it for image, until ctx ends.
func (d *destination) runErrands(ctx context.Context, image *manifest.Image) {
	layers := d.worthAsking(image)
	d.errands.asked, d.errands.told = map[digest.Digest]bool{}, make(chan struct{})
	for _, b := range layers {
		d.errands.asked[b.Digest] = true
	}
	d.errands.running.Go(func() {
		defer close(d.errands.told)
		d.errands.there, _ = endpoint.Present(ctx, d.budget, d.image.Destination, layers) // fails when ctx ends
	})
	c := image.Config
	if !d.keepsConfig() || c.Size < 0 || c.Size > largestEarly || c.Digest.Validate() != nil {
		return
	}
	d.errands.config = &early{
		blob: endpoint.Blob{Digest: c.Digest, Size: c.Size, MediaType: c.MediaType, Config: true},
		read: make(chan struct{}), over: make(chan struct{}),
	}
	d.errands.running.Go(func() { d.bring(ctx, d.errands.config) })
}

// worthAsking returns the layers that upstream asks the destination for.
func (e *ends) worthAsking(image *manifest.Image) []endpoint.Blob {
	if e.changes.encrypts || e.changes.dockerOnly || e.options.ForceCompressionFormat {
		return nil
	}
	var layers []endpoint.Blob
	for _, l := range image.Layers {
		if l.Size >= 0 && len(l.URLs) == 0 && l.Digest.Validate() == nil && !strings.HasSuffix(l.MediaType, "+encrypted") {
			layers = append(layers, endpoint.Blob{Digest: l.Digest, Size: l.Size, MediaType: l.MediaType})
		}
	}
	return layers
}

// keepsConfig reports whether the image will have the config that it has, as far as is known.
func (e *ends) keepsConfig() bool {
	c, forced, stored := &e.changes, e.options.ForceManifestMIMEType, e.image.Wants.MediaTypes
	if forced != "" && forced != c.manifestType || stored != nil && !slices.Contains(stored, c.manifestType) {
		return false
	}
	switch c.manifestType {
	case imgspecv1.MediaTypeImageManifest:
		return true
	case manifest.MediaTypeDockerManifest:
		return !c.encrypts && (c.format == "" || c.format == compressiontypes.GzipAlgorithmName)
	}
	return false
}

// bring reads a config and stores it.
func (d *destination) bring(ctx context.Context, c *early) {
	defer close(c.over)
	travels, err := take(ctx, d.budget, d.weigh(c.blob))
	if err != nil {
		c.err = err
		return
	}
	defer travels.release()
	if c.err = d.put(ctx, c.blob.Digest, c.blob, d.opener(c)); c.err != nil && ctx.Err() == nil {
		_ = d.fail(c.err)
	}
}

// opener returns what reads the config, and keeps it for upstream.
func (e *ends) opener(c *early) endpoint.Opener {
	var once sync.Once
	return func(ctx context.Context) (io.ReadCloser, error) {
		r, err := e.begin(c.blob).Open(ctx)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		content, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		once.Do(func() {
			c.content = content
			close(c.read)
		})
		return io.NopCloser(bytes.NewReader(content)), nil
	}
}

// wait waits for the content of the config. It is nil if the config was not read, because the
// destination has it.
func (c *early) wait(ctx context.Context) ([]byte, error) {
	select {
	case <-c.read:
		return c.content, nil
	case <-c.over:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	select {
	case <-c.read:
		return c.content, nil
	default:
		return nil, c.err
	}
}

// stored waits until the config is at the destination.
func (c *early) stored(ctx context.Context) error {
	select {
	case <-c.over:
		return c.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// has reports whether the destination has b, which upstream asks for.
func (d *destination) has(ctx context.Context, b endpoint.Blob) (bool, error) {
	if !d.errands.asked[b.Digest] {
		there, err := endpoint.Present(ctx, d.budget, d.image.Destination, []endpoint.Blob{b})
		return there[b.Digest], err
	}
	select {
	case <-d.errands.told:
		return d.errands.there[b.Digest], context.Cause(ctx)
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
}
