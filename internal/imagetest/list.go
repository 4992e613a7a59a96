package imagetest

import (
	"cmp"
	"maps"
	"slices"
)

// List makes a list: an OCI index, or a Docker manifest list. Its children may be images,
// artifacts, attestations or lists; naming one twice makes two entries with the same digest.
func (f *Fixture) List(name string, options ...Option) {
	s := newSpec(toList, options)
	mediaType := map[form]string{ociForm: ociIndex, dockerForm: dockerList}[s.form]
	children := make([]string, 0, len(s.entries))
	manifests := make([]object, 0, len(s.entries))
	for _, e := range s.entries {
		children = append(children, e.name)
		manifests = append(manifests, f.entry(e))
	}
	doc := s.head(mediaType)
	doc.add("manifests", manifests)
	f.addTail(&doc, s)
	f.addDocument(name, &document{
		mediaType: mediaType,
		bytes:     s.format(doc),
		entry:     entryDefaults{artifactType: s.artifactType},
		children:  children,
	})
}

// entry is what a list says about a child.
func (f *Fixture) entry(e entry) object {
	child := f.document(e.name)
	size, mediaType := int64(len(child.bytes)), child.mediaType
	if e.spec.size != nil {
		size = *e.spec.size
	}
	if e.spec.mediaType != "" {
		mediaType = e.spec.mediaType
	}
	o := object{{"mediaType", mediaType}, {"digest", child.digest}, {"size", size}}

	annotations := maps.Clone(child.entry.annotations)
	if annotations == nil || e.spec.bare {
		annotations = map[string]string{}
	}
	maps.Copy(annotations, e.spec.annotations)
	if len(annotations) > 0 {
		o.add("annotations", annotations)
	}
	if artifactType := cmp.Or(e.spec.artifactType, child.entry.artifactType); artifactType != "" {
		o.add("artifactType", artifactType)
	}
	if p := e.spec.platformFrom(child.entry.platform); p != nil && !e.spec.noPlatform {
		o.add("platform", p)
	}
	return append(o, e.spec.unknown...)
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
