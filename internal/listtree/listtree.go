// Package listtree arranges a list and the lists nested in it as a tree.
//
// It is pure: Build works on the documents that have been read and says which nested lists it still
// wants to read; whoever does the reading calls it again. What an entry names is a list if its
// document is one, whatever the entry says; the entry is believed until its document has been read.
// Lists come from strangers, so the depth of the tree, the entries in it and the bytes of its lists
// are limited.
package listtree

import (
	"fmt"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/internal/platform"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// Limits on what a list tree may be. A nested list that is named several times counts each time.
const (
	// MaxDepth is the number of lists from the top-level one down to the deepest, both included.
	MaxDepth = 8
	// MaxEntries is the number of entries in all lists of the tree.
	MaxEntries = 100_000
	// MaxBytes is the number of bytes of all distinct lists of the tree.
	MaxBytes = 64 << 20
)

// LimitError says that a list tree is larger than this package is willing to hold.
type LimitError struct {
	What  string // "depth of nested lists", "entries in all lists" or "bytes of all lists"
	Limit int64
	List  digest.Digest // at which the limit was exceeded
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("list %s: %s exceeds the limit of %d", e.List, e.What, e.Limit)
}

// A Node is one list of the tree. The same list may stand in several places of the tree; its nodes
// are then distinct.
type Node struct {
	Digest digest.Digest
	List   manifest.List // as parsed; not to be edited
	Bytes  []byte
	// Instances are those of List. Where an entry takes a list for an image, or an image for a
	// list, the media type is the document's. Platforms are those within the entries that lead to
	// the node: the outer one selects, the inner one refines (platform.Within).
	Instances []manifest.Instance
	// Nested holds the node of each entry that names a list, by the entry's index. An entry whose
	// list has not been read is not in it.
	Nested map[int]*Node
	// HasBlobs is set if an entry names a blob and no manifest: it is what it states to be,
	// whatever documents with its digest have been read.
	HasBlobs bool
}

// A Tree is a list with everything nested in it.
type Tree struct {
	Root *Node
	// Unread are the distinct nested lists whose documents have not been read, in the order in
	// which they were met.
	Unread []digest.Digest
}

// A Builder builds a tree as its documents are read, and parses each once. It must not be used
// concurrently.
type Builder struct {
	// Read returns the document with digest d and the media type by which it is to be read (see
	// manifest.TypeOf), and false if it has not been read. It is assumed to match its digest.
	Read func(d digest.Digest) (mediaType string, document []byte, ok bool)

	known map[digest.Digest]content
	held  int64
}

// content is what a document turned out to be.
type content struct {
	mediaType string
	list      manifest.List // nil for an image
	bytes     []byte
}

// Clone returns a builder that knows what b does, reads by read, and does not change with b.
func (b *Builder) Clone(read func(d digest.Digest) (mediaType string, document []byte, ok bool)) *Builder {
	return &Builder{Read: read, known: maps.Clone(b.known), held: b.held}
}

// content returns what the document with digest d is, and false if it has not been read. The error
// is the one of manifest.Parse, or a *LimitError.
func (b *Builder) content(d digest.Digest) (content, bool, error) {
	if c, ok := b.known[d]; ok {
		return c, true, nil
	}
	mediaType, document, ok := b.Read(d)
	if !ok {
		return content{}, false, nil
	}
	c := content{mediaType: mediaType, bytes: document}
	if manifest.IsListMediaType(mediaType) {
		if b.held += int64(len(document)); b.held > MaxBytes {
			return content{}, false, &LimitError{What: "bytes of all lists", Limit: MaxBytes, List: d}
		}
		var err error
		if c.list, err = manifest.Parse(document, mediaType); err != nil {
			return content{}, false, fmt.Errorf("list %s: %w", d, err)
		}
	}
	if b.known == nil {
		b.known = map[digest.Digest]content{}
	}
	b.known[d] = c
	return c, true, nil
}

// Build arranges what has been read below the list with digest top, which must be among that. The
// error is a *LimitError, or one of manifest.Parse.
func (b *Builder) Build(top digest.Digest) (*Tree, error) {
	c, ok, err := b.content(top)
	switch {
	case err != nil:
		return nil, err
	case !ok || c.list == nil:
		return nil, fmt.Errorf("%s is no list that was read", top)
	}
	t := &Tree{}
	entries := 0
	unread := map[digest.Digest]bool{}
	within := platforms{}
	var build func(d digest.Digest, c content, outer *imgspecv1.Platform, depth int) (*Node, error)
	build = func(d digest.Digest, c content, outer *imgspecv1.Platform, depth int) (*Node, error) {
		if depth > MaxDepth {
			return nil, &LimitError{What: "depth of nested lists", Limit: MaxDepth, List: d}
		}
		n := &Node{Digest: d, List: c.list, Bytes: c.bytes, Instances: c.list.Instances()}
		entries += len(n.Instances)
		if entries > MaxEntries {
			return nil, &LimitError{What: "entries in all lists", Limit: MaxEntries, List: d}
		}
		for i, instance := range n.Instances {
			n.Instances[i].Platform = within.of(outer, instance.Platform)
			if instance.IsBlob() {
				n.HasBlobs = true
				continue
			}
			child, read, err := b.content(instance.Digest)
			switch {
			case err != nil:
				return nil, err
			case read && child.list == nil && instance.IsList():
				n.Instances[i].MediaType = child.mediaType
			case !read && instance.IsList() && !unread[instance.Digest]:
				unread[instance.Digest] = true
				t.Unread = append(t.Unread, instance.Digest)
			case read && child.list != nil:
				if !instance.IsList() {
					n.Instances[i].MediaType = child.mediaType
				}
				if n.Nested == nil {
					n.Nested = map[int]*Node{}
				}
				if n.Nested[i], err = build(instance.Digest, child, n.Instances[i].Platform, depth+1); err != nil {
					return nil, err
				}
			}
		}
		return n, nil
	}
	t.Root, err = build(top, c, nil, 1)
	if err != nil {
		return nil, err
	}
	return t, nil
}

// platforms are those of the entries of nested lists, by the outer and the inner one: entries that
// share both share the result, so that whoever looks at platforms looks at each once.
type platforms map[[2]*imgspecv1.Platform]*imgspecv1.Platform

func (ps platforms) of(outer, inner *imgspecv1.Platform) *imgspecv1.Platform {
	if outer == nil {
		return inner
	}
	pair := [2]*imgspecv1.Platform{outer, inner}
	p, ok := ps[pair]
	if !ok {
		p = platform.Within(outer, inner)
		ps[pair] = p
	}
	return p
}

// Walk calls f for each node of the tree, parents before children, siblings in the order of their
// entries.
func (n *Node) Walk(f func(*Node)) {
	f(n)
	for _, i := range n.nestedIndexes() {
		n.Nested[i].Walk(f)
	}
}

func (n *Node) nestedIndexes() []int {
	indexes := make([]int, 0, len(n.Nested))
	for i := range n.Nested {
		indexes = append(indexes, i)
	}
	slices.Sort(indexes)
	return indexes
}
