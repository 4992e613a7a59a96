package copy

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"

	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// A job is a copy whose ends are known, while it is found out what is attached, and while it executes.
type job struct {
	*ends
	source loaded
	there  compared

	compare bool
	settled bool
	in      plan.Input
	plan    *Plan
	// late are the images whose manifests are stored with the lists, because their subjects are such.
	late map[digest.Digest]imageCopy
	// unnamed is set once what the destination's reference is to name has been stored by its digest only.
	unnamed *endpoint.Document

	mu          sync.Mutex // guards what follows
	misdeclared bool
	untold      map[digest.Digest]error
	signatures  map[digest.Digest]endpoint.Signatures
	carried     map[digest.Digest]map[string]bool
	reused      map[digest.Digest]bool // blobs that the destination said it had
	// unlistable are what is copied whose referrers cannot be listed at the destination, which was said.
	unlistable map[digest.Digest]bool
}

func newJob(e *ends, s survey) *job {
	j := &job{
		ends: e, source: s.source, there: s.there, compare: s.there.asked, settled: s.settled, plan: s.plan, in: e.input(s.source, s.there),
		misdeclared: s.source.misdeclared, untold: map[digest.Digest]error{}, signatures: maps.Clone(s.source.signatures),
		reused: map[digest.Digest]bool{}, unlistable: e.unlistable,
	}
	j.in.Present = merged(map[digest.Digest]bool{"": false}, j.in.Present)
	j.in.Documents = map[digest.Digest]Document{}
	j.in.Attachments = slices.Clone(j.in.Attachments)
	return j
}

func (j *job) setPlan(p *Plan) {
	j.plan = p
	j.reporter.planned(p)
}

// loadAttachments finds what is attached to what the plan copies.
func loadAttachments(ctx context.Context, e *ends, s survey) (survey, error) {
	j := newJob(e, s)
	if err := j.loadAttachments(ctx); err != nil {
		return s, err
	}
	var err error
	if s.source.tree, err = s.source.tree.With(j.in.Documents); err != nil {
		return s, err
	}
	s.source.misdeclared = j.misdeclared
	s.source.attachments = j.in.Attachments
	s.source.carried = j.carried
	s.source.signatures = s.source.notCarried(s.source.signatures)
	s.there.present = j.in.Present
	s.there.untold = merged(s.there.untold, j.untold)
	s.plan = j.plan
	return s, nil
}

// findListSignatures finds what signs the lists that would change.
func findListSignatures(ctx context.Context, e *ends, s survey) (map[digest.Digest]ListSignatures, error) {
	j := newJob(e, s)
	err := j.findListSignatures(ctx)
	return j.in.ListSignatures, err
}

func (j *job) hold(doc endpoint.Document) Document {
	j.misdeclared = j.misdeclared || misdeclared(doc)
	return held(doc)
}

func (j *job) replan() error {
	if err := j.in.Parse(); err != nil {
		return err
	}
	p, err := plan.New(j.in)
	if err != nil {
		return err
	}
	j.setPlan(p)
	return nil
}

func (j *job) askPresent(ctx context.Context, digests []digest.Digest, present map[digest.Digest]bool) error {
	there, err := ask(ctx, j.ends, digests)
	if err != nil {
		return err
	}
	maps.Copy(present, there.has)
	maps.Copy(j.untold, there.untold)
	j.in.PresenceUnknown = merged(j.in.PresenceUnknown, keys(there.untold))
	return nil
}

// document returns what was read for d.
func (j *job) document(d digest.Digest) (Document, error) {
	if doc, ok := j.in.Tree.Document(d); ok {
		return doc, nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	doc, ok := j.in.Documents[d]
	if !ok {
		return Document{}, fmt.Errorf("manifest %s was not read", d)
	}
	return doc, nil
}

// manifest returns the manifest with digest d, as it was read or from the source.
func (j *job) manifest(ctx context.Context, d digest.Digest) (endpoint.Document, error) {
	if doc, err := j.document(d); err == nil {
		return endpoint.Document{Digest: d, MediaType: doc.MediaType, Bytes: doc.Bytes}, nil
	}
	return j.src.Manifest(ctx, d)
}

// signaturesOf returns the signatures to carry for d, nil if there are none.
func (j *job) signaturesOf(d digest.Digest) endpoint.Signatures { return j.source.signatures[d] }

// parseImage reads the manifest of a single image. It returns nil without an error for Docker schema 1, whose blobs this package
// does not need to know: such images are copied by upstream.
func parseImage(doc Document) (*manifest.Image, error) {
	switch mt := doc.Type(); mt {
	case manifest.MediaTypeDockerSchema1, manifest.MediaTypeDockerSchema1Signed:
		return nil, nil
	default:
		return manifest.ParseImage(doc.Bytes, mt)
	}
}

// checkSignatureStore fails if there are signatures to carry and the destination stores none, before anything is copied.
func (j *job) checkSignatureStore(ctx context.Context) error {
	store, ok := j.dst.(interface{ SupportsSignatures(context.Context) error })
	if !ok || len(j.signatures) == 0 {
		return nil
	}
	if err := store.SupportsSignatures(ctx); err != nil {
		return &Error{"copying signatures to", DestinationSide, j.dstName, err}
	}
	return nil
}

// putSignatures stores the signatures of a child, if it has any.
func (j *job) putSignatures(ctx context.Context, d digest.Digest) error {
	sigs := j.signaturesOf(d)
	if sigs == nil {
		return nil
	}
	j.progress.Line("Storing signatures")
	if err := one(ctx, j.budget, func() error { return j.dst.PutSignatures(ctx, d, sigs) }); err != nil {
		return &Error{"writing signatures of", DestinationSide, d.String(), err}
	}
	logrus.Debugf("stored %d signatures of %s", sigs.Len(), d)
	j.reporter.update(func(r *Report) { r.SignaturesCopied += sigs.Len() })
	return nil
}
