package inspect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/inflight"
	"github.com/sparsecopy/sparsecopy/internal/listtree"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// content is what a reference names, with all that this names in turn and the source has.
type content struct {
	top  endpoint.Document
	root *listtree.Node // nil for a single image

	documents map[digest.Digest]endpoint.Document // the top, nested lists and manifests
	missing   map[digest.Digest]bool              // named, and definitely not there

	// blobs are those that lists name in the place of manifests, by digest, missingBlobs those of
	// them that are definitely not there.
	blobs        map[digest.Digest]endpoint.Blob
	missingBlobs map[digest.Digest]bool
}

// readContent reads lists and manifests, and no blobs. What is there is verified. Blobs that lists
// name in the place of manifests are looked for.
func readContent(ctx context.Context, src endpoint.SizedSource, limit *semaphore.Weighted) (*content, error) {
	c := &content{
		top: src.Top(), documents: map[digest.Digest]endpoint.Document{}, missing: map[digest.Digest]bool{},
		blobs: map[digest.Digest]endpoint.Blob{}, missingBlobs: map[digest.Digest]bool{},
	}
	c.documents[c.top.Digest] = c.top
	if !manifest.IsListMediaType(c.top.MediaType) {
		return c, nil
	}
	isList := func(d digest.Digest) bool { return manifest.IsListMediaType(c.documents[d].MediaType) }
	for {
		if err := c.readLists(ctx, src, limit); err != nil {
			return nil, err
		}
		leaves := c.leaves()
		if err := c.read(ctx, src, limit, leaves); err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(leaves, isList) { // whatever the entries say
			return c, c.lookForBlobs(ctx, src, limit)
		}
	}
}

// readLists reads the nested lists, level by level.
func (c *content) readLists(ctx context.Context, src endpoint.Source, limit *semaphore.Weighted) error {
	b := listtree.Builder{Read: func(d digest.Digest) (string, []byte, bool) {
		doc, ok := c.documents[d]
		return doc.MediaType, doc.Bytes, ok
	}}
	for {
		tree, err := b.Build(c.top.Digest)
		if err != nil {
			return err
		}
		c.root = tree.Root
		unread := slices.DeleteFunc(tree.Unread, func(d digest.Digest) bool { return c.missing[d] })
		if len(unread) == 0 {
			return nil
		}
		if err := c.read(ctx, src, limit, unread); err != nil {
			return err
		}
	}
}

// lookForBlobs asks for the blobs that lists name in the place of manifests, but for layers that
// are elsewhere.
func (c *content) lookForBlobs(ctx context.Context, src endpoint.SizedSource, limit *semaphore.Weighted) error {
	c.root.Walk(func(n *listtree.Node) {
		for _, in := range n.Instances {
			if in.IsBlob() && len(in.URLs) == 0 {
				c.blobs[in.Digest] = endpoint.Blob{Digest: in.Digest, Size: in.Size, MediaType: in.MediaType}
			}
		}
	})
	return inflight.Ask(ctx, limit, slices.Collect(maps.Values(c.blobs)), src.BlobSize, func(b endpoint.Blob, _ int64, err error) error {
		if errors.Is(err, endpoint.ErrNotFound) {
			c.missingBlobs[b.Digest] = true
			return nil
		}
		if err != nil {
			return fmt.Errorf("blob %s: %w", b.Digest, err)
		}
		return nil
	})
}

// leaves are the distinct digests of entries that name manifests which are no lists, as far as is
// known, and have not been read.
func (c *content) leaves() []digest.Digest {
	var leaves []digest.Digest
	seen := map[digest.Digest]bool{}
	c.root.Walk(func(n *listtree.Node) {
		for _, in := range n.Instances {
			_, read := c.documents[in.Digest]
			if !read && !c.missing[in.Digest] && !in.IsList() && !in.IsBlob() && !seen[in.Digest] {
				seen[in.Digest] = true
				leaves = append(leaves, in.Digest)
			}
		}
	})
	return leaves
}

// read reads documents, and notes those that are missing.
func (c *content) read(
	ctx context.Context, src endpoint.Source, limit *semaphore.Weighted, digests []digest.Digest,
) error {
	return inflight.Ask(ctx, limit, digests, endpoint.ReadPresent(src), func(d digest.Digest, doc endpoint.Document, err error) error {
		switch {
		case errors.Is(err, endpoint.ErrNotFound):
			c.missing[d] = true
			return nil
		case err != nil:
			return fmt.Errorf("manifest %s: %w", d, err)
		}
		c.documents[d] = doc
		return nil
	})
}

// image returns the manifest with digest d, nil if it is not there or none.
func (c *content) image(d digest.Digest) *manifest.Image {
	image, err := parseImage(c.documents[d])
	if err != nil {
		return nil
	}
	return image
}

// parseImage reads the manifest of an image. It returns nil without an error for Docker schema 1,
// whose blobs nobody here needs to know.
func parseImage(doc endpoint.Document) (*manifest.Image, error) {
	image, err := manifest.ParseImage(doc.Bytes, doc.MediaType)
	if errors.Is(err, manifest.ErrSchema1) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", doc.Digest, err)
	}
	return image, nil
}

// readVerified copies r to w, and fails unless what came is b.
func readVerified(w io.Writer, r io.Reader, b endpoint.Blob) error {
	verifier := b.Digest.Verifier()
	n, err := io.Copy(io.MultiWriter(w, verifier), r)
	switch {
	case err != nil:
		return err
	case b.Size >= 0 && n != b.Size:
		return fmt.Errorf("it has %d bytes, and its manifest states %d", n, b.Size)
	case !verifier.Verified():
		return endpoint.Mismatched(r)
	}
	return nil
}
