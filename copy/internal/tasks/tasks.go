// Package tasks runs the copy of images and blobs: each distinct one once, many at the same time,
// and a manifest when its blobs and its subject are there.
package tasks

import (
	"context"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/copy/internal/work"
	"github.com/sparsecopy/sparsecopy/internal/clock"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/progress"
)

// A Run is what tasks are carried out with. Its functions may be called concurrently.
type Run struct {
	Clock  clock.Clock // tells how long something took
	Budget *semaphore.Weighted
	Weigh  func(endpoint.Blob) int64 // what a blob counts for in Budget

	// CopyBlob copies a blob for the image, or the list, with digest owner, and reports whether the
	// destination had it. It is called with a slot of the budget, and may take more, as Spare says.
	CopyBlob func(ctx context.Context, b endpoint.Blob, owner digest.Digest) (reused bool, err error)
	// PutImage stores the manifest of an image. It is called without a slot.
	PutImage func(ctx context.Context, doc endpoint.Document) error
	// OnItsWay returns what is closed when another copy has brought a blob to the destination's
	// registry; nil if none is about to. Nil stands for a function that returns nil.
	OnItsWay func(endpoint.Blob) <-chan struct{}

	Begins func(progress.Event) // is told that an image begins
	// Copied is told that an image or a blob has been copied, how long that took, and whether the
	// destination had it.
	Copied func(d digest.Digest, elapsed time.Duration, there bool)
}

// Copy copies images, subjects first, and blobs that lists name, and does what else is to be done
// at the same time. What fails ends the rest.
func (r *Run) Copy(ctx context.Context, images []work.Image, entries []endpoint.Blob, besides ...func(context.Context) error) error {
	endable, end := context.WithCancelCause(ctx)
	defer end(nil)
	group, groupCtx := errgroup.WithContext(endable)
	e := &executor{Run: r, ctx: groupCtx, end: end, group: group, blobs: map[digest.Digest]*task{}, images: map[digest.Digest]*task{}}
	for _, f := range besides {
		group.Go(func() error { return f(groupCtx) })
	}
	for _, image := range images {
		if image.Begins != nil {
			r.Begins(image.Begins)
		}
		e.image(image)
	}
	for _, b := range entries {
		e.entry(b)
	}
	if group.Wait() != nil {
		// An end that was interrupted says so in its own words; the caller's reason is the better
		// one.
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return context.Cause(groupCtx) // the first failure: what group has may be of its making
	}
	return context.Cause(ctx)
}

// An executor runs the tasks of one copy. Tasks for blobs take a slot of the budget before they
// start; whoever waits for other tasks holds none.
type executor struct {
	*Run
	ctx   context.Context // ends with the first failure
	end   context.CancelCauseFunc
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
	started := e.Clock.Now()
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
			if t.err = e.PutImage(e.ctx, image.Doc); t.err != nil {
				return t.err
			}
		}
		e.Copied(image.Doc.Digest, clock.Since(e.Clock, started), image.Stored)
		return nil
	})
}

// entry starts the task that copies a blob which a list names, unless an image has it, too.
func (e *executor) entry(b endpoint.Blob) {
	started := e.Clock.Now()
	t := e.blob(b, b.Digest)
	e.group.Go(func() error {
		if err := e.await([]*task{t}); err != nil {
			return err
		}
		e.Copied(b.Digest, clock.Since(e.Clock, started), t.reused)
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
	weight := e.Weigh(b)
	if err := e.Budget.Acquire(e.ctx, weight); err != nil {
		t.err = err
		close(t.done)
		return t
	}
	e.group.Go(func() error {
		defer close(t.done)
		if t.err = e.letOthersFinish(b, weight); t.err != nil {
			return t.err
		}
		defer e.Budget.Release(weight)
		t.reused, t.err = e.CopyBlob(endpoint.WithSpare(e.ctx, e.Budget, weight), b, owner)
		if t.err != nil {
			e.end(t.err) // before the slot is free, so that nothing else begins with it
		}
		return t.err
	})
	return t
}

// letOthersFinish waits while another copy brings b to the destination's registry. It gives the
// slot that it is called with to others meanwhile, and comes back with one, or with an error and
// none.
func (e *executor) letOthersFinish(b endpoint.Blob, weight int64) error {
	for e.OnItsWay != nil {
		other := e.OnItsWay(b)
		if other == nil {
			return nil
		}
		e.Budget.Release(weight)
		select {
		case <-other:
		case <-e.ctx.Done():
			return context.Cause(e.ctx)
		}
		if err := e.Budget.Acquire(e.ctx, weight); err != nil {
			return err
		}
	}
	return nil
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
