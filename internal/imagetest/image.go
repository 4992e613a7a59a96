package imagetest

import "github.com/opencontainers/go-digest"

// Media types of documents and configs: OCI image specification v1.1, media-types.md; Docker image
// manifest version 2, schema 2.
const (
	ociManifest    = "application/vnd.oci.image.manifest.v1+json"
	ociIndex       = "application/vnd.oci.image.index.v1+json"
	ociConfig      = "application/vnd.oci.image.config.v1+json"
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerConfig   = "application/vnd.docker.container.image.v1+json"

	sociIndex  = "application/vnd.amazon.soci.index.v2+json"
	nydusImage = "application/vnd.nydus.image.manifest.v1+json"
	helmConfig = "application/vnd.cncf.helm.config.v1+json"
	helmChart  = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
	inToto     = "application/vnd.in-toto+json"

	cacheConfig = "application/vnd.buildkit.cacheconfig.v0"
)

// Image makes an image. Its config is called like the image with ".config" appended.
func (f *Fixture) Image(name string, options ...Option) {
	s := newSpec(toImage, options)
	if s.layers == nil {
		f.Layer(name + ".layer")
		s.layers = []string{name + ".layer"}
	}
	if s.config == nil {
		s.config = f.imageConfig(s)
	}
	f.addImage(name, s, entryDefaults{})
}

// Artifact makes a Helm chart, or another artifact if options give it a config, an artifact type or
// layers. Entries that name it have no platform. Its config is called like the artifact with
// ".config" appended.
func (f *Fixture) Artifact(name string, options ...Option) {
	s := newSpec(toImage, append([]Option{NoPlatform()}, options...))
	if s.layers == nil {
		f.Blob(name+".layer", helmChart, []byte("This is chart "+name+".\n"))
		s.layers = []string{name + ".layer"}
	}
	if s.config == nil {
		config := encode(object{{"name", name}, {"version", "0.1.0"}, {"apiVersion", "v2"}})
		s.config = &rawConfig{helmConfig, config}
	}
	f.addImage(name, s, entryDefaults{})
}

// Attestation makes an attestation of the image called subject in BuildKit's form: a manifest with
// one in-toto statement, called like the attestation with ".statement" appended. Entries that name
// it have the platform unknown/unknown and the annotations by which tools find its subject.
func (f *Fixture) Attestation(name, subject string, options ...Option) {
	s := newSpec(toImage, append([]Option{Platform("unknown/unknown")}, options...))
	const predicate = "https://slsa.dev/provenance/v0.2"
	if s.layers == nil {
		f.addRawBlob(name+".statement", inToto, f.statement(subject, predicate),
			map[string]string{"in-toto.io/predicate-type": predicate})
		s.layers = []string{name + ".statement"}
	}
	if s.config == nil {
		s.config = f.imageConfig(s)
	}
	f.addImage(name, s, entryDefaults{annotations: map[string]string{
		"vnd.docker.reference.type":   "attestation-manifest",
		"vnd.docker.reference.digest": f.Digest(subject).String(),
	}})
}

// SOCIIndex makes a SOCI index, version 2, of the image called image, as soci convert does: a
// manifest with one table of contents, called like the index with ".ztoc" appended. Entries that
// name it have the platform of the image, the artifact type, and an annotation that names the
// image; that the image's entry names the index is up to the list (SOCI).
func (f *Fixture) SOCIIndex(name, image string) {
	f.addRawBlob(name+".ztoc", "application/octet-stream", []byte("This is the table of "+image+".\n"),
		map[string]string{"com.amazon.soci.image-layer-digest": f.Digest(f.document(image).blobs[1]).String()})
	s := newSpec(toImage, []Option{Layers(name + ".ztoc"), Config(sociIndex, []byte("{}"))})
	f.addImage(name, s, entryDefaults{annotations: map[string]string{
		"com.amazon.soci.image-manifest-digest": f.Digest(image).String(),
	}})
	entry := &f.documents[name].entry
	entry.platform, entry.artifactType = f.document(image).entry.platform, sociIndex
}

// statement is an in-toto statement about the named document.
func (f *Fixture) statement(subject, predicate string) []byte {
	return encode(object{
		{"_type", "https://in-toto.io/Statement/v0.1"},
		{"predicateType", predicate},
		{"subject", []object{{
			{"name", "pkg:docker/" + subject},
			{"digest", object{{"sha256", f.Digest(subject).Encoded()}}},
		}}},
		{"predicate", object{}},
	})
}

// imageConfig is the config that goes with the layers and the platform of s.
func (f *Fixture) imageConfig(s spec) *rawConfig {
	var config object
	if s.created != "" {
		config.add("created", s.created)
	}
	if p := s.platformFrom(nil); p != nil {
		config.add("architecture", p.Architecture)
		config.add("os", p.OS)
		if p.OSVersion != "" {
			config.add("os.version", p.OSVersion)
		}
		if len(p.OSFeatures) > 0 {
			config.add("os.features", p.OSFeatures)
		}
		if p.Variant != "" {
			config.add("variant", p.Variant)
		}
	}
	config.add("config", object{})
	diffIDs := make([]digest.Digest, 0, len(s.layers))
	for _, layer := range s.layers {
		diffIDs = append(diffIDs, f.blob(layer).diffID)
	}
	config.add("rootfs", object{{"type", "layers"}, {"diff_ids", diffIDs}})
	return &rawConfig{map[form]string{ociForm: ociConfig, dockerForm: dockerConfig}[s.form], encode(config)}
}

// addImage writes the document of an image whose config and layers are settled in s.
func (f *Fixture) addImage(name string, s spec, suggested entryDefaults) {
	f.Blob(name+".config", s.config.mediaType, s.config.content)
	layers := make([]object, 0, len(s.layers))
	for _, layer := range s.layers {
		layers = append(layers, f.blob(layer).descriptor(s.form))
	}

	mediaType := map[form]string{ociForm: ociManifest, dockerForm: dockerManifest}[s.form]
	doc := s.head(mediaType)
	doc.add("config", f.blob(name+".config").descriptor(s.form))
	doc.add("layers", layers)
	f.addTail(&doc, s)

	suggested.artifactType = s.artifactType
	if !s.noPlatform {
		suggested.platform = s.platformFrom(nil)
	}
	f.addDocument(name, &document{
		mediaType: mediaType,
		bytes:     s.format(doc),
		entry:     suggested,
		blobs:     append([]string{name + ".config"}, s.layers...),
	})
}

// descriptor names b in a manifest of the given form.
func (b *blob) descriptor(in form) object {
	d := object{{"mediaType", b.mediaType(in)}, {"digest", b.digest}, {"size", b.size}}
	if len(b.urls) > 0 {
		d.add("urls", b.urls)
	}
	if len(b.annotations) > 0 {
		d.add("annotations", b.annotations)
	}
	return d
}

// head is how every document begins.
func (s *spec) head(mediaType string) object {
	doc := object{{"schemaVersion", 2}}
	if !s.noMediaType {
		doc.add("mediaType", mediaType)
	}
	if s.artifactType != "" {
		doc.add("artifactType", s.artifactType)
	}
	return doc
}

// addTail is how every document ends.
func (f *Fixture) addTail(doc *object, s spec) {
	if s.subject != "" {
		subject := f.document(s.subject)
		doc.add("subject", object{
			{"mediaType", subject.mediaType}, {"digest", subject.digest}, {"size", len(subject.bytes)},
		})
	}
	if len(s.annotations) > 0 {
		doc.add("annotations", s.annotations)
	}
	*doc = append(*doc, s.unknown...)
}

// format returns the bytes of a document.
func (s *spec) format(doc object) []byte {
	data := indented(doc, s.indent)
	if s.reformat != nil {
		data = s.reformat(data)
	}
	return data
}
