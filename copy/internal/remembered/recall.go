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

// Found is what became of images in earlier copies, and is at the destination.
type Found struct {
	Results map[plan.TransformKey]endpoint.Document // of images that were transformed
	Carried map[digest.Digest]endpoint.Document     // images that stayed as they were
	// Images are those of Results that need not be read at the source. Of others nobody remembers
	// why they were transformed, or only they can tell which variants a list lacks.
	Images map[digest.Digest]plan.Recalled
}

// There returns the digests of what was found.
func (f Found) There() map[digest.Digest]bool {
	there := map[digest.Digest]bool{}
	for _, doc := range f.Results {
		there[doc.Digest] = true
	}
	for d := range f.Carried {
		there[d] = true
	}
	return there
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

// Recall returns what is remembered of the images of a plan, or stated by the destination's list,
// and what the destination has of that. Whatever else goes wrong than that ctx ends, it is not
// there, as far as is known.
func (m *Memory) Recall(ctx context.Context, dst Destination, p *plan.Plan) (Found, error) {
	var keys []plan.TransformKey
	for _, d := range p.Wanted() {
		for _, format := range m.formats {
			keys = append(keys, plan.TransformKey{Digest: d, Format: format})
		}
	}
	known, err := m.Find(keys)
	if err != nil {
		logrus.Debugf("what became of images in earlier copies is not known: %v", err)
	}
	unknown := slices.DeleteFunc(keys, func(of plan.TransformKey) bool { _, ok := known[of]; return ok })
	for of, d := range dst.stated(ctx, m, unknown) {
		known[of] = Result{Digest: d}
	}
	documents, err := dst.read(ctx, known)
	found := Found{
		Results: map[plan.TransformKey]endpoint.Document{}, Carried: map[digest.Digest]endpoint.Document{}, Images: map[digest.Digest]plan.Recalled{},
	}
	for of, result := range known {
		doc, ok := documents[result.Digest]
		switch {
		case !ok || !result.describes(doc):
		case result.Reason == "" && doc.Digest == of.Digest:
			found.Carried[of.Digest] = doc
		default:
			found.Results[of] = doc
			if result.Reason != "" && len(m.formats) == 1 {
				found.Images[of.Digest] = plan.Recalled{MediaType: result.SourceType, Reason: result.Reason}
			}
		}
	}
	return found, err
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
