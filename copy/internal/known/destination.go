package known

import (
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// Destination is what the destination has told.
type Destination struct {
	Asked bool // it is asked at all; without that, nothing is known
	// Top is what its reference named when the copy began; "" if nothing, or if it did not tell,
	// which TopKnown says.
	Top      digest.Digest
	TopKnown bool
	// Spoilt is set if it hands out something else than it says that its reference names: why that
	// is so. Top is nothing then.
	Spoilt error
	// Present says of manifests whether they are there with everything that they name, Stored
	// whether they are, whatever they lack: that is so under CheckBlobs, and of the list that the
	// reference is to name. What is in neither was not asked for, or Untold.
	Present, Stored map[digest.Digest]bool
	Untold          map[digest.Digest]error // of what it did not tell whether it has it, and why
	// Rejected are media types that it has refused.
	Rejected []string
	// Transformed are the results of transformations that are there.
	Transformed map[plan.TransformKey]endpoint.Document
	Recalled    map[digest.Digest]plan.Recalled // images of which that is known from earlier copies
	Blobs       map[digest.Digest]bool          // of blobs that lists name, whether they are there; what is in it was asked for
	// Support is what it says of sparse lists, nil until it was asked; SupportErr is why that is
	// not known, nil if it is.
	Support    *plan.SparseSupport
	SupportErr error
	// Sparse is as much of Support as a plan may be made of: none, until everything was asked for
	// that such a plan depends on.
	Sparse plan.SparseSupport
}

// WithPresent returns c with answers to whether manifests are there with everything that they name.
func (c Destination) WithPresent(a endpoint.Answers) Destination {
	c.Present = Merged(c.Present, a.Has)
	c.Untold = Merged(c.Untold, a.Untold)
	return c
}

// Unasked returns those of digests of which it is neither known whether they are there with
// everything that they name, nor that the destination does not tell.
func (c Destination) Unasked(digests []digest.Digest) []digest.Digest {
	return slices.DeleteFunc(slices.Clone(digests), func(d digest.Digest) bool {
		_, asked := c.Present[d]
		return asked || c.Untold[d] != nil
	})
}

// WithStored returns c with answers to whether manifests are there, whatever they lack.
func (c Destination) WithStored(a endpoint.Answers) Destination {
	c.Stored = Merged(c.Stored, a.Has)
	c.Untold = Merged(c.Untold, a.Untold)
	return c
}

// WithRejected returns c with a media type that the destination has refused. Who does not know
// images of a format does not know its lists.
func (c Destination) WithRejected(mediaType string) Destination {
	c.Rejected = append(slices.Clone(c.Rejected), mediaType)
	switch mediaType {
	case imgspecv1.MediaTypeImageManifest:
		c.Rejected = append(c.Rejected, imgspecv1.MediaTypeImageIndex)
	case manifest.MediaTypeDockerManifest:
		c.Rejected = append(c.Rejected, manifest.MediaTypeDockerList)
	}
	return c
}

// WithTransformed returns c with results of transformations that are there.
func (c Destination) WithTransformed(results map[plan.TransformKey]endpoint.Document) Destination {
	c.Transformed = Merged(c.Transformed, results)
	return c
}

// Result returns the result of a transformation that has the digest d, and whether there is one.
func (c Destination) Result(d digest.Digest) (endpoint.Document, bool) {
	for _, doc := range c.Transformed {
		if doc.Digest == d {
			return doc, true
		}
	}
	return endpoint.Document{}, false
}

// WithSupport returns c with what the destination says of sparse lists, and why that is not known.
func (c Destination) WithSupport(support plan.SparseSupport, err error) Destination {
	c.Support, c.SupportErr = &support, err
	return c
}

// Merged returns a map with what a and b have, and b's in what both have.
func Merged[K comparable, V any](a, b map[K]V) map[K]V {
	switch {
	case len(b) == 0:
		return a
	case len(a) == 0:
		return b
	}
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

// Keys returns the keys of m as a set.
func Keys[K comparable, V any](m map[K]V) map[K]bool {
	set := make(map[K]bool, len(m))
	for k := range m {
		set[k] = true
	}
	return set
}
