package copy

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/copy/internal/tasks"
	"github.com/sparsecopy/sparsecopy/copy/internal/work"
	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/endpoint/registry"
	"github.com/sparsecopy/sparsecopy/internal/progress"
)

// executed is what execute leaves to write.
type executed struct {
	// late are images whose manifests have to be stored with the lists, because their subjects are
	// such.
	late map[digest.Digest]work.Image
	// survey is what is known then, but for what became of the images that were transformed.
	survey      survey
	transformed map[plan.TransformKey]Document
}

// execute copies what the plan names, all but the lists. Images that are transformed begin when the
// others have, and take nothing of the budget before these.
func execute(ctx context.Context, to *storer) (done executed, err error) {
	images, entries, err := to.work().Planned(to.plan)
	if err != nil {
		return done, err
	}
	images = work.SubjectsFirst(images)
	if list := to.plan.List; list != nil {
		done.late = work.WaitForLists(images, list.NestedLists())
		if all := imagesOf(to.plan); len(entries) == 0 || all > 0 {
			to.progress.Line("Copying %d images generated from %d images in list", all, len(list.Instances))
		}
		if len(entries) > 0 {
			to.progress.Line("Copying %d blobs that the list names", len(entries))
		}
		for i := range images {
			images[i].Begins = progress.ImageBegins{Digest: images[i].Doc.Digest, Position: i + 1, Of: imagesOf(to.plan)}
		}
	}
	signPresent := func(ctx context.Context) error { return signPresent(ctx, to) }
	signAhead := func(ctx context.Context) error { return signAhead(ctx, to, images) }
	transform := func(ctx context.Context) (err error) {
		done.transformed, err = transform(ctx, to)
		return err
	}
	ask := func(ctx context.Context) (err error) {
		done.survey, err = askUnasked(ctx, to.ends, to.survey)
		return err
	}
	attach := func(ctx context.Context) error { return attachAhead(ctx, to, to.plan) }
	err = copyImages(ctx, to, images, entries, signPresent, signAhead, transform, ask, attach)
	return done, err
}

// copyImages copies images, subjects first, and blobs that lists name, and does what else is to be
// done at the same time.
func copyImages(ctx context.Context, to *storer, images []work.Image, entries []endpoint.Blob, besides ...func(context.Context) error) error {
	run := tasks.Run{
		Clock: to.copier.clock(), Budget: to.budget, Weigh: to.o.weight,
		CopyBlob: to.copyBlob, PutImage: to.putImage, Begins: to.progress.Tell, Copied: to.reporter.Copied,
	}
	if dst, ok := to.dst.(*registry.Destination); ok {
		run.OnItsWay = dst.OnItsWay
	}
	return run.Copy(ctx, images, entries, besides...)
}

// sends returns what sends blobs to the destination.
func (s *storer) sends() tasks.Sender {
	return tasks.Sender{Destination: s.dst, Progress: s.progress, Reporter: s.reporter}
}

// copyBlob copies b for the image with digest owner, and reports whether the destination had it.
func (s *storer) copyBlob(ctx context.Context, b endpoint.Blob, owner digest.Digest) (reused bool, err error) {
	return s.sends().Blob(ctx, b, owner, func(bp *progress.Blob) endpoint.Opener { return s.opener(s.source, owner, b, bp) })
}
