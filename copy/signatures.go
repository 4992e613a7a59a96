package copy

import (
	"context"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/copy/internal/failure"
	"github.com/sparsecopy/sparsecopy/copy/internal/known"
	"github.com/sparsecopy/sparsecopy/copy/internal/signing"
	"github.com/sparsecopy/sparsecopy/copy/internal/work"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/inflight"
)

// readImageSignatures reads the signatures of the images that are wanted, those included that are
// at the destination: they may have been signed since. What is missing at the source has none.
func readImageSignatures(ctx context.Context, e *ends, l known.Source, images []digest.Digest) (known.Signed, error) {
	if e.o.RemoveSignatures {
		return known.Signed{}, nil
	}
	e.progress.Line("Getting image source signatures")
	return e.reader().Signatures(ctx, l, images)
}

// signingFor returns which signatures a copy of l is to store where there is what was told.
func (e *ends) signingFor(l known.Source, there known.Destination) *signing.Copy {
	return &signing.Copy{
		Keys: e.keys, Carried: l.Signatures, Destination: e.dst, Budget: e.budget,
		Absent: func(d digest.Digest) bool {
			has, asked := there.Present[d]
			return asked && !has && !there.Stored[d] && d != there.Top
		},
		Config: func(owner digest.Digest, b endpoint.Blob) endpoint.Opener { return e.held(l, owner, b) },
		Noted: func(carried, made int) {
			e.progress.Line("Storing signatures")
			e.reporter.Signed(carried, made)
		},
	}
}

// vouchingFor returns signingFor for vouch. What is carried others store.
func (e *ends) vouchingFor(s survey) *signing.Copy {
	c := e.signingFor(s.source, s.there)
	c.Keys = e.kept
	c.Noted = func(_, made int) { e.reporter.Signed(0, made) }
	return c
}

// signPresent stores the signatures that what is at the destination lacks there: images and nested
// lists may have got some since they were copied.
func signPresent(ctx context.Context, to *storer) error {
	if to.plan.List == nil {
		return nil
	}
	absent := func(d digest.Digest) bool { return !to.there.Present[d] }
	lists := slices.DeleteFunc(to.plan.List.NestedLists(), absent) // others are stored again
	present := slices.DeleteFunc(to.plan.Stored(), func(d digest.Digest) bool { return absent(d) && !to.there.Stored[d] })
	present = append(present, lists...)
	return failure.Signing(to.signing.Add(ctx, present, toSign(to)))
}

// toSign returns what reads lists of the plan, and its images.
func toSign(to *storer) func(context.Context, digest.Digest) (endpoint.Document, error) {
	lists := work.Lists(to.plan)
	return func(ctx context.Context, d digest.Digest) (doc endpoint.Document, err error) {
		if doc, ok := lists[d]; ok {
			return doc, nil
		}
		err = inflight.One(ctx, to.budget, func() error {
			doc, err = to.manifest(ctx, d)
			return err
		})
		if err != nil {
			err = failure.New("reading manifest", SourceSide, d.String(), err)
		}
		return doc, err
	}
}

// signAhead makes the signatures of what is to be stored while its blobs are on their way. A list
// that may be refused waits until it was not.
func signAhead(ctx context.Context, to *storer, images []work.Image) error {
	var documents []endpoint.Document
	for _, image := range images {
		documents = append(documents, image.Doc)
	}
	if to.plan.IfRefused == nil {
		documents = slices.AppendSeq(documents, maps.Values(work.Lists(to.plan)))
	}
	return failure.Signing(to.signing.Ahead(ctx, documents))
}
