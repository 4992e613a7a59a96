package referrers

import (
	"bytes"
	"cmp"
	"encoding/json"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// A referrer is what a manifest with a subject says of itself.
type referrer struct {
	subject    digest.Digest
	descriptor imgspecv1.Descriptor // without the digest
}

// describe reads a manifest. ok is false if it has no subject, or none that every parser reads.
// Docker's formats have none.
func describe(body []byte) (_ referrer, ok bool) {
	var r referrer
	switch is := manifest.TypeOf(body, ""); is {
	case imgspecv1.MediaTypeImageIndex:
		list, err := manifest.Parse(body, is)
		if err != nil {
			return referrer{}, false
		}
		r.subject = list.Subject()
		r.descriptor = imgspecv1.Descriptor{MediaType: is, ArtifactType: list.ArtifactType(), Annotations: list.Annotations()}
	case imgspecv1.MediaTypeImageManifest:
		image, err := manifest.ParseImage(body, is)
		if err != nil {
			return referrer{}, false
		}
		r.subject = image.Subject
		r.descriptor = imgspecv1.Descriptor{
			MediaType: is, ArtifactType: cmp.Or(image.ArtifactType, image.Config.MediaType), Annotations: image.Annotations,
		}
	}
	r.descriptor.Size = int64(len(body))
	return r, r.subject != ""
}

// encode is the entry of an index for a descriptor. Unlike json.Marshal, it leaves <, > and & as
// they are: an entry is hardly ever longer than its manifest.
func encode(d imgspecv1.Descriptor) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(d); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
