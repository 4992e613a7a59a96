package copy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sparsecopy/sparsecopy/copy/plan"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/endpoint/registry"
	"github.com/sparsecopy/sparsecopy/internal/progress"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// execute copies what the plan names, all but the lists.
func (j *job) execute(ctx context.Context) error {
	images, err := j.images()
	if err != nil {
		return err
	}
	images = subjectsFirst(images)
	if j.plan.List != nil {
		j.late = waitForLists(images, j.plan.List.NestedLists())
		j.progress.Line("Copying %d images generated from %d images in list", len(images), len(j.plan.List.Instances))
		for i := range images {
			images[i].begins = progress.ImageBegins{Digest: images[i].doc.Digest, Position: i + 1, Of: len(images)}
		}
	}
	return j.copyImages(ctx, images, j.signPresent)
}

// copyImages copies images, subjects first, and does what else is to be done at the same time.
func (j *job) copyImages(ctx context.Context, images []imageCopy, besides ...func(context.Context) error) error {
	group, groupCtx := errgroup.WithContext(ctx)
	e := &executor{job: j, ctx: groupCtx, group: group, blobs: map[digest.Digest]*task{}, images: map[digest.Digest]*task{}}
	for _, image := range images {
		if image.begins != nil {
			j.progress.Tell(image.begins)
		}
		e.image(image)
	}
	for _, f := range besides {
		group.Go(func() error { return f(groupCtx) })
	}
	if err := group.Wait(); err != nil {
		// An end that was interrupted says so in its own words; the caller's reason is the better one.
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return err
	}
	return context.Cause(ctx)
}

// signPresent stores the signatures that images have got since they were copied.
func (j *job) signPresent(ctx context.Context) error {
	var present []digest.Digest
	if j.plan.List != nil {
		present = slices.Concat(j.plan.Wanted(), j.plan.List.NestedLists())
		present = slices.DeleteFunc(present, func(d digest.Digest) bool { return !j.in.Present[d] })
	}
	lacking, err := unsigned(ctx, j.ends, j.source, present)
	if err != nil {
		return err
	}
	for _, d := range lacking {
		if err := j.putSignatures(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

// An imageCopy is an image to be copied.
type imageCopy struct {
	doc     endpoint.Document
	subject digest.Digest // that its manifest states, "" for none
	blobs   []endpoint.Blob
	begins  progress.Event // tells that it begins; nil if nothing does
	// single is set if the manifest is written later, by others: it is what the destination's reference, or a digest tag, will name, or
	// its subject is a list.
	single bool
	// there is set if the destination has the manifest, and only its blobs are checked.
	there bool
}

// images returns what is to be copied, in the order of the plan.
func (j *job) images() ([]imageCopy, error) {
	var images []imageCopy
	sizes := map[digest.Digest]int64{}
	for _, d := range j.plan.Copies {
		doc, err := j.document(d)
		if err != nil {
			return nil, err
		}
		image, err := j.imageCopy(endpoint.Document{Digest: d, MediaType: doc.MediaType, Bytes: doc.Bytes})
		if err != nil {
			return nil, err
		}
		if err := image.checkSizes(sizes); err != nil {
			return nil, err
		}
		image.single = j.plan.Image != nil
		images = append(images, image)
	}
	return images, nil
}

// imageCopy returns what it takes to copy one image.
func (j *job) imageCopy(doc endpoint.Document) (imageCopy, error) {
	parsed, err := parseImage(Document{MediaType: doc.MediaType, Bytes: doc.Bytes})
	if err != nil {
		return imageCopy{}, &Error{"parsing manifest", SourceSide, doc.Digest.String(), err}
	}
	if parsed == nil { // upstreamReason has seen to it that no wanted image is one
		return imageCopy{}, &Error{"copying", SourceSide, doc.Digest.String(), errors.New("a Docker schema 1 image is not copied natively")}
	}
	there := j.in.Present[doc.Digest] || j.there.stored[doc.Digest]
	return imageCopy{doc: doc, subject: parsed.Subject, blobs: j.blobsToCopy(parsed), there: there}, nil
}

// checkSizes holds the sizes that the image states for its blobs to those that others have stated: one of them lies, and which
// blob is copied must not depend on who comes first.
func (i imageCopy) checkSizes(sizes map[digest.Digest]int64) error {
	for _, b := range i.blobs {
		if size, ok := sizes[b.Digest]; ok && size != b.Size {
			return &Error{
				"reading manifest", SourceSide, i.doc.Digest.String(),
				fmt.Errorf("it states %d bytes for %s, and another manifest %d", b.Size, b.Digest, size),
			}
		}
		sizes[b.Digest] = b.Size
	}
	return nil
}

// blobsToCopy returns the distinct blobs of an image, the config first, but for layers that are elsewhere and stay there.
func (j *job) blobsToCopy(image *manifest.Image) []endpoint.Blob {
	foreign := transportTraits[j.to].foreign
	here := map[digest.Digest]bool{image.Config.Digest: true}
	for _, layer := range image.Layers {
		if !foreign || len(layer.URLs) == 0 {
			here[layer.Digest] = true
		}
	}
	return slices.DeleteFunc(blobsOf(image), func(b endpoint.Blob) bool { return !here[b.Digest] })
}

// An executor runs the tasks of one copy. Tasks for blobs take a slot of the budget before they start; whoever waits for
// other tasks holds none.
type executor struct {
	*job
	ctx   context.Context // ends with the first failure
	group *errgroup.Group
	// Touched by the goroutine that starts tasks only.
	blobs  map[digest.Digest]*task
	images map[digest.Digest]*task
}

// A task is the copy of one distinct blob, or of one image.
type task struct {
	done chan struct{} // closed at the end, also of a failed task: then the executor's context has ended, or will
	err  error         // valid once done is closed
}

// image starts the tasks that copy one image: one for each of its blobs that no image before it has, and one for its manifest, which
// comes after its subject if that was started before. It blocks while the budget is used up.
func (e *executor) image(image imageCopy) {
	started := time.Now()
	needs := make([]*task, len(image.blobs))
	for i, b := range image.blobs {
		needs[i] = e.blob(b, image.doc.Digest)
	}
	if subject := e.images[image.subject]; subject != nil && !image.there {
		needs = append(needs, subject)
	}
	stored := &task{done: make(chan struct{})}
	e.images[image.doc.Digest] = stored
	e.group.Go(func() error {
		defer close(stored.done)
		if stored.err = e.await(needs); stored.err != nil {
			return stored.err
		}
		if !image.single && !image.there {
			if stored.err = e.putImage(e.ctx, image.doc); stored.err != nil {
				return stored.err
			}
		}
		e.reporter.image(image.doc.Digest, func(r *imageReport) {
			r.outcome, r.elapsed = Copied, time.Since(started)
			if image.there && r.bytes == 0 {
				r.outcome = Present
			}
		})
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
		t.err = e.copyBlob(b, owner)
		return t.err
	})
	return t
}

// letOthersFinish waits while another copy brings b to the destination's registry. It gives the slot that it is called with to others
// meanwhile, and comes back with one, or with an error and none.
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

func (e *executor) copyBlob(b endpoint.Blob, owner digest.Digest) error {
	bp := e.progress.Blob(e.ctx, b)
	result, err := e.dst.PutBlob(e.ctx, b, e.opener(b, bp))
	if err != nil {
		bp.End(progress.Failed)
		return e.blobError(b, err)
	}
	if !result.Reused {
		bp.End(progress.Copied)
	} else {
		bp.End(progress.Reused)
		e.mu.Lock()
		e.reused[b.Digest] = true
		e.mu.Unlock()
	}
	e.reporter.update(func(r *Report) {
		if result.Reused {
			r.BlobsReused++
			return
		}
		r.BlobsCopied++
		r.BytesCopied = plan.AddSize(r.BytesCopied, max(b.Size, 0))
	})
	if !result.Reused {
		e.reporter.image(owner, func(r *imageReport) { r.bytes = plan.AddSize(r.bytes, max(b.Size, 0)) })
	}
	return nil
}

// blobError blames the side that failed: the source if its reader did, the destination otherwise.
func (e *executor) blobError(b endpoint.Blob, err error) error {
	var source *Error
	if errors.As(err, &source) && source.Side == SourceSide {
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

// putImage stores the manifest of a child, and its signatures.
func (j *job) putImage(ctx context.Context, doc endpoint.Document) error {
	j.progress.Line("Writing manifest to image destination")
	err := j.store(ctx, doc)
	if hasCode(err, typeCodes) && j.plan.Attests(doc.Digest) {
		err = fmt.Errorf("%w; this is an attestation, which Attestations can leave behind", err)
	}
	if err != nil {
		return &Error{writingManifest, DestinationSide, doc.Digest.String(), err}
	}
	j.reporter.update(func(r *Report) { r.ManifestsCopied++ })
	return j.putSignatures(ctx, doc.Digest)
}
