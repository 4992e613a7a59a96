package copy

import (
	"context"
	"fmt"
	"maps"
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
	signatures  map[digest.Digest]endpoint.Signatures
	reused      map[digest.Digest]bool // blobs that the destination said it had
}

func newJob(e *ends, s survey) *job {
	j := &job{
		ends: e, source: s.source, there: s.there, compare: s.there.asked, settled: s.settled, plan: s.plan, in: e.input(s.source, s.there),
		misdeclared: s.source.misdeclared, signatures: maps.Clone(s.source.signatures),
		reused: map[digest.Digest]bool{},
	}
	j.in.Present = merged(map[digest.Digest]bool{"": false}, j.in.Present)
	return j
}

func (j *job) setPlan(p *Plan) {
	j.plan = p
	j.reporter.planned(p)
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
