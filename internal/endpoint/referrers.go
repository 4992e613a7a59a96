package endpoint

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// MaxReferrers is how many referrers of one manifest a source returns at most.
const MaxReferrers = 10_000

// ReferrersLimitError says that a manifest has more referrers than this package is willing to hold, or that a registry does not come
// to an end with them.
type ReferrersLimitError struct {
	Subject digest.Digest
	What    string // what there is too much of, with the limit
}

func (e *ReferrersLimitError) Error() string {
	return fmt.Sprintf("referrers of %s: %s", e.Subject, e.What)
}

// A ReferrerSource is a Source that knows what refers to a manifest by its subject (image-spec v1.1, "Image Manifest",
// subject), and what other tags name. The methods may run concurrently.
type ReferrerSource interface {
	Source

	// Referrers returns descriptors of the manifests and lists whose subject is d, as the source lists them: whether they are
	// there, and say so themselves, is not checked. No order, no duplicates. None is no error; too many is a *ReferrersLimitError.
	Referrers(ctx context.Context, d digest.Digest) ([]imgspecv1.Descriptor, error)

	// Tagged reads what a tag names, in the repository or layout of the source's reference. An error that wraps ErrNotFound says
	// that it definitely names nothing.
	Tagged(ctx context.Context, tag string) (Document, error)
}

// A ReferrerDestination is a Destination that can be told what refers to a manifest. The methods may run concurrently, but not
// with PutTop.
type ReferrerDestination interface {
	Destination

	// PutReferrers makes the manifests or lists that referrers describe, which have been stored by PutManifest, known as referrers
	// of d. What is known already stays.
	PutReferrers(ctx context.Context, d digest.Digest, referrers []imgspecv1.Descriptor) error

	// Tag returns the digest that a tag names, in the repository or layout of the destination's reference; see Destination.Top.
	Tag(ctx context.Context, tag string) (digest.Digest, error)

	// PutTag makes a tag name doc. Everything that doc names must be there already.
	PutTag(ctx context.Context, tag string, doc Document) error
}

// ReferrersTag is the tag under which the referrers of d are listed where nothing else lists them (OCI distribution specification
// v1.1, "Referrers Tag Schema"). d must be valid.
func ReferrersTag(d digest.Digest) string {
	return truncate(d.Algorithm().String(), 32) + "-" + truncate(d.Encoded(), 64)
}

func truncate(s string, n int) string { return s[:min(n, len(s))] }

// emptyReferrers is an index that lists nothing.
const emptyReferrers = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`

// MergeReferrers adds to an index those of referrers that it does not list, and says whether there were any. What it lists stays,
// byte for byte. An empty index stands for one that lists nothing.
func MergeReferrers(index []byte, referrers []imgspecv1.Descriptor) (merged []byte, changed bool, err error) {
	if len(index) == 0 {
		index = []byte(emptyReferrers)
	}
	list, err := manifest.Parse(index, imgspecv1.MediaTypeImageIndex)
	if err != nil {
		return nil, false, err
	}
	listed := map[digest.Digest]bool{}
	for _, in := range list.Instances() {
		listed[in.Digest] = true
	}
	var adds []manifest.ListEdit
	for _, r := range referrers {
		if !listed[r.Digest] {
			listed[r.Digest] = true
			adds = append(adds, manifest.ListEdit{
				ListOperation: manifest.ListOpAdd, AddDigest: r.Digest, AddSize: r.Size, AddMediaType: r.MediaType,
				AddArtifactType: r.ArtifactType, AddAnnotations: r.Annotations,
			})
		}
	}
	if len(adds) == 0 {
		return index, false, nil
	}
	if err := list.EditInstances(adds); err != nil {
		return nil, false, err
	}
	merged, err = list.Serialize()
	return merged, true, err
}
