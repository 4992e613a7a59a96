package known

import (
	"slices"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/copy/internal/attached"
	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/internal/attach"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// Source is what was read from the source.
type Source struct {
	Top   endpoint.Document // what the source's reference names
	Tree  *plan.Tree        // everything that was read, as parsed
	Bytes int64             // of the manifests that were fetched
	// Misdeclared is set if the source declares a document that was read to be something else than
	// it is.
	Misdeclared bool
	Missing     map[digest.Digest]error // what the source definitely does not have, and how it said so
	// MissingBlobs are those that lists name and that the source definitely does not have, as far
	// as that was asked.
	MissingBlobs map[digest.Digest]bool

	Platform *imgspecv1.Platform // that the config of a single image states, nil if it was not read
	System   digest.Digest       // the instance that suits the running system; "" if that is not asked for

	SignedLists map[digest.Digest]int // how many signatures the lists of the tree have
	// Signatures are those to be carried as such: not those in Carried.
	Signatures     map[digest.Digest]endpoint.Signatures
	Signed         map[digest.Digest]bool // what has signatures, those included that are carried otherwise
	Unknown        map[digest.Digest]bool // of what the source does not tell whether it is signed
	ListSignatures map[digest.Digest]plan.ListSignatures

	// OriginalAsked is set if OriginalSignatures are all signatures of Top, which are not read
	// unless its original is to be attached.
	OriginalAsked      bool
	OriginalSignatures []plan.OriginalSignature

	Attachments []plan.Attachment
	Referrers   map[digest.Digest]bool // the manifests that are Options.ReferrersFrom's
	Changed     []digest.Digest        // what lists of the tree were before an earlier copy, see endpoint.Changer
	Carried     attach.Carried         // the signatures that travel as what digest tags name

	Judged map[digest.Digest]bool // the images that the policy allows
}

// Document returns what was read for d, and whether it was.
func (l Source) Document(d digest.Digest) (endpoint.Document, bool) {
	return l.Tree.Document(d)
}

// IsList reports whether d was read and is a list.
func (l Source) IsList(d digest.Digest) bool {
	doc, ok := l.Tree.Document(d)
	return ok && doc.IsList()
}

// Image returns the manifest of an image as parsed, which may be one that l does not have. It is
// nil for Docker schema 1.
func (l Source) Image(doc endpoint.Document) (*manifest.Image, error) {
	if _, ok := l.Tree.Document(doc.Digest); ok {
		return l.Tree.Image(doc.Digest)
	}
	other, err := plan.ParseTree(doc, doc.Digest, nil)
	if err != nil {
		return nil, err
	}
	return other.Image(doc.Digest)
}

// WithSignatures returns l with signatures that were read.
func (l Source) WithSignatures(read Signed) Source {
	l.Signatures = l.Carried.Without(Merged(l.Signatures, read.Signatures))
	l.Signed = Merged(l.Signed, Keys(read.Signatures))
	l.Unknown = Merged(l.Unknown, read.Unknown)
	return l
}

// WithOriginalSignatures returns l with all signatures of Top that travel along, and those that do
// not, or could not be asked for.
func (l Source) WithOriginalSignatures(signatures []plan.OriginalSignature, others plan.ListSignatures) Source {
	l.OriginalAsked, l.OriginalSignatures = true, signatures
	if others.Unknown != "" || len(others.Found) > 0 {
		l.ListSignatures = Merged(l.ListSignatures, map[digest.Digest]plan.ListSignatures{l.Top.Digest: others})
	}
	return l
}

// WithAttachments returns l with what was found attached.
func (l Source) WithAttachments(found attach.Found) (Source, error) {
	documents := map[digest.Digest]endpoint.Document{}
	for _, doc := range found.Documents {
		documents[doc.Digest] = doc
		l.Misdeclared = l.Misdeclared || endpoint.IsMisdeclared(doc)
	}
	l.Attachments = make([]plan.Attachment, len(found.Attachments))
	for i, a := range found.Attachments {
		l.Attachments[i] = attached.Plannable(a)
	}
	elsewhere := map[digest.Digest]bool{}
	for _, d := range found.Elsewhere {
		elsewhere[d] = true
	}
	l.Referrers = Merged(l.Referrers, elsewhere)
	var err error
	l.Tree, err = l.Tree.With(documents)
	return l, err
}

// WithAttached returns l for a destination that knows all attachments as what they are.
func (l Source) WithAttached() Source {
	l.Attachments = slices.Clone(l.Attachments)
	for i := range l.Attachments {
		l.Attachments[i].Present = true
	}
	return l
}

// Fetched are documents of the source that were asked for.
type Fetched struct {
	Documents   map[digest.Digest]endpoint.Document
	Missing     map[digest.Digest]error // that it definitely does not have
	Misdeclared bool                    // one of documents is
	Bytes       int64                   // of documents
}

// Signed is what a source told of the signatures of manifests and lists.
type Signed struct {
	Counts     map[digest.Digest]int
	Signatures map[digest.Digest]endpoint.Signatures // of those that have some
	Unknown    map[digest.Digest]bool                // of which it did not tell
}
