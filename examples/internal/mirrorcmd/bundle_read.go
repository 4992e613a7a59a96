package mirrorcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/pkg/sysregistriesv2"
	"go.podman.io/image/v5/types"
	"golang.org/x/sync/errgroup"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/endpoint/registry"
	"github.com/sparsecopy/sparsecopy/internal/endpoint/transport"
	"github.com/sparsecopy/sparsecopy/internal/listtree"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// openSource opens what ref names, for reading only. shared may be nil.
func openSource(ctx context.Context, ref types.ImageReference, sys *types.SystemContext, shared *registry.Shared) (endpoint.Source, error) {
	if ref.Transport().Name() == "docker" {
		src, err := registry.OpenSource(ctx, ref, sys, shared)
		if _, unsupported := errors.AsType[*registry.Unsupported](err); !unsupported {
			if err != nil {
				return nil, err
			}
			return src, nil
		}
	}
	src, err := transport.OpenSource(ctx, ref, sys)
	if err != nil {
		return nil, err
	}
	return src, nil
}

// shared is what ends that are opened without a Copier share.
func (t *times) shared() *registry.Shared {
	return &registry.Shared{StallTimeout: t.stall, BlobTimeout: t.blob, AnswerTimeout: t.answer}
}

// inParallel calls f for each element, at most n at a time, and returns the first error.
func inParallel[T any](ctx context.Context, n uint, elements []T, f func(context.Context, T) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(int(n))
	for _, e := range elements {
		group.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return f(ctx, e)
		})
	}
	return group.Wait()
}

// A content is what a reference names, with all that it names in turn and the source has.
type content struct {
	top  endpoint.Document
	root *listtree.Node // nil for a single image

	documents map[digest.Digest]endpoint.Document // by digest: the top, nested lists and manifests
	missing   map[digest.Digest]bool              // named, and definitely not there
}

// readContent reads lists and manifests, and no blobs. What is there is verified.
func readContent(ctx context.Context, src endpoint.Source, parallel uint) (*content, error) {
	c := &content{top: src.Top(), documents: map[digest.Digest]endpoint.Document{}, missing: map[digest.Digest]bool{}}
	c.documents[c.top.Digest] = c.top
	if !manifest.IsListMediaType(c.top.MediaType) {
		return c, nil
	}
	for {
		if err := c.readLists(ctx, src, parallel); err != nil {
			return nil, err
		}
		leaves := c.leaves()
		if err := c.read(ctx, src, parallel, leaves); err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(leaves, func(d digest.Digest) bool { return manifest.IsListMediaType(c.documents[d].MediaType) }) {
			return c, nil
		}
	}
}

// readLists reads the nested lists, level by level.
func (c *content) readLists(ctx context.Context, src endpoint.Source, parallel uint) error {
	b := listtree.Builder{Read: func(d digest.Digest) (string, []byte, bool) {
		doc, ok := c.documents[d]
		return doc.MediaType, doc.Bytes, ok
	}}
	for {
		tree, err := b.Build(c.top.Digest)
		if err != nil {
			return err
		}
		var next []digest.Digest
		c.root = tree.Root
		for _, d := range tree.Unread {
			if !c.missing[d] {
				next = append(next, d)
			}
		}
		if len(next) == 0 {
			return nil
		}
		if err := c.read(ctx, src, parallel, next); err != nil {
			return err
		}
	}
}

// leaves are the distinct digests of entries that name no list, as far as is known, and have not been read.
func (c *content) leaves() []digest.Digest {
	var leaves []digest.Digest
	seen := map[digest.Digest]bool{}
	c.root.Walk(func(n *listtree.Node) {
		for _, in := range n.Instances {
			if _, read := c.documents[in.Digest]; !read && !c.missing[in.Digest] && !in.IsList() && !seen[in.Digest] {
				seen[in.Digest] = true
				leaves = append(leaves, in.Digest)
			}
		}
	})
	return leaves
}

// read reads documents, and notes those that are missing.
func (c *content) read(ctx context.Context, src endpoint.Source, parallel uint, digests []digest.Digest) error {
	var mu sync.Mutex
	return inParallel(ctx, parallel, digests, func(ctx context.Context, d digest.Digest) error {
		doc, err := src.Manifest(ctx, d)
		mu.Lock()
		defer mu.Unlock()
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

// blobs returns the distinct blobs of a manifest, the config first. A Docker schema 1 manifest has none that are known.
func blobs(doc endpoint.Document) (*manifest.Image, []endpoint.Blob, error) {
	image, err := manifest.ParseImage(doc.Bytes, doc.MediaType)
	if errors.Is(err, manifest.ErrSchema1) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("manifest %s: %w", doc.Digest, err)
	}
	config := image.Config
	all := []endpoint.Blob{{Digest: config.Digest, Size: config.Size, MediaType: config.MediaType, Config: true}}
	seen := map[digest.Digest]bool{config.Digest: true}
	for _, layer := range image.Layers {
		if !seen[layer.Digest] {
			seen[layer.Digest] = true
			all = append(all, endpoint.Blob{Digest: layer.Digest, Size: layer.Size, MediaType: layer.MediaType})
		}
	}
	return image, all, nil
}

// blobsHere returns the blobs of a manifest that have to be where it is: layers with URLs stay elsewhere, unless another layer without is
// the same.
func blobsHere(image *manifest.Image, all []endpoint.Blob) (here []endpoint.Blob) {
	if image == nil {
		return all
	}
	needed := map[digest.Digest]bool{image.Config.Digest: true}
	for _, layer := range image.Layers {
		if len(layer.URLs) == 0 {
			needed[layer.Digest] = true
		}
	}
	for _, b := range all {
		if needed[b.Digest] {
			here = append(here, b)
		}
	}
	return here
}

// copyVerified copies r to w and fails unless what came is b.
func copyVerified(w io.Writer, r io.Reader, b endpoint.Blob) error {
	verifier := b.Digest.Verifier()
	n, err := io.Copy(io.MultiWriter(w, verifier), r)
	switch {
	case err != nil:
		return err
	case b.Size >= 0 && n != b.Size:
		return fmt.Errorf("it has %d bytes, and its manifest states %d", n, b.Size)
	case !verifier.Verified():
		return errors.New("its content does not match the digest")
	}
	return nil
}

// withoutMirrors returns a configuration under which ref is read at its own registry, never at one of the mirrors that
// registries.conf names, and a function that cleans up.
func withoutMirrors(ref types.ImageReference, sys *types.SystemContext) (_ *types.SystemContext, cleanup func(), err error) {
	nothing := func() {}
	name := ref.DockerReference()
	if ref.Transport().Name() != "docker" || name == nil {
		return sys, nothing, nil
	}
	found, err := sysregistriesv2.FindRegistry(sys, name.Name())
	if err != nil {
		return nil, nil, err
	}
	if found == nil || len(found.Mirrors) == 0 && (found.Location == "" || found.Location == found.Prefix) {
		return sys, nothing, nil
	}
	helpers, err := sysregistriesv2.CredentialHelpers(sys)
	if err != nil {
		return nil, nil, err
	}
	dir, err := os.MkdirTemp("", "mirror-*")
	if err != nil {
		return nil, nil, err
	}
	quoted := make([]string, len(helpers))
	for i, h := range helpers {
		quoted[i] = strconv.Quote(h)
	}
	domain, _, _ := strings.Cut(name.Name(), "/")
	conf := fmt.Sprintf("credential-helpers = [%s]\n[[registry]]\nlocation = %q\ninsecure = %t\nblocked = %t\n",
		strings.Join(quoted, ", "), domain, found.Insecure, found.Blocked)
	own := *sys
	own.SystemRegistriesConfPath = filepath.Join(dir, "registries.conf")
	own.SystemRegistriesConfDirPath = filepath.Join(dir, "none")
	if err := os.WriteFile(own.SystemRegistriesConfPath, []byte(conf), 0o600); err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	return &own, func() { _ = os.RemoveAll(dir) }, nil
}

// asNotFound adds endpoint.ErrNotFound to the error of a file that does not exist.
func asNotFound(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", endpoint.ErrNotFound, err)
	}
	return err
}
