package remembered

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/inflight"
)

// A Recollection is a result that a destination has.
type Recollection struct {
	Document endpoint.Document // as it was read there
	// SourceType and Reason are those of Result; "" if only the destination's list has told of it.
	SourceType, Reason string
}

// A Destination is where results are looked for. Its methods may be called concurrently.
type Destination struct {
	endpoint.Destination
	Budget *semaphore.Weighted
	// List is the list whose entries are believed if they say what their images were made of; ""
	// for none.
	List digest.Digest
	// Blobs is set if a result counts only if the destination has its blobs.
	Blobs bool
}

// Recall returns those results of keys that are remembered, or that the destination's list states,
// and that the destination has. Whatever else goes wrong than that ctx ends, it is not there, as
// far as is known.
func (m *Memory) Recall(ctx context.Context, dst Destination, keys []plan.TransformKey) (map[plan.TransformKey]Recollection, error) {
	found, err := m.Find(keys)
	if err != nil {
		logrus.Debugf("what became of images in earlier copies is not known: %v", err)
	}
	unknown := slices.DeleteFunc(slices.Clone(keys), func(of plan.TransformKey) bool { _, known := found[of]; return known })
	for of, d := range dst.stated(ctx, m, unknown) {
		found[of] = Result{Digest: d}
	}
	results, err := dst.read(ctx, found)
	recalled := map[plan.TransformKey]Recollection{}
	for of, result := range found {
		if doc, ok := results[result.Digest]; ok && result.describes(doc) {
			recalled[of] = Recollection{doc, result.SourceType, result.Reason}
		}
	}
	return recalled, err
}

// describes reports whether doc is the manifest of an image that the result says it is, as far as
// it says anything.
func (r Result) describes(doc endpoint.Document) bool {
	return !doc.IsList() && (r.MediaType == "" || r.MediaType == doc.MediaType && r.Size == int64(len(doc.Bytes)))
}

// stated returns what the destination's list states of keys.
func (d Destination) stated(ctx context.Context, m *Memory, keys []plan.TransformKey) map[plan.TransformKey]digest.Digest {
	if d.List == "" || len(keys) == 0 {
		return nil
	}
	tree, err := d.tree(ctx)
	if err != nil {
		logrus.Debugf("what the destination's list says of its images could not be read: %v", err)
		return nil
	}
	return m.Stated(tree.Images(), keys)
}

// tree reads the destination's list with the lists nested in it.
func (d Destination) tree(ctx context.Context) (*plan.Tree, error) {
	top, err := d.manifests(ctx, []digest.Digest{d.List})
	if err != nil {
		return nil, err
	}
	tree, err := plan.ParseTree(top[d.List], d.List, nil)
	for err == nil && len(tree.Unread()) > 0 {
		unread := tree.Unread()
		var nested map[digest.Digest]endpoint.Document
		if nested, err = d.manifests(ctx, unread); err != nil {
			break
		}
		if len(nested) < len(unread) {
			return nil, fmt.Errorf("%d of the lists nested in %s are not there", len(unread)-len(nested), d.List)
		}
		tree, err = tree.With(nested)
	}
	return tree, err
}

// read returns those of results that the destination has.
func (d Destination) read(ctx context.Context, results map[plan.TransformKey]Result) (map[digest.Digest]endpoint.Document, error) {
	wanted := map[digest.Digest]bool{}
	for _, result := range results {
		wanted[result.Digest] = true
	}
	read, err := d.manifests(ctx, slices.Sorted(maps.Keys(wanted)))
	if err != nil || !d.Blobs {
		return read, err
	}
	for _, doc := range read {
		whole, err := d.isWhole(ctx, doc)
		if err != nil {
			return nil, err
		}
		if !whole {
			delete(read, doc.Digest)
		}
	}
	return read, nil
}

// manifests reads those of digests that the destination has.
func (d Destination) manifests(ctx context.Context, digests []digest.Digest) (map[digest.Digest]endpoint.Document, error) {
	read := map[digest.Digest]endpoint.Document{}
	from, ok := d.Destination.(endpoint.Rereader)
	if !ok {
		return read, nil
	}
	note := func(of digest.Digest, doc endpoint.Document, err error) error {
		if err != nil {
			logrus.Debugf("the destination does not have %s: %v", of, err)
			return nil
		}
		read[of] = doc
		return nil
	}
	err := inflight.Ask(ctx, d.Budget, digests, from.Manifest, note)
	return read, err
}

// isWhole reports whether the destination is known to have all blobs of an image.
func (d Destination) isWhole(ctx context.Context, doc endpoint.Document) (bool, error) {
	tree, err := plan.ParseTree(doc, doc.Digest, nil)
	if err != nil {
		return false, nil //nolint:nilerr // then it is made again
	}
	image, err := tree.Image(doc.Digest)
	if err != nil {
		return false, nil //nolint:nilerr // then it is made again
	}
	blobs, _ := endpoint.PlacesOf(image)
	there, err := endpoint.Present(ctx, d.Budget, d.Destination, blobs)
	absent := func(b endpoint.Blob) bool { return !there[b.Digest] }
	return !slices.ContainsFunc(blobs, absent), err
}
