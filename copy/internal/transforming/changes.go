package transforming

import (
	"runtime"
	"strings"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	upstream "go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/pkg/compression"
	compressiontypes "go.podman.io/image/v5/pkg/compression/types"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// Changes are what is done to the layers of one image.
type changes struct {
	manifestType string // at the source
	wanted       plan.LayerChange
	format       string // that is asked for, "" for none
	level        int    // only if leveled is set
	leveled      bool
	encrypts     bool
	decrypts     bool
	dockerOnly   bool // the manifest has to become one that states no zstd
}

func changesOf(image Image, o *upstream.Options) changes {
	c := changes{
		manifestType: image.Document.MediaType, wanted: image.Wants.Layers,
		encrypts: o.OciEncryptLayers != nil, decrypts: o.OciDecryptConfig != nil,
		dockerOnly: strings.HasPrefix(o.ForceManifestMIMEType, "application/vnd.docker."),
	}
	if o.DestinationCtx == nil {
		return c
	}
	if format := o.DestinationCtx.CompressionFormat; format != nil {
		c.format = format.Name()
	}
	if level := o.DestinationCtx.CompressionLevel; level != nil {
		c.level, c.leveled = *level, true
	}
	return c
}

// schema1 reports whether the image has Docker's obsolete manifest, for which upstream reads whole
// layers whatever it does to them.
func (c *changes) schema1() bool {
	return c.manifestType == manifest.MediaTypeDockerSchema1 || c.manifestType == manifest.MediaTypeDockerSchema1Signed
}

// expect reports whether a layer with the given media type is going to be encoded, if it is what
// that says.
func (c *changes) expect(mediaType string) bool {
	switch {
	case c.crypts(mediaType):
		return true
	case strings.HasSuffix(mediaType, ".tar"):
		return c.encode("")
	case strings.HasSuffix(mediaType, "gzip"):
		return c.encode(compressiontypes.GzipAlgorithmName)
	case strings.HasSuffix(mediaType, "zstd"):
		return c.encode(compressiontypes.ZstdAlgorithmName)
	}
	return false
}

// crypts reports whether a layer may be encrypted, or is decrypted.
func (c *changes) crypts(mediaType string) bool {
	return c.encrypts || c.decrypts && strings.HasSuffix(mediaType, "+encrypted")
}

// encode reports whether content that is compressed in the given format, "" for none, is going to
// be compressed, compressed in another way or decompressed, if its media type allows that.
func (c *changes) encode(format string) bool {
	switch c.wanted {
	case plan.CompressLayers:
		return format == "" || c.format != "" && c.format != format
	case plan.DecompressLayers:
		return format != ""
	}
	return false
}

// memory estimates how many MiB it takes to encode a layer: encoders and decoders work with windows
// and blocks of fixed sizes, whatever the layer's.
func (c *changes) memory(b endpoint.Blob) int64 {
	const (
		buffers = 1
		window  = 16 // of zstd, and the same of what is to come
		tables  = 2  // of zstd
		largest = 32 // tables of its highest levels
		block   = 8  // of gzip, with what comes of it and the tables of a compressor
		ahead   = 4  // of gunzip
	)
	sum := int64(buffers)
	switch {
	case strings.HasSuffix(b.MediaType, "zstd"):
		sum += window
	case strings.HasSuffix(b.MediaType, "gzip"):
		sum += ahead
	}
	switch {
	case c.wanted != plan.CompressLayers:
	case c.format == "" || c.format == compressiontypes.GzipAlgorithmName:
		blocks := int64(runtime.GOMAXPROCS(0)) // that it works on at the same time
		if b.Size >= 0 {
			blocks = min(blocks, 1+b.Size>>20)
		}
		sum += block * blocks
	case c.leveled && c.level >= 10:
		sum += window + largest
	default:
		sum += window + tables
	}
	return sum
}

// A key says what a layer is and what is done to it. Layers with one key become one blob.
type key struct {
	blob    endpoint.Blob
	changes changes
}

// shared returns the key of a layer, and whether what it becomes may be used for others: not what
// is encrypted, which is never the same twice, or decrypted; nor what is described by annotations
// that only arise while it is encoded; nor what is sent again.
func (e *ends) shared(b endpoint.Blob) (key, bool) {
	c := &e.changes
	ok := !e.sendsAll && !c.crypts(b.MediaType) && !c.schema1() && c.format != compressiontypes.ZstdChunkedAlgorithmName
	return key{b, *c}, ok
}

// supported are the types of manifests and lists that the destination stores, in the order in which
// upstream's own destination of the same transport has them: it is that of what is tried.
func (e *ends) supported() []string {
	if types := e.image.Wants.MediaTypes; types != nil || e.image.Destination.Reference().Transport().Name() != "docker" {
		return types
	}
	supported := []string{imgspecv1.MediaTypeImageManifest, manifest.MediaTypeDockerManifest, imgspecv1.MediaTypeImageIndex, manifest.MediaTypeDockerList}
	if sys := e.options.DestinationCtx; sys == nil || !sys.DockerDisableDestSchema1MIMETypes {
		supported = append(supported, manifest.MediaTypeDockerSchema1Signed, manifest.MediaTypeDockerSchema1)
	}
	return supported
}

// statable reports whether the manifest will be one that can say how a blob of the source is
// compressed.
func (c *changes) statable(b types.BlobInfo) bool {
	return !c.dockerOnly || b.CompressionAlgorithm == nil || b.CompressionAlgorithm.Name() == compression.Gzip.Name()
}
