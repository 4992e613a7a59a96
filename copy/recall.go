package copy

import (
	"context"
	"fmt"

	"github.com/sparsecopy/sparsecopy/copy/internal/known"
	"github.com/sparsecopy/sparsecopy/copy/internal/remembered"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// recall finds out what became of images in earlier copies, as far as the destination has it: they
// are neither read nor transformed again, if the policy allows them.
func recall(ctx context.Context, e *ends, s survey) (survey, error) {
	if !s.there.Asked {
		return s, nil
	}
	at := remembered.Destination{Destination: e.dst, Budget: e.budget, Blobs: e.o.CheckBlobs}
	if e.o.AnnotateTransformed && e.keys == nil { // whoever may write there must not get signed what he has put into the list
		at.List = s.there.Top
	}
	found, err := e.memory.Recall(ctx, at, s.plan)
	if err != nil || len(found.There()) == 0 {
		return s, err
	}
	s.there = s.there.WithPresent(endpoint.Answers{Has: found.There()}).WithTransformed(found.Results)
	s.there.Recalled = found.Images
	if s.source, err = e.reader().With(s.source, known.Fetched{Documents: found.Carried}); err != nil {
		return s, err
	}
	return e.replanned(s)
}

// sayCold warns of work that an earlier copy may have done, and of which nothing is remembered.
func sayCold(_ context.Context, e *ends, s survey) (survey, error) {
	if n := len(s.plan.Transforms()); n > 0 && s.there.Top != "" && !e.memory.Knows() {
		e.reporter.Warn(fmt.Sprintf("images are transformed (%d), which an earlier copy may have done already: nothing is remembered of one like this in %s", n, e.memory))
	}
	return s, nil
}

// remember notes what became of images, which the destination has by now. A copy does without.
func remember(ctx context.Context, e *ends, s survey) {
	if !mayCompare(e.call) {
		return
	}
	done := remembered.Noted{Plan: s.plan, Results: s.there.Transformed, Source: s.source.Document, Recalled: s.there.Recalled, Carried: mayChange(e.call)}
	if err := e.memory.Note(ctx, done); err != nil {
		e.reporter.Warn(fmt.Sprintf("what images became is not remembered, and the next copy transforms them again: %v", err))
	}
}
