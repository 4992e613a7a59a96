package endpoint

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// Limits on the referrers of one manifest that are listed.
const (
	// MaxReferrers is their number.
	MaxReferrers = 10_000
	// MaxReferrersBytes is what the lists that name them may have in all.
	MaxReferrersBytes = 16 << 20
)

// ReferrersLimitError says that a manifest has more referrers than this package is willing to hold,
// or that whoever lists them does not come to an end.
type ReferrersLimitError struct {
	Subject digest.Digest
	What    string // what there is too much of, with the limit
}

func (e *ReferrersLimitError) Error() string {
	return fmt.Sprintf("referrers of %s: %s", e.Subject, e.What)
}

// NotListableError says that the referrers of a manifest cannot be listed in a repository: the
// registry has no referrers API, and the referrers tag names something else than a list of
// referrers, which nobody must replace.
type NotListableError struct {
	Subject digest.Digest
	Tag     string
	Names   string // what the tag names, for people
}

func (e *NotListableError) Error() string {
	return fmt.Sprintf("referrers of %s cannot be listed: there is no referrers API, and the tag %s names %s", e.Subject, e.Tag, e.Names)
}

// A ReferrerSource knows what refers to manifests by their subject (image-spec v1.1, "Image
// Manifest", subject), and what other tags than that of its reference name, in the same repository
// or layout. The methods may run concurrently.
type ReferrerSource interface {
	// Referrers returns descriptors of the manifests and lists whose subject is d, as they are
	// listed: whether they are there, and say so themselves, is not checked. Only media type,
	// digest, size and artifact type are filled in; no artifact type means that the manifest has to
	// say it. If artifactType is not "", those of other types may be left out, but need not be. No
	// order, no duplicates. None is no error; too many is a *ReferrersLimitError. An error that
	// wraps ErrUnknown says that there was no answer, or, with what is listed, that there may be
	// more; a *NotListableError says that there is nothing that could list any: see Listed.
	Referrers(ctx context.Context, d digest.Digest, artifactType string) ([]imgspecv1.Descriptor, error)

	// Tagged reads what a tag names. An error that wraps ErrNotFound says that it definitely names
	// nothing.
	Tagged(ctx context.Context, tag string) (Document, error)
}

// A TagLister is a ReferrerSource that can list tags. Its methods may run concurrently.
type TagLister interface {
	// DigestTags returns the tags of the repository or layout that digesttag.Stem knows: all of
	// them, in no order, each once, or an error. pages is how many pages of a registry's list are
	// read at most, 0 for as many as there are: a list that is longer is a *LongTagListError. An
	// error that wraps ErrNotFound says that there is definitely no such repository.
	DigestTags(ctx context.Context, pages int) ([]string, error)
}

// LongTagListError says that a list of tags goes on after as much of it as was to be read.
type LongTagListError struct {
	URL  string // of the page that is too long, or of the one that was not read
	What string // there is more than that
}

func (e *LongTagListError) Error() string {
	return fmt.Sprintf("%s: the list of tags has more than %s", e.URL, e.What)
}

// Listed is what Referrers has returned, with none in the place of a *NotListableError: for who
// wants to know what is listed.
func Listed(referrers []imgspecv1.Descriptor, err error) ([]imgspecv1.Descriptor, error) {
	if _, ok := errors.AsType[*NotListableError](err); ok {
		return nil, nil
	}
	return referrers, err
}

// TellsNothing reports whether an artifact type in a list of referrers is none, or what some
// registries and tools state for whatever they list: then the manifest has to say what it is.
func TellsNothing(artifactType string) bool {
	return slices.Contains([]string{"", imgspecv1.MediaTypeEmptyJSON, imgspecv1.MediaTypeImageConfig}, artifactType)
}

// A ReferrerDestination can also be told what refers to manifests, and what tags are to name. What
// it is told may become visible at once, or with the next PutTop or Flush; until then, it does not
// say so itself. The methods may run concurrently, but not with PutTop.
type ReferrerDestination interface {
	ReferrerSource

	// PutReferrers makes the manifests or lists that referrers describe, which have been stored by
	// PutManifest, known as referrers of d. What is known already stays. A *NotListableError says
	// that they cannot be.
	PutReferrers(ctx context.Context, d digest.Digest, referrers []imgspecv1.Descriptor) error

	// UpdateTag makes a tag name what update returns, which is given what the tag names now: the
	// zero Document if nothing. Everything that it names must be there, itself not. Nothing is
	// written if update changes nothing. In one process, updates of one tag take turns; another
	// process may write in between.
	UpdateTag(ctx context.Context, tag string, update func(Document) (Document, error)) error

	// Flush makes visible what is not yet.
	Flush(ctx context.Context) error
}

// ReferrersAt returns what src knows of referrers. The error says why it knows nothing of them.
func ReferrersAt(src Source) (ReferrerSource, error) {
	switch s := src.(type) {
	case ReferrerSource:
		return s, nil
	case interface {
		Attached() (ReferrerSource, error)
	}:
		return s.Attached()
	}
	return nil, errNoReferrers
}

// ReferrersTo returns how dst is told of referrers. The error says why it cannot be.
func ReferrersTo(dst Destination) (ReferrerDestination, error) {
	switch d := dst.(type) {
	case ReferrerDestination:
		return d, nil
	case interface {
		Attached() (ReferrerDestination, error)
	}:
		return d.Attached()
	}
	return nil, errNoReferrers
}

var errNoReferrers = errors.New("its transport knows no referrers")

// ReferrersTag is the tag under which the referrers of d are listed where nothing else lists them
// (OCI distribution specification v1.1, "Referrers Tag Schema"). d must be valid.
func ReferrersTag(d digest.Digest) string {
	return truncate(d.Algorithm().String(), 32) + "-" + truncate(d.Encoded(), 64)
}

func truncate(s string, n int) string { return s[:min(n, len(s))] }

// ListsReferrers returns a *NotListableError if doc, which the referrers tag of d names, is no list
// of referrers. d must be valid.
func ListsReferrers(d digest.Digest, doc Document) error {
	var names string
	switch {
	case IsItself(d, doc):
		names = "it itself"
	case manifest.TypeOf(doc.Bytes, "") != imgspecv1.MediaTypeImageIndex:
		names = doc.Digest.String() + ", which is no OCI index"
	case !IsReferrersList(doc):
		names = doc.Digest.String() + ", an index of images or blobs"
	default:
		return nil
	}
	return &NotListableError{Subject: d, Tag: ReferrersTag(d), Names: names}
}

// IsItself reports whether doc has the digest d. Some registries take a referrers tag for the
// digest, and some tools tag an image with its own digest. d must be valid.
func IsItself(d digest.Digest, doc Document) bool {
	return doc.Digest == d || d.Algorithm().FromBytes(doc.Bytes) == d
}

// IsReferrersList reports whether doc may list referrers: an OCI index that has no entries for
// platforms, and none that are blobs. Those of a list of referrers have no platform, but what tools
// copy from an attestation's entry: unknown, or an artifact type with it.
func IsReferrersList(doc Document) bool {
	if manifest.TypeOf(doc.Bytes, "") != imgspecv1.MediaTypeImageIndex {
		return false
	}
	list, err := manifest.Parse(doc.Bytes, imgspecv1.MediaTypeImageIndex)
	return err != nil || !slices.ContainsFunc(list.Instances(), func(in manifest.Instance) bool {
		return in.IsBlob() || in.Platform != nil && in.Platform.OS != "" && in.Platform.OS != "unknown" && TellsNothing(in.ArtifactType)
	})
}

// emptyReferrers is an index that lists nothing.
const emptyReferrers = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`

// MergeReferrers adds to an index those of referrers that it does not list, and reports whether
// there were any. What it lists stays, byte for byte. An empty index stands for one that lists
// nothing.
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

// WithReferrers returns there, an index or the zero Document for none, with those of referrers that
// it does not list, as MergeReferrers adds them; there itself if that adds nothing, or fails.
func WithReferrers(there Document, referrers []imgspecv1.Descriptor) (Document, error) {
	merged, changed, err := MergeReferrers(there.Bytes, referrers)
	if err != nil || !changed {
		return there, err
	}
	return Document{Digest: digest.FromBytes(merged), MediaType: imgspecv1.MediaTypeImageIndex, Bytes: merged}, nil
}
