package copy

import (
	"context"

	"github.com/sirupsen/logrus"

	"github.com/sparsecopy/sparsecopy/copy/internal/access"
	"github.com/sparsecopy/sparsecopy/copy/internal/failure"
	"github.com/sparsecopy/sparsecopy/copy/internal/refusals"
	"github.com/sparsecopy/sparsecopy/copy/internal/reporting"
	"github.com/sparsecopy/sparsecopy/copy/internal/transforming"
	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/internal/clock"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/progress"
)

// transform makes other images of those that the plan transforms, many at the same time, and
// returns what became of them. At the destination, that is there by its digest then; but a single
// image may be there without its manifest.
func transform(ctx context.Context, to *storer) (map[plan.TransformKey]Document, error) {
	transformer := transforming.New(to.copier.transforms, to.budget, to.o.weight)
	return transforming.All(ctx, to.plan.Transforms(), func(ctx context.Context, i int, wanted plan.Transform) (Document, error) {
		if to.plan.List != nil {
			to.progress.Tell(progress.ImageBegins{Digest: wanted.Digest, Position: len(to.plan.Copies) + i + 1, Of: imagesOf(to.plan)})
		}
		return transformOne(ctx, to, transformer, wanted)
	})
}

// imagesOf is the number of images that a plan copies, those included that are transformed.
func imagesOf(p *Plan) int { return len(p.Copies) + len(p.Transforms()) }

// transformOne makes another image of one, and reports that.
func transformOne(ctx context.Context, to *storer, by *transforming.Transformer, wanted plan.Transform) (Document, error) {
	started := to.copier.clock().Now()
	doc, err := to.reader().Manifest(ctx, to.source, wanted.Digest)
	if err != nil {
		return doc, failure.New("reading manifest", SourceSide, wanted.Digest.String(), err)
	}
	owner := doc.Digest
	if wanted.Format != "" {
		owner = "" // a variant is none of the source's instances
	}
	options := upstreamOptions(&to.o, &Plan{})
	transforming.ForVariant(options, wanted.Format)
	result, err := by.Transform(ctx, transforming.Image{
		Document: doc, Source: to.srcRef,
		Begin: func(b endpoint.Blob) transforming.Transfer {
			bp := to.progress.Blob(ctx, b)
			return &reporting.Transfer{Report: to.reporter, Owner: owner, Shown: bp, From: to.opener(to.source, doc.Digest, b, bp)}
		},
		Destination: &transforming.ByDigest{
			Destination: to.dst, IsTop: to.plan.Image != nil, Keep: to.signing.Keep,
			Storing: func() { to.progress.Line("Writing manifest to image destination") },
			Stored:  func() { to.reporter.Update(func(r *Report) { r.ManifestsCopied++ }) },
		},
		Wants: access.Wanted(to.to, to.o.DestinationCtx),
	}, options)
	if err != nil {
		return doc, failure.Transforming(wanted, err)
	}
	for _, b := range result.Copied {
		to.reporter.TransformedBlob(b, owner, false)
	}
	for _, b := range result.Reused {
		to.reporter.TransformedBlob(b, owner, true)
	}
	if to.plan.List != nil {
		err = to.putSignatures(ctx, result.Document)
	}
	if err == nil {
		to.reporter.Copied(owner, clock.Since(to.copier.clock(), started), false)
	}
	return result.Document, err
}

// converted returns s with a plan by which what the destination refuses for its media type is
// converted, after a copy that ended with err; ok is false if that is not the reason, or if nothing
// may be converted.
func converted(ctx context.Context, e *ends, s survey, err error) (out survey, ok bool) {
	mediaType, ok := refusals.ForType(err, s.plan, s.there.Rejected)
	if !ok {
		return s, false
	}
	out = s
	out.there = s.there.WithRejected(mediaType)
	out, planErr := e.replanned(out)
	if planErr == nil {
		out, planErr = checkPlan(ctx, e, out)
	}
	if planErr != nil {
		logrus.Debugf("What the destination refuses is not converted: %v", planErr)
		return e.planned(s, s.plan), false
	}
	e.progress.Line("The destination refuses %s: converting", mediaType)
	return out, true
}
