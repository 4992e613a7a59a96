package copy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/copy/internal/access"
	"github.com/sparsecopy/sparsecopy/copy/internal/failure"
	"github.com/sparsecopy/sparsecopy/copy/internal/known"
	"github.com/sparsecopy/sparsecopy/copy/internal/originals"
	"github.com/sparsecopy/sparsecopy/copy/plan"
)

// PlanInput is all that a plan depends on. Maps and slices are not modified. That documents match
// their digests is assumed, not checked.
type PlanInput struct {
	// Source and Destination are names for people.
	Source, Destination string

	// Top is what the source reference names, and Digest its digest; "" means that of Top, or, if
	// that has none, the SHA-256 of its bytes.
	Top    Document
	Digest digest.Digest
	// Documents are the nested lists and manifests that have been read, by digest. Every nested
	// list must be here or in Missing. Manifests may be left out: then their blobs are not counted,
	// and attestations whose entries have no annotations are not known as such.
	Documents map[digest.Digest]Document
	// Missing are the instances that the source definitely does not have.
	Missing map[digest.Digest]bool
	// Present are the manifests that are known to be at the destination, with everything that they
	// name.
	Present map[digest.Digest]bool
	// PresentBlobs are the blobs that lists name in the place of manifests and that are known to
	// be at the destination, MissingBlobs those that the source definitely does not have. Nil for
	// none.
	PresentBlobs, MissingBlobs map[digest.Digest]bool
	// Stored are manifests and lists that are known to be at the destination, beside Present,
	// whatever they lack there. Nil for none.
	Stored map[digest.Digest]bool
	// PresenceUnknown are manifests of which the destination did not tell whether it has them: no
	// plan is made as if they were absent there, nor as if they were not. Nil for none.
	PresenceUnknown map[digest.Digest]bool
	// Platform is what the config of a single image says. It is needed if Options filter or require
	// platforms; not for an artifact, nor to filter under CopySingleImage.
	Platform *imgspecv1.Platform
	// Attachments are the referrers and digest tags that are known, of whatever subjects, and
	// theirs in turn.
	Attachments []Attachment
	// SignedLists are the numbers of signatures that the lists of the tree have at the source.
	SignedLists map[digest.Digest]int
	// ListSignatures are the signatures that are known to be attached to lists of the tree, beside
	// SignedLists.
	ListSignatures map[digest.Digest]ListSignatures
	// OriginalSignatures are all signatures that the source has of Top, those included that
	// SignedLists and ListSignatures count, and OriginalClaim the name of its repository without a
	// tag, "" for none. They matter with Options.AttachOriginal.
	OriginalSignatures []OriginalSignature
	OriginalClaim      string
	// SignaturesUnknown are the lists and images of which the source does not tell whether they are
	// signed. Nil for none.
	SignaturesUnknown map[digest.Digest]bool
	// DestinationDigest is the digest in the destination reference, "" if it has none.
	DestinationDigest digest.Digest
	// DestinationTop is what the destination reference names, "" if nothing, or if that is not
	// known. Under Auto, a list that was stripped stays so.
	DestinationTop digest.Digest
	// Sparse is what is known about the destination's view of sparse lists.
	Sparse SparseSupport
	// System is the instance that CopySystemImage copies.
	System digest.Digest

	// Options are those of the copy; nil means the defaults.
	Options *Options
}

// NewPlan decides what a copy will do, natively. It does no I/O, and the same input gives the same
// plan, whatever the order of selectors.
//
// Errors are those of the documents (*manifest.ParseError, *LimitError, *UnreadError) and of the
// decisions: *OptionsError, *RequiredError, *NoMatchError, *MissingError, *EmptyError,
// *CannotModifyError, *SparseRefusedError, *WidenError; the first of these that applies, in this
// order.
//
// Programs that make plans and do not copy link less if they call plan.New themselves.
func NewPlan(in PlanInput) (*Plan, error) {
	if in.Options == nil {
		in.Options = &Options{}
	}
	if err := in.Options.validate(); err != nil {
		return nil, err
	}
	return plan.New(plan.Input{
		Source: in.Source, Destination: in.Destination,
		Top: in.Top, Digest: in.Digest, Documents: in.Documents,
		Missing: in.Missing, MissingBlobs: in.MissingBlobs, Present: in.Present, PresentBlobs: in.PresentBlobs, Stored: in.Stored, PresenceUnknown: in.PresenceUnknown, Platform: in.Platform,
		Attachments: in.Attachments, SignedLists: in.SignedLists, ListSignatures: in.ListSignatures, SignaturesUnknown: in.SignaturesUnknown,
		OriginalSignatures: in.OriginalSignatures, OriginalClaim: in.OriginalClaim,
		DestinationDigest: in.DestinationDigest, DestinationTop: in.DestinationTop, Sparse: in.Sparse, System: in.System,
		Choices: in.Options.choices(),
	})
}

// input is all that a plan of what is known depends on.
func (c *call) input(source known.Source, there known.Destination) plan.Input {
	top, _ := source.Tree.Document(source.Top.Digest)
	way := wayFacts(&c.o, c.from, c.to)
	way.Signed, way.Rejected = source.Signed, there.Rejected
	if c.o.AnnotateTransformed {
		way.Transformations = c.memory.Transformations()
	}
	return plan.Input{
		Source: c.srcName, Destination: c.dstName,
		Top: top, Digest: source.Top.Digest, Tree: source.Tree,
		Missing: known.Keys(source.Missing), MissingBlobs: source.MissingBlobs, PresentBlobs: there.Blobs, Platform: source.Platform, System: source.System,
		Attachments: source.Attachments, Changed: source.Changed, SignedLists: source.SignedLists,
		ListSignatures: source.ListSignatures, SignaturesUnknown: source.Unknown,
		OriginalSignatures: source.OriginalSignatures, OriginalClaim: access.RepositoryOf(c.srcRef),
		Present: there.Present, Stored: there.Stored, PresenceUnknown: known.Keys(there.Untold),
		DestinationDigest: c.fixedDigest(source), DestinationTop: there.Top, Sparse: there.Sparse,
		Transformed: there.Transformed, Recalled: there.Recalled, Way: way,
		Choices: c.choices,
	}
}

// fixedDigest returns the digest that the destination's reference names, so that nothing else can
// be written; "" if it names none. Local stores file a system image under the digest of the list
// that it comes from.
func (c *call) fixedDigest(source known.Source) digest.Digest {
	in := plan.Input{DestinationDigest: access.DigestOf(c.destRef)}
	if source.System != "" && !access.Transports[c.to].Destination && in.CheckDestination(source.Top.Digest, source.Top.Bytes) == nil {
		return ""
	}
	return in.DestinationDigest
}

// replanned returns s with the plan that follows from it, which is the report's from now on.
func (c *call) replanned(s survey) (survey, error) {
	p, err := c.newPlan(s)
	if missing, ok := errors.AsType[*MissingError](err); ok && len(missing.Missing) > 0 {
		missing.Err = s.source.Missing[missing.Missing[0].Digest]
	}
	if err != nil {
		return s, err
	}
	return c.planned(s, p.WithWarnings(s.warnings)), nil
}

// newPlan returns the plan that follows from s. As long as nobody has read the signatures of a list
// whose original is to be attached, it is made as if all of them traveled along.
func (c *call) newPlan(s survey) (*Plan, error) {
	if top := s.source.Top.Digest; c.o.AttachOriginal && !s.source.OriginalAsked && s.source.SignedLists[top] > 0 {
		in := c.input(s.source, s.there)
		in.SignedLists = maps.Clone(in.SignedLists)
		delete(in.SignedLists, top)
		if p, err := plan.New(in); err != nil || originals.Wanted(p) {
			return p, err
		}
	}
	return plan.New(c.input(s.source, s.there))
}

// withTransformed returns s with results of transformations that are at the destination.
func (c *call) withTransformed(s survey, results map[plan.TransformKey]Document) (survey, error) {
	if len(results) == 0 {
		return s, nil
	}
	s.there = s.there.WithTransformed(results)
	return c.replanned(s)
}

// planned returns s with the plan p, which is the report's from now on.
func (c *call) planned(s survey, p *Plan) survey {
	s.plan = p
	c.reporter.Planned(p)
	return s
}

// checkPlan refuses destinations that hold images as they are, if any of the plan would change.
func checkPlan(_ context.Context, e *ends, s survey) (survey, error) {
	reason := s.plan.WayReason
	for _, t := range s.plan.Transforms() {
		reason = cmp.Or(reason, t.Digest.String()+" "+t.Reason)
	}
	if reason == "" || !access.Transports[e.to].Native {
		return s, nil
	}
	err := failure.New("copying to", DestinationSide, e.dstName, fmt.Errorf("it holds images as they are: %s", reason))
	return e.planned(s, nil), err // nobody can carry it out
}
