package imagetest

import (
	"cmp"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
)

// List makes a list: an OCI index, or a Docker manifest list. Its children may be images,
// artifacts, attestations or lists, and blobs, as in a build cache; naming one twice makes two
// entries with the same digest.
func (f *Fixture) List(name string, options ...Option) {
	s := newSpec(toList, options)
	mediaType := map[form]string{ociForm: ociIndex, dockerForm: dockerList}[s.form]
	var children, blobs []string
	manifests := make([]object, 0, len(s.entries))
	for _, e := range s.entries {
		if b, ok := f.blobs[e.name]; ok {
			blobs = append(blobs, e.name)
			manifests = append(manifests, e.spec.entry(b.size, b.mediaType(s.form), b.digest, entryDefaults{annotations: b.annotations}, b.urls))
			continue
		}
		child := f.document(e.name)
		children = append(children, e.name)
		manifests = append(manifests, e.spec.entry(int64(len(child.bytes)), child.mediaType, child.digest, child.entry, nil))
	}
	doc := s.head(mediaType)
	doc.add("manifests", manifests)
	f.addTail(&doc, s)
	f.addDocument(name, &document{
		mediaType: mediaType,
		bytes:     s.format(doc),
		entry:     entryDefaults{artifactType: s.artifactType},
		blobs:     blobs,
		children:  children,
	})
}

// entry is what a list says about a child, or about a blob.
func (s *spec) entry(size int64, mediaType string, d digest.Digest, suggested entryDefaults, urls []string) object {
	if s.size != nil {
		size = *s.size
	}
	o := object{{"mediaType", cmp.Or(s.mediaType, mediaType)}, {"digest", d}, {"size", size}}
	if len(urls) > 0 {
		o.add("urls", urls)
	}
	annotations := maps.Clone(suggested.annotations)
	if annotations == nil || s.bare {
		annotations = map[string]string{}
	}
	maps.Copy(annotations, s.annotations)
	if len(annotations) > 0 {
		o.add("annotations", annotations)
	}
	if artifactType := cmp.Or(s.artifactType, suggested.artifactType); artifactType != "" {
		o.add("artifactType", artifactType)
	}
	if p := s.platformFrom(suggested.platform); p != nil && !s.noPlatform {
		o.add("platform", p)
	}
	return append(o, s.unknown...)
}

// Raw makes a document of arbitrary bytes, for what the other methods refuse to write. The parts
// are the names of the blobs and documents that are pushed with it.
func (f *Fixture) Raw(name, mediaType string, content []byte, parts ...string) {
	doc := &document{mediaType: mediaType, bytes: slices.Clone(content)}
	for _, part := range parts {
		if _, ok := f.blobs[part]; ok {
			doc.blobs = append(doc.blobs, part)
			continue
		}
		f.document(part) // must exist
		doc.children = append(doc.children, part)
	}
	f.addDocument(name, doc)
}
