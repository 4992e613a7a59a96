package plan

import (
	"maps"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/internal/listtree"
	"github.com/sparsecopy/sparsecopy/internal/platform"
	"github.com/sparsecopy/sparsecopy/internal/relation"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// A Tree holds the documents of a source as parsed: a list with everything nested in it, or a
// single image, and what else was read. Plans that are made of one Tree parse nothing again. A Tree
// does not change, and is safe for concurrent use.
type Tree struct {
	top       digest.Digest
	documents map[digest.Digest]parsedDocument
	warnings  []string // of what documents are claimed to be
	// Of lists only; nil if the source is a single image.
	lists *listtree.Builder
	list  *listtree.Tree
	ties  map[*listtree.Node][]relation.Tie // of the entries of each list of the tree
}

// A parsedDocument is a document, and what it says if it is no list: image is nil for Docker schema
// 1, whose blobs nobody here needs to know, and where err says why it cannot be parsed.
type parsedDocument struct {
	Document
	image *manifest.Image
	err   error
	// list returns the list that it is, which is parsed when somebody first asks; nil for what is
	// none. Those of the tree of lists are in that.
	list func() (manifest.List, error)
}

// isList is IsList without another look at the document: its MediaType is what it is.
func (d parsedDocument) isList() bool { return manifest.IsListMediaType(d.MediaType) }

// ParseTree parses what a source names, top with the digest d, and other documents, by digest. That
// they match their digests is assumed. More come with With.
//
// The error is a *manifest.ParseError or a *LimitError about the top-level list, or about one that
// is nested in it. What is wrong with the manifest of an image is an error of plans that need it.
func ParseTree(top Document, d digest.Digest, documents map[digest.Digest]Document) (*Tree, error) {
	t := &Tree{top: d, documents: map[digest.Digest]parsedDocument{d: parse(top)}}
	if t.documents[d].isList() {
		t.lists = &listtree.Builder{}
	}
	return t.with(documents, slices.Collect(maps.Keys(documents)))
}

// With returns the tree with more documents. Those that t has are not parsed again. Errors are
// those of ParseTree.
func (t *Tree) With(documents map[digest.Digest]Document) (*Tree, error) {
	var more []digest.Digest
	for d := range documents {
		if _, ok := t.documents[d]; !ok {
			more = append(more, d)
		}
	}
	if len(more) == 0 {
		return t, nil
	}
	return t.with(documents, more)
}

// with returns the tree with those of documents that more names.
func (t *Tree) with(documents map[digest.Digest]Document, more []digest.Digest) (*Tree, error) {
	out := &Tree{top: t.top, documents: maps.Clone(t.documents)}
	for _, d := range more {
		if _, ok := out.documents[d]; !ok {
			out.documents[d] = parse(documents[d])
		}
	}
	if t.lists != nil {
		out.lists = t.lists.Clone(func(d digest.Digest) (string, []byte, bool) {
			doc, ok := out.documents[d]
			return doc.MediaType, doc.Bytes, ok
		})
		var err error
		if out.list, err = out.lists.Build(t.top); err != nil {
			return nil, err
		}
		out.ties = tiesOf(out.list.Root, out.documents)
	}
	out.warnings = out.wrongClaims()
	return out, nil
}

// Unread returns the distinct nested lists that the tree names and has no documents of, in the
// order in which they are met.
func (t *Tree) Unread() []digest.Digest {
	if t.list == nil {
		return nil
	}
	return t.list.Unread
}

// ToRead returns the distinct digests of what the tree names, has no documents of, and has to have
// before a plan by these choices can be made: nested lists, and manifests that say what an entry is
// to others where the list does not, if the choices depend on that. They are in the order in which
// they are met, lists first. What the source does not have may be left out.
func (t *Tree) ToRead(o *Choices) []digest.Digest {
	unread := slices.Clone(t.Unread())
	if t.list == nil || !o.dependOnRelations() {
		return unread
	}
	seen := map[digest.Digest]bool{}
	t.list.Root.Walk(func(n *listtree.Node) {
		for _, instance := range n.Instances {
			_, read := t.documents[instance.Digest]
			if !read && !seen[instance.Digest] && relation.Unclear(instance) {
				seen[instance.Digest] = true
				unread = append(unread, instance.Digest)
			}
		}
	})
	return unread
}

// List returns the top-level list, which is not to be edited; nil if the source is a single image.
func (t *Tree) List() manifest.List {
	if t.list == nil {
		return nil
	}
	return t.list.Root.List
}

// HasBlobs reports whether the source is a list that names blobs in the place of manifests, as
// BuildKit's caches do. Such a list is copied as a whole, whatever is selected.
func (t *Tree) HasBlobs() bool { return t.list != nil && t.list.Root.HasBlobs }

// Document returns the document with the digest d, and whether the tree has it. Its MediaType is
// what it is, whatever it was declared to be.
func (t *Tree) Document(d digest.Digest) (Document, bool) {
	doc, ok := t.documents[d]
	return doc.Document, ok
}

// Image returns the manifest with the digest d as parsed, which is not to be modified. It is nil
// for Docker schema 1, and for what the tree does not have. The error is a *manifest.ParseError,
// also for what is a list.
func (t *Tree) Image(d digest.Digest) (*manifest.Image, error) {
	doc, ok := t.documents[d]
	if ok && doc.isList() {
		_, doc.err = manifest.ParseImage(doc.Bytes, doc.MediaType)
	}
	return doc.image, doc.err
}

// Images returns the entries of all lists of the tree that name images one could run, in the order
// of the documents: nothing that describes or accelerates another entry, nor what is in it. A
// nested list that was not read stands for what it may name, if its entry is for a platform. There
// are none if the source is a single image.
func (t *Tree) Images() []manifest.Instance {
	if t.list == nil {
		return nil
	}
	return t.images(t.list.Root, nil)
}

func (t *Tree) images(n *listtree.Node, images []manifest.Instance) []manifest.Instance {
	for i, instance := range n.Instances {
		nested := n.Nested[i]
		switch {
		case t.ties[n][i].Relation.Follows() || instance.IsBlob():
		case nested != nil:
			images = t.images(nested, images)
		case !instance.IsList() || saysPlatform(instance):
			images = append(images, instance)
		}
	}
	return images
}

// find returns the first entry with the digest d that names no list which was read, by its list and
// position; nil if there is none.
func (t *Tree) find(d digest.Digest) (in *listtree.Node, i int) {
	t.list.Root.Walk(func(n *listtree.Node) {
		for k, instance := range n.Instances {
			if in == nil && instance.Digest == d && n.Nested[k] == nil && !instance.IsBlob() {
				in, i = n, k
			}
		}
	})
	return in, i
}

// isArtifact reports whether d is known to be no image, nor a list.
func (t *Tree) isArtifact(d digest.Digest) bool {
	image := t.documents[d].image
	return image != nil && image.IsArtifact()
}

// entersArtifact reports whether an entry is known to be an artifact's: by its manifest, or, until
// that was read, because it has no platform and states a type which is not that of an image.
func (t *Tree) entersArtifact(instance manifest.Instance) bool {
	if _, read := t.documents[instance.Digest]; read {
		return t.isArtifact(instance.Digest)
	}
	return instance.ArtifactType != "" && !manifest.IsImageConfig(instance.ArtifactType) && platform.Absent(instance.Platform) && !instance.IsList()
}

func parse(doc Document) parsedDocument {
	out := parsedDocument{Document: doc.Read()}
	switch mt := out.MediaType; {
	case out.isList():
		out.list = sync.OnceValues(func() (manifest.List, error) { return manifest.Parse(out.Bytes, mt) })
	case mt == manifest.MediaTypeDockerSchema1, mt == manifest.MediaTypeDockerSchema1Signed:
	default:
		out.image, out.err = manifest.ParseImage(out.Bytes, mt)
	}
	return out
}

// Lists returns the distinct digests of the lists of the tree, sorted.
func (t *Tree) Lists() []digest.Digest {
	if t.list == nil {
		return nil
	}
	lists := map[digest.Digest]bool{}
	t.list.Root.Walk(func(n *listtree.Node) { lists[n.Digest] = true })
	return slices.Sorted(maps.Keys(lists))
}

// root returns the top-level list of the input, with all nested ones that are not missing below it.
func root(in *Input) (*listtree.Node, error) {
	if err := in.Parse(); err != nil {
		return nil, err
	}
	unread := slices.DeleteFunc(slices.Clone(in.Tree.Unread()), func(d digest.Digest) bool { return in.Missing[d] })
	if len(unread) > 0 {
		return nil, &UnreadError{unread}
	}
	return in.Tree.list.Root, nil
}
