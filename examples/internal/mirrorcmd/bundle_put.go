package mirrorcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/endpoint/registry"
	"github.com/sparsecopy/sparsecopy/internal/listtree"
	"github.com/sparsecopy/sparsecopy/internal/sparsesupport"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// A bundleSource reads documents of one image in a bundle, for readContent.
type bundleSource struct {
	endpoint.Source // nil: nothing else is asked
	dir             bundleDir
	top             imgspecv1.Descriptor
}

func (s *bundleSource) Top() endpoint.Document {
	doc, err := s.dir.document(s.top.Digest, s.top.MediaType)
	if err != nil {
		return endpoint.Document{Digest: s.top.Digest, MediaType: s.top.MediaType} // no list and no manifest: whoever parses it says so
	}
	return doc
}

func (s *bundleSource) Manifest(_ context.Context, d digest.Digest) (endpoint.Document, error) {
	return s.dir.document(d, "")
}

// inOrder returns all documents, children before what names them. What the list says counts where a document does not say what it is.
func (c *content) inOrder() *bundleTree {
	t := &bundleTree{}
	seen := map[digest.Digest]bool{}
	var add func(n *listtree.Node)
	add = func(n *listtree.Node) {
		for _, in := range n.Instances {
			doc, there := c.documents[in.Digest]
			if !there || seen[in.Digest] {
				continue
			}
			if nested := n.Nested[in.Index]; nested != nil {
				add(nested)
			} else {
				t.images = append(t.images, in.Digest)
			}
			seen[in.Digest] = true
			t.documents = append(t.documents, endpoint.NewDocument(doc.Digest, in.MediaType, doc.Bytes))
		}
	}
	if c.root != nil {
		add(c.root)
	} else {
		t.images = []digest.Digest{c.top.Digest}
	}
	t.documents = append(t.documents, c.top)
	return t
}

// A loadTask puts one image of a bundle into a registry.
type loadTask struct {
	l          *bundleLoader
	dst        *registry.Destination
	ref        types.ImageReference
	tree       *bundleTree
	repository string // on the first side

	mu   sync.Mutex // guards done
	done *loadedImage
}

func (t *loadTask) run(ctx context.Context) error {
	last := len(t.tree.documents) - 1
	top, waiting := t.tree.documents[last], t.tree.documents[:last]
	if err := t.widening(ctx); err != nil {
		return err
	}
	if err := t.children(ctx, t.tree, waiting); err != nil {
		return err
	}
	attached := t.attached()
	if len(attached) == 0 {
		return t.top(ctx, top)
	}
	// The tag comes last, so that nobody sees an image without what belongs to it.
	if err := t.child(ctx, t.tree, top); err != nil {
		return err
	}
	for _, a := range attached {
		if err := t.attach(ctx, a); err != nil {
			return err
		}
	}
	return t.name(ctx, top)
}

// widening returns a *copy.WidenError if the bundle would add children to a list that is there, and the registry says that it takes sparse lists
// and not that it keeps what is added to them, as Quay does. Nothing was written by then. A registry that does not say refuses nothing.
func (t *loadTask) widening(ctx context.Context) error {
	for _, doc := range t.tree.documents {
		list, err := manifest.Parse(doc.Bytes, doc.MediaType)
		if err != nil || slices.Contains(t.tree.images, doc.Digest) {
			continue
		}
		there, err := t.dst.HasManifest(ctx, doc.Digest)
		if err != nil {
			return err
		}
		if !there {
			continue
		}
		said, err := t.dst.Announcement(ctx)
		if err != nil || !strings.EqualFold(said.SparseManifests, "true") || strings.EqualFold(said.Widening, "true") {
			return nil //nolint:nilerr // what is not answered is not known, and refuses nothing
		}
		var added []digest.Digest
		for _, in := range list.Instances() {
			if _, carried := t.tree.document(in.Digest); !carried || slices.Contains(added, in.Digest) {
				continue
			}
			there, err := t.dst.HasManifest(ctx, in.Digest)
			if err != nil {
				return err
			}
			if !there {
				added = append(added, in.Digest)
			}
		}
		if len(added) > 0 {
			slices.Sort(added)
			return &copy.WidenError{List: doc.Digest, Children: added, Basis: "it announces that it takes sparse lists, and not that children may be added to one that is there"}
		}
	}
	return nil
}

// children puts documents of a tree, subjects and children first.
func (t *loadTask) children(ctx context.Context, tree *bundleTree, waiting []endpoint.Document) error {
	for len(waiting) > 0 {
		var ready []endpoint.Document
		ready, waiting = apart(waiting)
		if err := inParallel(ctx, t.l.c.parallel, ready, func(ctx context.Context, doc endpoint.Document) error { return t.child(ctx, tree, doc) }); err != nil {
			return err
		}
	}
	return nil
}

// apart takes those documents from all that need none of the others: they are not their children, and do not have them as their subject.
func apart(all []endpoint.Document) (ready, waiting []endpoint.Document) {
	there := map[digest.Digest]bool{}
	for _, doc := range all {
		there[doc.Digest] = true
	}
	for _, doc := range all {
		if slices.ContainsFunc(needs(doc), func(d digest.Digest) bool { return there[d] }) {
			waiting = append(waiting, doc)
		} else {
			ready = append(ready, doc)
		}
	}
	if len(ready) == 0 { // honest digests do not go in circles
		return waiting, nil
	}
	return ready, waiting
}

// needs returns what is put before doc: its subject, and the children of a list.
func needs(doc endpoint.Document) []digest.Digest {
	if list, err := manifest.Parse(doc.Bytes, doc.MediaType); err == nil {
		needs := []digest.Digest{list.Subject()}
		for _, in := range list.Instances() {
			needs = append(needs, in.Digest)
		}
		return needs
	}
	image, err := manifest.ParseImage(doc.Bytes, doc.MediaType)
	if err != nil {
		return nil
	}
	return []digest.Digest{image.Subject}
}

// note notes what was done.
func (t *loadTask) note(written bool, signatures int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.done.Written = t.done.Written || written
	t.done.Signatures += signatures
}

// child puts a child that is not there, and what it needs; and signatures in any case, since they may have come later.
func (t *loadTask) child(ctx context.Context, tree *bundleTree, doc endpoint.Document) error {
	there, err := t.dst.HasManifest(ctx, doc.Digest)
	if err != nil {
		return err
	}
	if !there {
		if slices.Contains(tree.images, doc.Digest) {
			if err := t.blobs(ctx, doc); err != nil {
				return err
			}
		}
		if err := t.put(ctx, tree, doc, func() error { return t.dst.PutManifest(ctx, doc) }); err != nil {
			return t.refused(doc, err)
		}
		t.note(true, 0)
	}
	sigs, err := t.unstored(ctx, doc.Digest)
	if err != nil || sigs == nil {
		return err
	}
	return t.dst.PutSignatures(ctx, doc.Digest, sigs)
}

// top makes the reference name the image, with all of its signatures, unless it does.
func (t *loadTask) top(ctx context.Context, doc endpoint.Document) error {
	now, err := t.dst.Top(ctx)
	if err != nil && !errors.Is(err, endpoint.ErrNotFound) {
		return err
	}
	if now == doc.Digest {
		sigs, err := t.unstored(ctx, doc.Digest)
		if err != nil || sigs == nil {
			return err
		}
		return t.dst.PutSignatures(ctx, doc.Digest, sigs) // the tag stays as it is: it may be immutable
	}
	if slices.Contains(t.tree.images, doc.Digest) {
		if err := t.blobs(ctx, doc); err != nil {
			return err
		}
	}
	sigs, err := t.l.signatures(ctx, doc.Digest)
	if err != nil {
		return err
	}
	if err := t.put(ctx, t.tree, doc, func() error { return t.dst.PutTop(ctx, doc, sigs) }); err != nil {
		return t.refused(doc, err)
	}
	t.note(true, sigs.Len())
	return nil
}

// name makes the reference name the image, which is there, unless it does.
func (t *loadTask) name(ctx context.Context, doc endpoint.Document) error {
	now, err := t.dst.Top(ctx)
	if err != nil && !errors.Is(err, endpoint.ErrNotFound) || now == doc.Digest {
		return err
	}
	if err := t.dst.PutTop(ctx, doc, nil); err != nil {
		return err
	}
	t.note(true, 0)
	return nil
}

// refused says what the registry's answer to doc means, if that is a list of which the bundle lacks children. Nothing is tried to find out.
func (t *loadTask) refused(doc endpoint.Document, err error) error {
	list, parseErr := manifest.Parse(doc.Bytes, doc.MediaType)
	if parseErr != nil || slices.Contains(t.tree.images, doc.Digest) {
		return err
	}
	put, absent := t.tree.asPut(doc, list)
	kind, _ := sparsesupport.Classify(err, put)
	unclear := kind == sparsesupport.Unclear
	if len(absent) == 0 || kind != sparsesupport.Absent && !unclear {
		return err
	}
	return &copy.SparseRefusedError{
		List: doc.Digest, Absent: absent, Refusal: err, Unclear: unclear,
		NotStripped: "a bundle is loaded as it was made; one made with --sparse strip, or with --all, has no sparse list",
	}
}

// asPut is doc as a list that a registry may refuse, and the distinct children that the bundle lacks.
func (t *bundleTree) asPut(doc endpoint.Document, list manifest.List) (put sparsesupport.List, absent []digest.Digest) {
	put.Digest = doc.Digest
	for _, in := range list.Instances() {
		_, there := t.document(in.Digest)
		put.Add(in.Digest, in.MediaType, !there)
		if !there && !slices.Contains(absent, in.Digest) {
			absent = append(absent, in.Digest)
		}
	}
	return put, absent
}

// document is one of those that the tree consists of.
func (t *bundleTree) document(d digest.Digest) (endpoint.Document, bool) {
	i := slices.IndexFunc(t.documents, func(doc endpoint.Document) bool { return doc.Digest == d })
	if i < 0 {
		return endpoint.Document{}, false
	}
	return t.documents[i], true
}

// put stores doc, of tree, by calling put. Blobs that the registry says are not there, although it has said that they are or has just taken them, are sent
// again; children of a list that it says so of are put again, and the list once more.
func (t *loadTask) put(ctx context.Context, tree *bundleTree, doc endpoint.Document, put func() error) error {
	list, err := manifest.Parse(doc.Bytes, doc.MediaType)
	if err != nil {
		_, all, err := blobs(doc)
		if err != nil {
			return err
		}
		return endpoint.SendLost(all, put, func(b endpoint.Blob) error {
			if !t.l.dir.has(b.Digest, b.Size) {
				return errors.New("the bundle does not have it")
			}
			return t.dst.SendBlob(ctx, b, t.l.dir.opener(b))
		})
	}
	refused := put()
	asPut, absent := tree.asPut(doc, list)
	kind, lost := sparsesupport.Classify(refused, asPut)
	if kind != sparsesupport.Lost && (kind != sparsesupport.Unclear || len(absent) > 0) {
		return refused
	}
	for _, d := range lost {
		child, _ := tree.document(d) // what is lost is one of them
		if err := t.dst.PutManifest(ctx, child); err != nil {
			return err
		}
	}
	return put()
}

// unstored returns the signatures of a manifest that is at the destination, nil if it has them all there.
func (t *loadTask) unstored(ctx context.Context, d digest.Digest) (endpoint.Signatures, error) {
	sigs, err := t.l.signatures(ctx, d)
	if err != nil || sigs.Len() == 0 {
		return nil, err
	}
	stored, err := t.dst.Signatures(ctx, d)
	there := err == nil && stored.Contain(sigs)
	t.note(!there, sigs.Len())
	if there {
		return nil, nil
	}
	return sigs, nil
}

// blobs makes sure that the config and layers of a manifest are in the repository, but for layers that are elsewhere.
func (t *loadTask) blobs(ctx context.Context, doc endpoint.Document) error {
	image, all, err := blobs(doc)
	if err != nil {
		return err
	}
	return inParallel(ctx, t.l.c.parallel, blobsHere(image, all), t.blob)
}

func (t *loadTask) blob(ctx context.Context, b endpoint.Blob) error {
	if t.l.dir.has(b.Digest, b.Size) {
		result, err := t.dst.PutBlob(ctx, b, opening(t.l.progress, t.l.dir.opener(b), b))
		if err == nil && result.Reused {
			skipped(t.l.progress, b)
		}
		return err
	}
	there, err := t.dst.HasBlob(ctx, b)
	if err != nil || there {
		return err
	}
	from, earlier := t.l.blobs[b.Digest]
	if !earlier || t.l.record.Since == "" {
		return damaged("it lacks the blob %s", b.Digest)
	}
	if err := t.mount(ctx, b, from); err != nil {
		return fmt.Errorf("blob %s came with an earlier bundle, and is not there (%w): load the bundle %s first", b.Digest, err, t.l.record.before())
	}
	return nil
}

// mount takes a blob from another repository of the registry, where an earlier bundle put it.
func (t *loadTask) mount(ctx context.Context, b endpoint.Blob, from bundleBlob) error {
	if from.Repository == t.repository {
		return endpoint.ErrNotFound
	}
	named, err := reference.ParseNormalizedNamed(t.l.where(from.Repository))
	if err != nil {
		return err
	}
	digested, err := reference.WithDigest(named, from.Manifest)
	if err != nil {
		return err
	}
	ref, err := docker.NewReference(digested)
	if err != nil {
		return err
	}
	sys, undo, err := withoutMirrors(ref, t.l.sys)
	if err != nil {
		return err
	}
	defer undo()
	src, err := registry.OpenSource(ctx, ref, sys, t.l.shared)
	if err != nil {
		return err
	}
	defer src.Close() // nothing was written
	_, err = t.dst.PutBlob(ctx, b, func(ctx context.Context) (io.ReadCloser, error) { return src.Blob(ctx, b) })
	return err
}
