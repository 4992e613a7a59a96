package imagetest

import (
	"bytes"
	"fmt"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// A Fixture is a set of named blobs and documents. See the package comment.
type Fixture struct {
	blobs     map[string]*blob
	documents map[string]*document
	names     map[digest.Digest]string // the first name that each digest was given
}

// A blob is a layer or a config.
type blob struct {
	digest      digest.Digest
	size        int64
	diffID      digest.Digest     // of the content before compression; of the blob itself if it is no layer
	mediaType   func(form) string // depends on the form of the manifest that names it
	annotations map[string]string // of descriptors that name it
	urls        []string          // of descriptors that name it
	write       func(io.Writer) error
	content     *registrytest.Content // for registries to read from, if the blob takes no memory; otherwise nil
}

// A document is a manifest or a list.
type document struct {
	digest    digest.Digest
	mediaType string
	bytes     []byte
	entry     entryDefaults
	blobs     []string // names: the config, then the layers; of a list, entries that are blobs
	children  []string // names: the other entries, in their order
}

// entryDefaults are the parts of an entry that a list takes from the document that the entry names.
type entryDefaults struct {
	platform     *platform
	annotations  map[string]string
	artifactType string
}

// New returns an empty fixture.
func New() *Fixture {
	return &Fixture{
		blobs:     map[string]*blob{},
		documents: map[string]*document{},
		names:     map[digest.Digest]string{},
	}
}

// Digest returns the digest of the blob or document with the given name.
func (f *Fixture) Digest(name string) digest.Digest {
	d, ok := f.lookup(name)
	if !ok {
		fail("nothing is called %q", name)
	}
	return d
}

// Digests returns the digests of the blobs and documents with the given names, in their order.
func (f *Fixture) Digests(names ...string) []digest.Digest {
	digests := make([]digest.Digest, len(names))
	for i, name := range names {
		digests[i] = f.Digest(name)
	}
	return digests
}

// Name returns the first name that the blob or document with digest d was given, or d itself if it
// has none. A nil Fixture knows no names.
func (f *Fixture) Name(d digest.Digest) string {
	if f != nil {
		if name, ok := f.names[d]; ok {
			return name
		}
	}
	return d.String()
}

// Document returns the bytes of a manifest or list, and its media type. The bytes must not be
// modified.
func (f *Fixture) Document(name string) ([]byte, string) {
	doc := f.document(name)
	return doc.bytes, doc.mediaType
}

// Manifests returns the digests of the named document and of all documents below it, each once,
// parents before children.
func (f *Fixture) Manifests(name string) []digest.Digest {
	return f.Digests(f.tree(name, nil).documents...)
}

// Blobs returns the digests of the configs and layers of the named image, or of all images below
// the named list, each once: per image the config first, then the layers in their order.
func (f *Fixture) Blobs(name string) []digest.Digest {
	return f.Digests(f.tree(name, nil).blobs...)
}

// Content returns the bytes of a blob. Random and seeded content is made anew by every call.
func (f *Fixture) Content(name string) []byte {
	b := f.blob(name)
	buf := bytes.NewBuffer(make([]byte, 0, b.size))
	if err := b.write(buf); err != nil {
		fail("blob %q: %v", name, err)
	}
	return buf.Bytes()
}

// Size returns the number of bytes of a blob or document.
func (f *Fixture) Size(name string) int64 {
	if b, ok := f.blobs[name]; ok {
		return b.size
	}
	return int64(len(f.document(name).bytes))
}

// parts are the names of everything below a document, each digest once.
type parts struct {
	documents []string // parents before children, beginning with the document itself
	blobs     []string
}

// tree collects the parts of the named document. What is in omit is left out, and with it whatever
// only it names.
func (f *Fixture) tree(name string, omit []string) parts {
	omitted := map[digest.Digest]bool{}
	for _, o := range omit {
		omitted[f.Digest(o)] = true
	}
	var p parts
	seen := map[digest.Digest]bool{}
	fresh := func(name string) bool {
		d := f.Digest(name)
		if seen[d] || omitted[d] {
			return false
		}
		seen[d] = true
		return true
	}
	var visit func(name string)
	visit = func(name string) {
		if !fresh(name) {
			return
		}
		p.documents = append(p.documents, name)
		doc := f.document(name)
		for _, b := range doc.blobs {
			if fresh(b) {
				p.blobs = append(p.blobs, b)
			}
		}
		for _, child := range doc.children {
			visit(child)
		}
	}
	visit(name)
	return p
}

func (f *Fixture) lookup(name string) (digest.Digest, bool) {
	if b, ok := f.blobs[name]; ok {
		return b.digest, true
	}
	if doc, ok := f.documents[name]; ok {
		return doc.digest, true
	}
	return "", false
}

func (f *Fixture) blob(name string) *blob {
	b, ok := f.blobs[name]
	if !ok {
		fail("no blob is called %q", name)
	}
	return b
}

func (f *Fixture) document(name string) *document {
	doc, ok := f.documents[name]
	if !ok {
		fail("no image or list is called %q", name)
	}
	return doc
}

func (f *Fixture) addBlob(name string, b *blob) {
	f.claim(name, b.digest)
	f.blobs[name] = b
}

func (f *Fixture) addDocument(name string, doc *document) {
	doc.digest = digest.FromBytes(doc.bytes)
	doc.blobs = slices.Clone(doc.blobs)
	doc.children = slices.Clone(doc.children)
	f.claim(name, doc.digest)
	f.documents[name] = doc
}

// claim makes sure that name is free, and remembers it for d.
func (f *Fixture) claim(name string, d digest.Digest) {
	if _, taken := f.lookup(name); taken || name == "" {
		fail("the name %q is taken or empty", name)
	}
	if _, ok := f.names[d]; !ok {
		f.names[d] = name
	}
}

// fail ends a test that misuses the package.
func fail(format string, args ...any) {
	panic("imagetest: " + fmt.Sprintf(format, args...))
}
