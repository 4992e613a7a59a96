package original

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// tarOverhead is what a tar with one file may have beside the file: its headers and its end, which
// is filled up to blocks of 10 KiB by some.
const tarOverhead = 16 << 10

// Plain returns the artifact as a plain image, of the types that every registry takes: without an
// artifact type, with the config of an image, and with layers that are tars with one file each, in
// the place that it would have in an OCI layout. KindOf tells it by its annotations.
func Plain(a Artifact) Artifact {
	var layers []Part
	config := imgspecv1.Image{
		Platform: imgspecv1.Platform{Architecture: "unknown", OS: "unknown"},
		RootFS:   imgspecv1.RootFS{Type: "layers"},
	}
	for _, layer := range a.Layers {
		packed := layerOf(imgspecv1.MediaTypeImageLayer, layer.Descriptor.Annotations[MediaTypeAnnotation], "",
			tarOf(layer.Descriptor.Digest, layer.Content))
		layers = append(layers, packed)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, packed.Descriptor.Digest)
	}
	annotations := maps.Clone(a.image.Annotations)
	annotations[TypeAnnotation] = a.image.ArtifactType
	return assemble("", *a.image.Subject, part(imgspecv1.MediaTypeImageConfig, "", marshal(config)), layers, annotations)
}

// tarOf returns a tar with one file, whose digest is d.
func tarOf(d digest.Digest, content []byte) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	header := &tar.Header{Typeflag: tar.TypeReg, Name: pathOf(d), Mode: 0o644, Size: int64(len(content))}
	err := w.WriteHeader(header)
	if err == nil {
		_, err = w.Write(content)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		panic(err) // the buffer takes everything, and the header says how much that is
	}
	return b.Bytes()
}

// pathOf is where an OCI layout has a blob (image-spec v1.1, "OCI Image Layout Specification").
func pathOf(d digest.Digest) string {
	return fmt.Sprintf("blobs/%s/%s", d.Algorithm(), d.Encoded())
}

// untar returns the file of what tarOf made, and its digest, which it has.
func untar(b []byte) (digest.Digest, []byte, error) {
	r := tar.NewReader(bytes.NewReader(b))
	header, err := r.Next()
	if err != nil {
		return "", nil, fmt.Errorf("no tar with a file: %w", err)
	}
	algorithm, encoded, _ := strings.Cut(strings.TrimPrefix(header.Name, "blobs/"), "/")
	d := digest.Digest(algorithm + ":" + encoded)
	if header.Typeflag != tar.TypeReg || d.Validate() != nil || header.Name != pathOf(d) {
		return "", nil, fmt.Errorf("%q is no file of an OCI layout", header.Name)
	}
	if header.Size > int64(len(b)) { // it has holes, which would be filled here
		return "", nil, fmt.Errorf("%q has %d bytes, more than the tar that it is in", header.Name, header.Size)
	}
	content, err := io.ReadAll(r)
	if err != nil {
		return "", nil, err
	}
	if !manifest.HasDigest(content, d) {
		return "", nil, fmt.Errorf("%q has other content", header.Name)
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		return "", nil, errors.New("more than one file")
	}
	return d, content, nil
}
