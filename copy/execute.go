package copy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/sparsecopy/sparsecopy/copy/internal/access"
	"github.com/sparsecopy/sparsecopy/copy/internal/work"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/endpoint/registry"
	"github.com/sparsecopy/sparsecopy/internal/progress"
)

// execute copies what the plan names, all but the lists. It returns the images whose manifests have
// to be stored with these, because their subjects are such.
func execute(ctx context.Context, to *storer) (late map[digest.Digest]work.Image, err error) {
	images, entries, err := planned(to)
	if err != nil {
		return nil, err
	}
	images = work.SubjectsFirst(images)
	if list := to.plan.List; list != nil {
		late = work.WaitForLists(images, list.NestedLists())
		if len(entries) == 0 || len(images) > 0 {
			to.progress.Line("Copying %d images generated from %d images in list", len(images), len(list.Instances))
		}
		if len(entries) > 0 {
			to.progress.Line("Copying %d blobs that the list names", len(entries))
		}
		for i := range images {
			images[i].Begins = progress.ImageBegins{Digest: images[i].Doc.Digest, Position: i + 1, Of: len(images)}
		}
	}
	signPresent := func(ctx context.Context) error { return signPresent(ctx, to) }
	return late, copyImages(ctx, to, images, entries, signPresent)
}

// copyImages copies images, subjects first, and blobs that lists name, and does what else is to be
// done at the same time.
func copyImages(ctx context.Context, to *storer, images []work.Image, entries []endpoint.Blob, besides ...func(context.Context) error) error {
	group, groupCtx := errgroup.WithContext(ctx)
	e := &executor{storer: to, ctx: groupCtx, group: group, blobs: map[digest.Digest]*task{}, images: map[digest.Digest]*task{}}
	for _, image := range images {
		if image.Begins != nil {
			to.progress.Tell(image.Begins)
		}
		e.image(image)
	}
	for _, b := range entries {
		e.entry(b)
	}
	for _, f := range besides {
		group.Go(func() error { return f(groupCtx) })
	}
	if err := group.Wait(); err != nil {
		// An end that was interrupted says so in its own words; the caller's reason is the better
		// one.
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return err
	}
	return context.Cause(ctx)
}

// signPresent stores the signatures that images have got since they were copied.
func signPresent(ctx context.Context, to *storer) error {
	if to.plan.List == nil {
		return nil
	}
	absent := func(d digest.Digest) bool { return !to.there.present[d] }
	present := slices.DeleteFunc(slices.Concat(to.plan.Wanted(), to.plan.List.NestedLists()), absent)
	lacking, err := unsigned(ctx, to.ends, to.source, present)
	if err != nil {
		return err
	}
	for _, d := range lacking {
		if err := to.putSignatures(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

// planned returns what is to be copied, in the order of the plan: images, and blobs that lists
// name.
func planned(to *storer) (images []work.Image, entries []endpoint.Blob, err error) {
	sizes := work.Sizes{}
	for _, d := range to.plan.Copies {
		doc, ok := to.source.document(d)
		if !ok {
			return nil, nil, fmt.Errorf("manifest %s was not read", d)
		}
		image, err := to.imageCopy(doc)
		if err != nil {
			return nil, nil, err
		}
		if err := sizes.Add(image.Blobs); err != nil {
			return nil, nil, &Error{"reading manifest", SourceSide, d.String(), err}
		}
		image.Later = to.plan.Image != nil
		images = append(images, image)
	}
	if err := sizes.AddEntries(to.plan); err != nil {
		return nil, nil, &Error{"reading list", SourceSide, to.plan.List.Digest.String(), err}
	}
	return images, work.Entries(to.plan), nil
}

// imageCopy returns what it takes to copy one image.
func (s *storer) imageCopy(doc endpoint.Document) (work.Image, error) {
	image, err := s.source.image(doc)
	if err != nil {
		return work.Image{}, &Error{"parsing manifest", SourceSide, doc.Digest.String(), err}
	}
	if image == nil { // a plan that wants one is upstream's
		return work.Image{}, &Error{"copying", SourceSide, doc.Digest.String(), errors.New("a Docker schema 1 image is not copied natively")}
	}
	return work.Image{
		Doc: doc, Subject: image.Subject, Blobs: work.Blobs(image, access.Transports[s.to].Foreign),
		Stored: s.there.present[doc.Digest] || s.there.stored[doc.Digest],
	}, nil
}

// An executor runs the tasks of one copy. Tasks for blobs take a slot of the budget before they
// start; whoever waits for other tasks holds none.
type executor struct {
	*storer
	ctx   context.Context // ends with the first failure
	group *errgroup.Group
	// Touched by the goroutine that starts tasks only.
	blobs  map[digest.Digest]*task
	images map[digest.Digest]*task
}

// A task is the copy of one distinct blob, or of one image.
type task struct {
	// done is closed when the task is over, failed or not. If it failed, the executor's context is
	// cancelled, or about to be.
	done chan struct{}
	// Valid once done is closed.
	err    error
	reused bool // the destination had the blob
}

// image starts the tasks that copy one image: one for each of its blobs that no image before it
// has, and one for its manifest, which comes after its subject if that was started before. It
// blocks while the budget is used up.
func (e *executor) image(image work.Image) {
	started := time.Now()
	needs := make([]*task, len(image.Blobs))
	for i, b := range image.Blobs {
		needs[i] = e.blob(b, image.Doc.Digest)
	}
	if subject := e.images[image.Subject]; subject != nil && !image.Stored {
		needs = append(needs, subject)
	}
	t := &task{done: make(chan struct{})}
	e.images[image.Doc.Digest] = t
	e.group.Go(func() error {
		defer close(t.done)
		if t.err = e.await(needs); t.err != nil {
			return t.err
		}
		if !image.Later && !image.Stored {
			if t.err = e.putImage(e.ctx, image.Doc); t.err != nil {
				return t.err
			}
		}
		e.reporter.Copied(image.Doc.Digest, time.Since(started), image.Stored)
		return nil
	})
}

// blob returns the task that copies b, started for the image with digest owner if there was none.
func (e *executor) blob(b endpoint.Blob, owner digest.Digest) *task {
	if t, ok := e.blobs[b.Digest]; ok {
		return t
	}
	t := &task{done: make(chan struct{})}
	e.blobs[b.Digest] = t
	weight := e.o.weight(b)
	if err := e.budget.Acquire(e.ctx, weight); err != nil {
		t.err = err
		close(t.done)
		return t
	}
	e.group.Go(func() error {
		defer close(t.done)
		if t.err = e.letOthersFinish(b, weight); t.err != nil {
			return t.err
		}
		defer e.budget.Release(weight)
		t.reused, t.err = e.copyBlob(b, owner)
		return t.err
	})
	return t
}

// letOthersFinish waits while another copy brings b to the destination's registry. It gives the
// slot that it is called with to others meanwhile, and comes back with one, or with an error and
// none.
func (e *executor) letOthersFinish(b endpoint.Blob, weight int64) error {
	dst, ok := e.dst.(*registry.Destination)
	for ok {
		other := dst.OnItsWay(b)
		if other == nil {
			return nil
		}
		e.budget.Release(weight)
		select {
		case <-other:
		case <-e.ctx.Done():
			return context.Cause(e.ctx)
		}
		if err := e.budget.Acquire(e.ctx, weight); err != nil {
			return err
		}
	}
	return nil
}

// copyBlob copies b, and reports whether the destination had it.
func (e *executor) copyBlob(b endpoint.Blob, owner digest.Digest) (reused bool, err error) {
	bp := e.progress.Blob(e.ctx, b)
	result, err := e.dst.PutBlob(e.ctx, b, e.opener(e.source, owner, b, bp))
	if err != nil {
		bp.End(progress.Failed)
		return false, blobError(b, err)
	}
	outcome := progress.Copied
	if result.Reused {
		outcome = progress.Reused
	}
	bp.End(outcome)
	e.reporter.Blob(b, owner, result.Reused)
	return result.Reused, nil
}

// blobError blames the side that failed: the source if its reader did, the destination otherwise.
func blobError(b endpoint.Blob, err error) error {
	var source *Error
	if errors.As(err, &source) && source.Side != DestinationSide {
		return source
	}
	return &Error{"writing blob", DestinationSide, b.Digest.String(), err}
}

// await waits for tasks. It holds no slot of the budget.
func (e *executor) await(tasks []*task) error {
	for _, t := range tasks {
		select {
		case <-t.done:
			if t.err != nil {
				return t.err
			}
		case <-e.ctx.Done():
			return context.Cause(e.ctx)
		}
	}
	return nil
}
