package copy

import (
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/copy/internal/attached"
	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/internal/attach"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// A survey is what is known of both ends, and the plan that follows from it. It is a value, and so
// are its parts: what they refer to does not change. A step that finds out more returns another
// one.
type survey struct {
	source loaded   // what was read from the source
	there  compared // what the destination has told
	plan   *Plan    // nil until there is one
	// settled is set if everything that the plan names is at the destination already, but perhaps
	// for what is attached: nothing else is executed or written.
	settled bool
	// unasked is set if nobody has looked for signatures of lists that turned out to change.
	unasked bool
	// warnings are those of the steps up to the plan, which every plan after them has, too.
	warnings []string
}

// loaded is what was read from the source.
type loaded struct {
	top   endpoint.Document // what the source's reference names
	tree  *plan.Tree        // everything that was read, as parsed
	bytes int64             // of the manifests that were fetched
	// misdeclared is set if the source declares a document that was read to be something else than
	// it is.
	misdeclared bool
	missing     map[digest.Digest]error // what the source definitely does not have, and how it said so
	// missingBlobs are those that lists name and that the source definitely does not have, as far
	// as that was asked.
	missingBlobs map[digest.Digest]bool

	platform *imgspecv1.Platform // that the config of a single image states, nil if it was not read
	system   digest.Digest       // the instance that suits the running system; "" if that is not asked for

	signedLists map[digest.Digest]int // how many signatures the lists of the tree have
	// signatures are those to be carried as such: not those in carried.
	signatures     map[digest.Digest]endpoint.Signatures
	signed         map[digest.Digest]bool // what has signatures, those included that are carried otherwise
	unknown        map[digest.Digest]bool // of what the source does not tell whether it is signed
	listSignatures map[digest.Digest]ListSignatures

	attachments []Attachment
	referrers   map[digest.Digest]bool // the manifests that are Options.ReferrersFrom's
	changed     []digest.Digest        // what lists of the tree were before an earlier copy, see endpoint.Changer
	carried     attach.Carried         // the signatures that travel as what digest tags name

	judged map[digest.Digest]bool // the images that the policy allows
}

// document returns what was read for d, and whether it was.
func (l loaded) document(d digest.Digest) (endpoint.Document, bool) {
	return l.tree.Document(d)
}

// isList reports whether d was read and is a list.
func (l loaded) isList(d digest.Digest) bool {
	doc, ok := l.tree.Document(d)
	return ok && doc.IsList()
}

// image returns the manifest of an image as parsed, which may be one that l does not have. It is
// nil for Docker schema 1.
func (l loaded) image(doc endpoint.Document) (*manifest.Image, error) {
	if _, ok := l.tree.Document(doc.Digest); ok {
		return l.tree.Image(doc.Digest)
	}
	other, err := plan.ParseTree(doc, doc.Digest, nil)
	if err != nil {
		return nil, err
	}
	return other.Image(doc.Digest)
}

// withFetched returns l with what was fetched. Manifests that cannot be parsed are an error.
func (l loaded) withFetched(e *ends, f fetched) (loaded, error) {
	tree, err := l.tree.With(f.documents)
	if err != nil {
		return l, &Error{"reading", SourceSide, e.srcName, err}
	}
	for _, d := range slices.Sorted(maps.Keys(f.documents)) {
		if f.documents[d].IsList() { // with what is wrong about it, it would not be in the tree
			continue
		}
		if _, err := tree.Image(d); err != nil {
			return l, &Error{"parsing manifest", SourceSide, d.String(), err}
		}
	}
	l.tree, l.bytes, l.misdeclared = tree, l.bytes+f.bytes, l.misdeclared || f.misdeclared
	l.missing = merged(l.missing, f.missing)
	return l, nil
}

// withSignatures returns l with signatures that were read.
func (l loaded) withSignatures(read signed) loaded {
	l.signatures = l.carried.Without(merged(l.signatures, read.signatures))
	l.signed = merged(l.signed, keys(read.signatures))
	l.unknown = merged(l.unknown, read.unknown)
	return l
}

// withAttachments returns l with what was found attached.
func (l loaded) withAttachments(found attach.Found) (loaded, error) {
	documents := map[digest.Digest]Document{}
	for _, doc := range found.Documents {
		documents[doc.Digest] = doc
		l.misdeclared = l.misdeclared || endpoint.IsMisdeclared(doc)
	}
	l.attachments = make([]Attachment, len(found.Attachments))
	for i, a := range found.Attachments {
		l.attachments[i] = attached.Plannable(a)
	}
	elsewhere := map[digest.Digest]bool{}
	for _, d := range found.Elsewhere {
		elsewhere[d] = true
	}
	l.referrers = merged(l.referrers, elsewhere)
	var err error
	l.tree, err = l.tree.With(documents)
	return l, err
}

// compared is what the destination has told.
type compared struct {
	asked bool // it is asked at all; without that, nothing is known
	// top is what its reference named when the copy began; "" if nothing, or if it did not tell,
	// which topKnown says.
	top      digest.Digest
	topKnown bool
	// present says of manifests whether they are there with everything that they name, stored
	// whether they are, whatever they lack: that is so under CheckBlobs, and of the list that the
	// reference is to name. What is in neither was not asked for, or untold.
	present, stored map[digest.Digest]bool
	untold          map[digest.Digest]error // of what it did not tell whether it has it, and why
	// rejected are media types that it has refused.
	rejected []string
	// transformed are the results of transformations that are there.
	transformed map[plan.TransformKey]Document
	recalled    map[digest.Digest]plan.Recalled // images of which that is known from earlier copies
	blobs       map[digest.Digest]bool          // of blobs that lists name, whether they are there; what is in it was asked for
	// support is what it says of sparse lists, nil until it was asked; supportErr is why that is
	// not known, nil if it is.
	support    *SparseSupport
	supportErr error
	// sparse is as much of support as a plan may be made of: none, until everything was asked for
	// that such a plan depends on.
	sparse SparseSupport
}

// withPresent returns c with answers to whether manifests are there with everything that they name.
func (c compared) withPresent(a endpoint.Answers) compared {
	c.present = merged(c.present, a.Has)
	c.untold = merged(c.untold, a.Untold)
	return c
}

// withStored returns c with answers to whether manifests are there, whatever they lack.
func (c compared) withStored(a endpoint.Answers) compared {
	c.stored = merged(c.stored, a.Has)
	c.untold = merged(c.untold, a.Untold)
	return c
}

// withRejected returns c with a media type that the destination has refused. Who does not know
// images of a format does not know its lists.
func (c compared) withRejected(mediaType string) compared {
	c.rejected = append(slices.Clone(c.rejected), mediaType)
	switch mediaType {
	case imgspecv1.MediaTypeImageManifest:
		c.rejected = append(c.rejected, imgspecv1.MediaTypeImageIndex)
	case manifest.MediaTypeDockerManifest:
		c.rejected = append(c.rejected, manifest.MediaTypeDockerList)
	}
	return c
}

// withTransformed returns c with results of transformations that are there.
func (c compared) withTransformed(results map[plan.TransformKey]Document) compared {
	c.transformed = merged(c.transformed, results)
	return c
}

// result returns the result of a transformation that has the digest d, and whether there is one.
func (c compared) result(d digest.Digest) (Document, bool) {
	for _, doc := range c.transformed {
		if doc.Digest == d {
			return doc, true
		}
	}
	return Document{}, false
}

// withSupport returns c with what the destination says of sparse lists, and why that is not known.
func (c compared) withSupport(support SparseSupport, err error) compared {
	c.support, c.supportErr = &support, err
	return c
}

// merged returns a map with what a and b have, and b's in what both have.
func merged[K comparable, V any](a, b map[K]V) map[K]V {
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

// keys returns the keys of m as a set.
func keys[K comparable, V any](m map[K]V) map[K]bool {
	set := make(map[K]bool, len(m))
	for k := range m {
		set[k] = true
	}
	return set
}
