package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
)

// written makes an example of what a real tool wrote: a tag of a layout in testdata/lists/tools.
func written(layout, tag string) func() example {
	return func() example {
		e, err := readLayout(filepath.Join(root, "testdata", "lists", "tools", layout), tag)
		if err != nil {
			panic(err)
		}
		return e
	}
}

// A reader makes an example of a layout.
type reader struct {
	dir   string
	names map[digest.Digest]string
	example
}

// readLayout reads what a tag of a layout leads to.
func readLayout(dir, tag string) (example, error) {
	r := reader{dir, map[digest.Digest]string{}, example{Fixture: imagetest.New()}}
	var index imgspecv1.Index
	if err := r.decode("index.json", &index); err != nil {
		return example{}, err
	}
	for _, desc := range index.Manifests {
		if desc.Annotations[imgspecv1.AnnotationRefName] == tag {
			return r.example, r.add(imagetest.Top, desc)
		}
	}
	return example{}, fmt.Errorf("%s has no tag %s", dir, tag)
}

// add adds a manifest or list, after all that it names.
func (r reader) add(name string, desc imgspecv1.Descriptor) error {
	b, err := os.ReadFile(r.path(desc.Digest))
	if err != nil {
		return err
	}
	var doc struct {
		Manifests []imgspecv1.Descriptor
		Config    *imgspecv1.Descriptor
		Layers    []imgspecv1.Descriptor
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		return err
	}
	for _, entry := range doc.Manifests {
		r.names[entry.Digest] = nameOf(entry)
	}
	var parts []string
	for _, entry := range doc.Manifests {
		if of, ok := r.names[digest.Digest(entry.Annotations["vnd.docker.reference.digest"])]; ok {
			r.names[entry.Digest] = "att-" + of
		}
		parts = append(parts, r.names[entry.Digest])
		add := r.add
		if !isManifest(entry.MediaType) {
			add = r.addBlob
		}
		if err := add(r.names[entry.Digest], entry); err != nil {
			return err
		}
	}
	if doc.Config != nil {
		doc.Layers = append(doc.Layers, *doc.Config)
	}
	for i, blob := range doc.Layers {
		part := r.Name(blob.Digest)
		if part == blob.Digest.String() {
			part = fmt.Sprintf("%s.%d", name, i)
			if err := r.addBlob(part, blob); err != nil {
				return err
			}
		}
		parts = append(parts, part)
	}
	r.Raw(name, desc.MediaType, b, parts...)
	return nil
}

func (r reader) addBlob(name string, desc imgspecv1.Descriptor) error {
	content, err := os.ReadFile(r.path(desc.Digest))
	if err == nil {
		r.Blob(name, desc.MediaType, content)
	}
	return err
}

func isManifest(mediaType string) bool {
	return strings.Contains(mediaType, ".manifest.") || strings.Contains(mediaType, ".index.")
}

// nameOf is what an entry is called, by its platform and by what it is.
func nameOf(entry imgspecv1.Descriptor) string {
	name := entry.Digest.Encoded()[:8]
	if p := entry.Platform; p != nil && p.OS != "unknown" {
		name = strings.TrimSuffix(p.Architecture+"/"+p.Variant, "/")
	}
	if entry.ArtifactType == sociIndexType {
		return "soci-" + name
	}
	return name
}

func (r reader) path(d digest.Digest) string {
	return filepath.Join(r.dir, imgspecv1.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}

func (r reader) decode(file string, v any) error {
	b, err := os.ReadFile(filepath.Join(r.dir, file))
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}
