package imagetest

import (
	"io"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// A LayerOption says what is in a layer, or how it is encoded.
type LayerOption func(*layer)

type layer struct {
	files    []tarFile
	encoding encoding
	urls     []string
}

// File adds a file with the given text.
func File(path, text string) LayerOption {
	return func(l *layer) {
		l.files = append(l.files, tarFile{path: path, text: text, size: int64(len(text))})
	}
}

// Random adds a file of size bytes that do not compress and are determined by the seed. The layer
// is larger than that by the frames of tar and gzip: about 2 KiB and 5 bytes for every 64 KiB. The
// fixture does not hold them in memory.
func Random(seed uint64, size int64) LayerOption {
	return func(l *layer) {
		l.files = append(l.files, tarFile{path: "random.bin", size: size, random: true, seed: seed})
	}
}

// Uncompressed makes the layer a plain tar archive. Layers are gzipped by default.
func Uncompressed() LayerOption { return func(l *layer) { l.encoding = plain } }

// Zstd makes the layer a zstd frame. Docker images cannot have such layers.
func Zstd() LayerOption { return func(l *layer) { l.encoding = zstd } }

// Foreign makes the layer a non-distributable one, whose descriptors carry the given URLs.
func Foreign(urls ...string) LayerOption {
	return func(l *layer) { l.urls = slices.Clone(urls) }
}

// Layer makes a layer: a tar archive of the given files, or of one small file named after the layer
// if none is given. It is stored without compression inside the gzip or zstd frame: so its text
// stays readable in the blob, and its digest does not depend on the version of a compressor.
func (f *Fixture) Layer(name string, options ...LayerOption) {
	var l layer
	for _, option := range options {
		option(&l)
	}
	if len(l.files) == 0 {
		File(name+".txt", "This is layer "+name+".\n")(&l)
	}
	size, d, diffID, err := measure(l.files, l.encoding)
	if err != nil {
		fail("layer %q: %v", name, err)
	}
	f.addBlob(name, &blob{
		digest:    d,
		size:      size,
		diffID:    diffID,
		mediaType: l.mediaType,
		urls:      l.urls,
		write:     func(w io.Writer) error { return writeLayer(w, io.Discard, l.files, l.encoding) },
	})
}

// mediaType returns the layer's media type in manifests of the given form.
func (l *layer) mediaType(in form) string {
	types := ociLayerTypes
	switch {
	case in == dockerForm && l.urls != nil:
		types = dockerForeignLayerTypes
	case in == dockerForm:
		types = dockerLayerTypes
	case l.urls != nil:
		types = ociForeignLayerTypes
	}
	mediaType, ok := types[l.encoding]
	if !ok {
		fail("Docker images have no layers with encoding %q", l.encoding)
	}
	return mediaType
}

// OCI image specification v1.1, media-types.md and layer.md; Docker image manifest version 2,
// schema 2.
var (
	ociLayerTypes = map[encoding]string{
		gzipped: "application/vnd.oci.image.layer.v1.tar+gzip",
		plain:   "application/vnd.oci.image.layer.v1.tar",
		zstd:    "application/vnd.oci.image.layer.v1.tar+zstd",
	}
	ociForeignLayerTypes = map[encoding]string{
		gzipped: "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
		plain:   "application/vnd.oci.image.layer.nondistributable.v1.tar",
		zstd:    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
	}
	dockerLayerTypes = map[encoding]string{
		gzipped: "application/vnd.docker.image.rootfs.diff.tar.gzip",
		plain:   "application/vnd.docker.image.rootfs.diff.tar",
	}
	dockerForeignLayerTypes = map[encoding]string{
		gzipped: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
		plain:   "application/vnd.docker.image.rootfs.foreign.diff.tar",
	}
)

// Seeded makes a layer of exactly size bytes, for copies of more than memory can hold: it takes
// none, here and in in-process registries that it is pushed to. It is not an archive, and not gzip
// as its media type says, unless it is Uncompressed, so that whoever opens layers fails on it or
// compresses it.
func (f *Fixture) Seeded(name string, seed uint64, size int64, options ...LayerOption) {
	var l layer
	for _, option := range options {
		option(&l)
	}
	content := registrytest.Seeded(seed, size)
	f.addBlob(name, &blob{
		digest:    content.Digest,
		size:      content.Size,
		diffID:    content.Digest,
		mediaType: l.mediaType,
		write: func(w io.Writer) error {
			_, err := io.Copy(w, content.Reader())
			return err
		},
		content: &content,
	})
}

// Blob makes a blob of arbitrary content, to be used as the layer of an image or artifact under the
// given media type.
func (f *Fixture) Blob(name, mediaType string, content []byte) {
	f.addRawBlob(name, mediaType, content, nil)
}

func (f *Fixture) addRawBlob(name, mediaType string, content []byte, annotations map[string]string) {
	content = slices.Clone(content)
	d := digest.FromBytes(content)
	f.addBlob(name, &blob{
		digest:      d,
		size:        int64(len(content)),
		diffID:      d,
		mediaType:   func(form) string { return mediaType },
		annotations: annotations,
		write: func(w io.Writer) error {
			_, err := w.Write(content)
			return err
		},
	})
}
