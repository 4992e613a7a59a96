package manifest

import (
	"iter"
	"slices"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// An Image is the manifest of a single image, in OCI's format (image-spec v1.1, "OCI Image Manifest
// Specification") or in Docker's (distribution's "Image Manifest Version 2, Schema 2").
type Image struct {
	MediaType    string            // of an image manifest, OCI's or Docker's; never ""
	ArtifactType string            // "" if the document states none
	Subject      digest.Digest     // valid; "" if there is none
	Config       Descriptor        // always there
	Layers       []Descriptor      // in the order of the document, repeated ones included
	Annotations  map[string]string // nil if there are none
	Remarks      []Remark          // on what was let through, a few of each kind
}

// Blobs returns the distinct blobs of the image: the config, and the layers in their order.
func (m *Image) Blobs() iter.Seq[Descriptor] {
	return func(yield func(Descriptor) bool) {
		if !yield(m.Config) {
			return
		}
		seen := map[digest.Digest]bool{m.Config.Digest: true}
		for _, layer := range m.Layers {
			if !seen[layer.Digest] {
				seen[layer.Digest] = true
				if !yield(layer) {
					return
				}
			}
		}
	}
}

// IsImageConfig reports whether mt, without parameters, is the media type of an image's config.
func IsImageConfig(mt string) bool {
	return mt == imgspecv1.MediaTypeImageConfig || mt == MediaTypeDockerConfig
}

// mistakenConfigs is what registries and clients declared the configs of images in Docker's format
// to be by mistake, which Docker takes for images to this day.
var mistakenConfigs = []string{"", "application/octet-stream", "application/json", "text/html"}

// KindArtifact is what people call what is no image.
const KindArtifact = "artifact"

// IsArtifact reports whether the manifest is no image's: its config says that it is one of
// something else, such as a chart, or is empty. An artifact type proves nothing:
// go-containerregistry states the type of the config there for images, too.
func (m *Image) IsArtifact() bool {
	config := m.Config.MediaType
	mistaken := m.MediaType == MediaTypeDockerManifest && slices.Contains(mistakenConfigs, config)
	return !mistaken && !IsImageConfig(config)
}

// ParseImage reads the manifest of a single image. mediaType is as for Parse, and so is what is
// refused and what is remarked on; here, manifests, fsLayers, history and signatures are contents
// of other formats, and config is required. Without layers, or with null for them, there are none;
// their absence is remarked on.
// The error for a Docker schema 1 manifest wraps ErrSchema1.
func ParseImage(b []byte, mediaType string) (*Image, error) {
	s, err := newScanner(b)
	if err != nil {
		return nil, err
	}
	var m Image
	var h header
	f := format{
		name:     "an image manifest",
		oci:      imgspecv1.MediaTypeImageManifest,
		docker:   MediaTypeDockerManifest,
		required: []string{"config"},
		contents: map[string]func() error{
			"config": func() (err error) {
				m.Config, err = readDescriptor(s)
				return err
			},
			"layers": func() (err error) {
				m.Layers, err = readDescriptors(s)
				return err
			},
		},
	}
	err = s.document(func() (err error) {
		h, err = readHeader(s, f, mediaType)
		return err
	})
	if err != nil {
		return nil, err
	}
	m.MediaType, m.ArtifactType, m.Subject, m.Annotations = h.mediaType, h.artifactType, h.subject, h.annotations
	m.Remarks = h.remarks
	return &m, nil
}

// readDescriptors reads an array of descriptors, or null.
func readDescriptors(s *scanner) ([]Descriptor, error) {
	if s.null() {
		return nil, nil
	}
	var list []Descriptor
	err := s.array(func(int) error {
		d, err := readDescriptor(s)
		list = append(list, d)
		return err
	})
	return list, err
}
