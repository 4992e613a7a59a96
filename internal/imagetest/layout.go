package imagetest

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
)

// refName is the annotation that names a descriptor in the index of a layout: OCI image
// specification v1.1, annotations.md.
const refName = "org.opencontainers.image.ref.name"

// layoutIndex is the index.json of an OCI layout, as far as this package reads it.
type layoutIndex struct {
	SchemaVersion int                `json:"schemaVersion"`
	MediaType     string             `json:"mediaType,omitempty"`
	Manifests     []layoutDescriptor `json:"manifests"`
}

type layoutDescriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      digest.Digest     `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// WriteLayout writes the named document and everything below it, except what omit names and what
// only that names, into the OCI layout at dir, and makes tag name it. The layout is created if need
// be; other tags of one that exists stay. With an empty tag, the descriptor has no name. The
// document itself cannot be omitted.
func (f *Fixture) WriteLayout(dir, tag, name string, omit ...string) error {
	p := f.tree(name, omit)
	if len(p.documents) == 0 {
		fail("%q is itself omitted", name)
	}
	for _, b := range p.blobs {
		if err := writeLayoutBlob(dir, f.Digest(b), f.blob(b).write); err != nil {
			return err
		}
	}
	for _, name := range p.documents {
		doc := f.document(name)
		if err := writeLayoutBytes(dir, doc.digest, doc.bytes); err != nil {
			return err
		}
	}
	version := []byte(`{"imageLayoutVersion":"1.0.0"}`)
	if err := os.WriteFile(filepath.Join(dir, "oci-layout"), version, 0o644); err != nil {
		return err
	}
	return f.tagLayout(dir, tag, f.document(name))
}

func (f *Fixture) tagLayout(dir, tag string, doc *document) error {
	index, err := readLayoutIndex(dir)
	if errors.Is(err, fs.ErrNotExist) {
		index = layoutIndex{SchemaVersion: 2, MediaType: ociIndex}
	} else if err != nil {
		return err
	}
	index.Manifests = slices.DeleteFunc(index.Manifests, func(d layoutDescriptor) bool { return d.Annotations[refName] == tag })
	added := layoutDescriptor{MediaType: doc.mediaType, Digest: doc.digest, Size: int64(len(doc.bytes))}
	if tag != "" {
		added.Annotations = map[string]string{refName: tag}
	}
	index.Manifests = append(index.Manifests, added)
	return os.WriteFile(filepath.Join(dir, "index.json"), encode(index), 0o644)
}

func readLayoutIndex(dir string) (layoutIndex, error) {
	data, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		return layoutIndex{}, err
	}
	var index layoutIndex
	return index, json.Unmarshal(data, &index)
}

func layoutPath(dir string, d digest.Digest) string {
	return filepath.Join(dir, "blobs", d.Algorithm().String(), d.Encoded())
}

func writeLayoutBlob(dir string, d digest.Digest, write func(io.Writer) error) (err error) {
	path := layoutPath(dir, d)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return write(file)
}

func writeLayoutBytes(dir string, d digest.Digest, b []byte) error {
	return writeLayoutBlob(dir, d, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
}
