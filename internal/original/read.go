package original

import (
	"cmp"
	"fmt"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// limits are in bytes.
type limits struct{ each, all int64 }

// A content is what a layer holds.
type content struct {
	digest    digest.Digest
	mediaType string
	bytes     []byte
}

// An opened artifact has been read, and all of it verified.
type opened struct {
	digest   digest.Digest
	image    *manifest.Image
	plain    bool
	contents []content // at least one
}

func (o *opened) fail(err error, reason string) error {
	return &Error{"artifact", o.digest, reason, err}
}

// open reads an artifact of the given role. The error is an *Error.
func open(doc manifest.Document, role Role, most limits, blob func(imgspecv1.Descriptor) ([]byte, error)) (*opened, error) {
	o := &opened{digest: cmp.Or(doc.Digest, digest.FromBytes(doc.Bytes))}
	if !manifest.HasDigest(doc.Bytes, o.digest) {
		return nil, o.fail(ErrAltered, "its manifest has another digest")
	}
	var err error
	if o.image, err = manifest.ParseImage(doc.Bytes, doc.Type()); err != nil {
		return nil, o.fail(ErrMalformed, err.Error())
	}
	stated := cmp.Or(o.image.ArtifactType, o.image.Config.MediaType)
	if KindOf(stated, o.image.Annotations) != role {
		return nil, o.fail(ErrOther, fmt.Sprintf("its type is %q", stated))
	}
	o.plain = stated == imgspecv1.MediaTypeImageConfig
	layerType := map[Role]string{RoleOriginal: DocumentType, RoleSignature: PartType}[role]
	overhead := int64(0)
	if o.plain {
		layerType, overhead = imgspecv1.MediaTypeImageLayer, tarOverhead
	}
	switch {
	case o.image.Subject == "":
		return nil, o.fail(ErrMalformed, "it has no subject")
	case len(o.image.Layers) == 0:
		return nil, o.fail(ErrMalformed, "it has no layers")
	case len(o.image.Layers) > MaxDocuments:
		return nil, o.fail(ErrTooLarge, fmt.Sprintf("it has %d layers, more than %d", len(o.image.Layers), MaxDocuments))
	}
	var all int64
	for _, layer := range o.image.Layers {
		if layer.MediaType != layerType {
			return nil, o.fail(ErrMalformed, fmt.Sprintf("layer %s is of type %q", layer.Digest, layer.MediaType))
		}
		if layer.Size > most.each+overhead {
			return nil, o.fail(ErrTooLarge, fmt.Sprintf("layer %s has %d bytes, more than %d", layer.Digest, layer.Size, most.each))
		}
		if all += max(0, layer.Size-overhead); all > most.all {
			return nil, o.fail(ErrTooLarge, fmt.Sprintf("its layers have more than %d bytes", most.all))
		}
	}
	for _, layer := range o.image.Layers {
		c, err := o.read(layer, blob)
		if err != nil {
			return nil, err
		}
		o.contents = append(o.contents, c)
	}
	return o, nil
}

// read reads what a layer holds.
func (o *opened) read(layer manifest.Descriptor, blob func(imgspecv1.Descriptor) ([]byte, error)) (content, error) {
	b, err := blob(imgspecv1.Descriptor{MediaType: layer.MediaType, Digest: layer.Digest, Size: layer.Size, Annotations: layer.Annotations})
	switch {
	case err != nil:
		return content{}, o.fail(err, "")
	case int64(len(b)) != layer.Size || !manifest.HasDigest(b, layer.Digest):
		return content{}, o.fail(ErrAltered, fmt.Sprintf("layer %s has other content", layer.Digest))
	}
	c := content{layer.Digest, layer.Annotations[MediaTypeAnnotation], b}
	if !o.plain {
		return c, nil
	}
	if c.digest, c.bytes, err = untar(b); err != nil {
		return content{}, o.fail(ErrMalformed, fmt.Sprintf("layer %s: %v", layer.Digest, err))
	}
	return c, nil
}
