package storagetorture

import (
	"encoding/json"
	"slices"
	"strconv"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// A document is a manifest that was made up.
type document struct {
	digest    digest.Digest
	mediaType string
	body      []byte
	names     []digest.Digest // what it needs: children, or config and layers
	blobs     []digest.Digest // of these, the blobs
	subject   digest.Digest   // "" for none
	list      bool
}

// descriptor names a document.
func (d document) descriptor() imgspecv1.Descriptor {
	return imgspecv1.Descriptor{MediaType: d.mediaType, Digest: d.digest, Size: int64(len(d.body))}
}

func describe(mediaType string, content []byte) imgspecv1.Descriptor {
	return imgspecv1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(content), Size: int64(len(content))}
}

// image makes an image of a config and layers, with a subject unless that is nil. No two numbers
// give the same image.
func image(number int, docker bool, subject *imgspecv1.Descriptor, config []byte, layers ...[]byte) document {
	types := []string{imgspecv1.MediaTypeImageManifest, imgspecv1.MediaTypeImageConfig, imgspecv1.MediaTypeImageLayerGzip}
	if docker && subject == nil {
		types = []string{manifest.MediaTypeDockerManifest, manifest.MediaTypeDockerConfig, "application/vnd.docker.image.rootfs.diff.tar.gzip"}
	}
	m := imgspecv1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: types[0], Config: describe(types[1], config),
		Layers: []imgspecv1.Descriptor{}, Subject: subject, Annotations: map[string]string{"number": strconv.Itoa(number)},
	}
	d := document{mediaType: types[0], names: []digest.Digest{m.Config.Digest}}
	for _, layer := range layers {
		m.Layers = append(m.Layers, describe(types[2], layer))
		d.names = append(d.names, digest.FromBytes(layer))
	}
	d.blobs = d.names
	return d.finish(m, subject)
}

// list makes a list of children, of which any may be absent.
func list(number int, docker bool, subject *imgspecv1.Descriptor, children ...document) document {
	mediaType := imgspecv1.MediaTypeImageIndex
	if docker && subject == nil {
		mediaType = manifest.MediaTypeDockerList
	}
	x := imgspecv1.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: mediaType, Manifests: []imgspecv1.Descriptor{}, Subject: subject,
		Annotations: map[string]string{"number": strconv.Itoa(number)},
	}
	d := document{mediaType: mediaType, list: true}
	for i, child := range children {
		entry := child.descriptor()
		entry.Platform = &imgspecv1.Platform{OS: "linux", Architecture: []string{"amd64", "arm64", "s390x"}[i%3]}
		x.Manifests = append(x.Manifests, entry)
		d.names = append(d.names, child.digest)
	}
	return d.finish(x, subject)
}

// finish completes a document with its bytes.
func (d document) finish(document any, subject *imgspecv1.Descriptor) document {
	body, err := json.Marshal(document)
	if err != nil {
		panic(err) // for these types it cannot fail
	}
	d.body, d.digest = body, digest.FromBytes(body)
	if subject != nil {
		d.subject = subject.Digest
	}
	return d
}

// readDocument reads a manifest that somebody else has made.
func readDocument(body []byte) (document, error) {
	var m struct {
		MediaType string                 `json:"mediaType"`
		Config    *imgspecv1.Descriptor  `json:"config"`
		Layers    []imgspecv1.Descriptor `json:"layers"`
		Manifests []imgspecv1.Descriptor `json:"manifests"`
		Subject   *imgspecv1.Descriptor  `json:"subject"`
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return document{}, err
	}
	d := document{digest: digest.FromBytes(body), mediaType: m.MediaType, body: body, list: m.Config == nil}
	if m.Config != nil {
		d.blobs = append(d.blobs, m.Config.Digest)
	}
	for _, layer := range m.Layers {
		d.blobs = append(d.blobs, layer.Digest)
	}
	d.names = slices.Clone(d.blobs)
	for _, child := range m.Manifests {
		d.names = append(d.names, child.Digest)
	}
	if m.Subject != nil {
		d.subject = m.Subject.Digest
	}
	return d, nil
}
