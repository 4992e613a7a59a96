// Package listtree arranges a list and the lists nested in it as a tree.
//
// It is pure: Build works on the documents that it is given and says which nested lists it still wants to read; whoever does the
// reading calls it again with more documents. Lists come from strangers, so the depth of the tree, the entries in it and the
// bytes of its lists are limited.
package listtree

import (
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

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

// A Document is a list as bytes.
type Document struct {
	MediaType string
	Bytes     []byte
}

// A Node is one list of the tree. The same list may stand in several places of the tree; its nodes are then distinct.
type Node struct {
	Digest    digest.Digest
	List      manifest.List // as parsed; not to be edited
	Bytes     []byte
	Instances []manifest.Instance // of List
	// Nested holds the node of each entry that names a list, by the entry's index. An entry whose list has not been read is
	// not in it.
	Nested map[int]*Node
}

// A Tree is a list with everything nested in it.
type Tree struct {
	Root *Node
	// Unread are the distinct nested lists that Build had no document for, in the order in which they were met.
	Unread []digest.Digest
}

// A Builder builds a tree as its documents arrive. It must not be used concurrently.
type Builder struct {
	parsed map[digest.Digest]manifest.List
	bytes  map[digest.Digest][]byte
	held   int64
}

// Add gives the builder the list with digest d, whose bytes are assumed to match it. The error is the one of
// manifest.Parse, or a *LimitError.
func (b *Builder) Add(d digest.Digest, doc Document) error {
	if _, ok := b.parsed[d]; ok {
		return nil
	}
	b.held += int64(len(doc.Bytes))
	if b.held > MaxBytes {
		return &LimitError{What: "bytes of all lists", Limit: MaxBytes, List: d}
	}
	list, err := manifest.Parse(doc.Bytes, doc.MediaType)
	if err != nil {
		return fmt.Errorf("list %s: %w", d, err)
	}
	if b.parsed == nil {
		b.parsed = map[digest.Digest]manifest.List{}
		b.bytes = map[digest.Digest][]byte{}
	}
	b.parsed[d] = list
	b.bytes[d] = doc.Bytes
	return nil
}

// Build arranges the lists that were added below the one with digest top, which must be among them. The error is a *LimitError.
func (b *Builder) Build(top digest.Digest) (*Tree, error) {
	t := &Tree{}
	entries := 0
	unread := map[digest.Digest]bool{}
	var build func(d digest.Digest, depth int) (*Node, error)
	build = func(d digest.Digest, depth int) (*Node, error) {
		list, ok := b.parsed[d]
		if !ok {
			if !unread[d] {
				unread[d] = true
				t.Unread = append(t.Unread, d)
			}
			return nil, nil
		}
		if depth > MaxDepth {
			return nil, &LimitError{What: "depth of nested lists", Limit: MaxDepth, List: d}
		}
		n := &Node{Digest: d, List: list, Bytes: b.bytes[d], Instances: list.Instances()}
		entries += len(n.Instances)
		if entries > MaxEntries {
			return nil, &LimitError{What: "entries in all lists", Limit: MaxEntries, List: d}
		}
		for i, instance := range n.Instances {
			if !instance.IsList() {
				continue
			}
			nested, err := build(instance.Digest, depth+1)
			if err != nil {
				return nil, err
			}
			if nested != nil {
				if n.Nested == nil {
					n.Nested = map[int]*Node{}
				}
				n.Nested[i] = nested
			}
		}
		return n, nil
	}
	root, err := build(top, 1)
	if err != nil {
		return nil, err
	}
	t.Root = root
	return t, nil
}

// Walk calls f for each node of the tree, parents before children, siblings in the order of their entries.
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
