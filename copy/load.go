package copy

import (
	"context"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/sparsecopy/sparsecopy/copy/internal/budget"
	"github.com/sparsecopy/sparsecopy/copy/internal/failure"
	"github.com/sparsecopy/sparsecopy/copy/internal/handover"
	"github.com/sparsecopy/sparsecopy/copy/internal/known"
	"github.com/sparsecopy/sparsecopy/copy/internal/originals"
	"github.com/sparsecopy/sparsecopy/copy/internal/work"
	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/prose"
	"github.com/sparsecopy/sparsecopy/internal/systemimage"
)

// loadTree reads what there is to choose from: the tree of lists with the signatures of lists, or a
// single image; and what is attached to what is wanted of it. The survey that it returns has the
// first plan.
func loadTree(ctx context.Context, e *ends, s survey) (survey, error) {
	top := s.source.Top
	if err := handover.CheckGroup(e.o.ImageListSelection, top, e.to); err != nil {
		return s, err
	}
	s.source.Misdeclared = endpoint.IsMisdeclared(top)
	var op string
	var read func(context.Context, *ends, known.Source) (known.Source, error)
	switch {
	case !top.IsList():
		op, read = "parsing", loadSingle
	case e.o.ImageListSelection == CopySystemImage:
		op, read = "choosing an image from", loadSystem
	default:
		op, read = "reading", loadLists
	}
	var err error
	if s.source.Tree, err = plan.ParseTree(top, top.Digest, nil); err == nil && !top.IsList() {
		_, err = s.source.Tree.Image(top.Digest)
	}
	if err != nil {
		return s, failure.New(op, SourceSide, e.srcName, err)
	}
	if s.source, err = read(ctx, e, s.source); err != nil {
		return s, err
	}
	// The first plan finds bad selectors before anything else is read, and says what is wanted.
	if s, err = e.replanned(s); err != nil {
		return s, err
	}
	return loadAttachments(ctx, e, s)
}

// loadSingle reads what a plan of a single image depends on.
func loadSingle(ctx context.Context, e *ends, l known.Source) (known.Source, error) {
	return e.reader().Platform(ctx, l)
}

// loadSystem chooses the image that suits the running system, from all lists. A list that names
// blobs has none: it is copied as a whole.
func loadSystem(ctx context.Context, e *ends, l known.Source) (known.Source, error) {
	if l.Tree.HasBlobs() {
		return loadLists(ctx, e, l)
	}
	l, err := e.reader().Lists(ctx, l)
	if err != nil {
		return l, err
	}
	l.System, err = systemimage.Choose(l.Tree.Images(), l.Top.MediaType, e.o.SourceCtx, e.o.PreferGzipInstances)
	if lost := l.Tree.Unread(); err != nil && len(lost) > 0 {
		err = fmt.Errorf("%w; it may be in a nested list that is missing at the source: %s", err, prose.Some(prose.Digests(lost)))
	}
	if err != nil {
		return l, failure.New("choosing an image from", SourceSide, e.srcName, err)
	}
	return l, nil
}

// loadLists reads the nested lists of the source, and the signatures of all lists.
func loadLists(ctx context.Context, e *ends, l known.Source) (known.Source, error) {
	l, err := e.reader().Lists(ctx, l)
	if err != nil || e.o.RemoveSignatures || e.o.RemoveListSignatures {
		return l, err
	}
	e.progress.Line("Getting image list signatures")
	read, err := e.reader().Signatures(ctx, l, l.Tree.Lists())
	if err != nil {
		return l, err
	}
	l.SignedLists = known.Merged(l.SignedLists, read.Counts)
	return l.WithSignatures(read), nil
}

// loadImages reads the manifests of what is wanted and not at the destination, with their
// signatures, and makes the plan of that. What is still to be asked of the destination is asked at
// the same time. The policy judges all that is wanted, what is at the destination included: it
// reads what it wants to see. Blobs are looked for after its verdict.
func loadImages(ctx context.Context, e *ends, s survey) (survey, error) {
	wanted := slices.Clone(s.plan.Copies)
	for _, t := range s.plan.Transforms() {
		wanted = append(wanted, t.Digest)
	}
	if s.plan.Image != nil && s.plan.Image.Digest == s.source.Top.Digest {
		wanted = nil // it is held already
	}
	if e.o.ConcurrentBlobCopiesSemaphore == nil { // what is in flight over several copies says nothing about this one
		budget.Expect(len(wanted), e.o.MaxParallelDownloads, e.src, e.dst)
	}
	var images known.Fetched
	var read known.Signed
	var original *originals.Found
	there, listSignatures := s.there, s.source.ListSignatures
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		there, err = compareMeanwhile(groupCtx, e, s)
		return err
	})
	group.Go(func() (err error) {
		listSignatures, err = findListSignatures(groupCtx, e, s)
		return err
	})
	group.Go(func() (err error) {
		original, err = findOriginal(groupCtx, e, s)
		return err
	})
	group.Go(func() (err error) {
		images, err = e.reader().Manifests(groupCtx, s.source, wanted)
		return err
	})
	group.Go(func() (err error) {
		read, err = readImageSignatures(groupCtx, e, s.source, s.plan.Wanted())
		return err
	})
	err := group.Wait()
	if err != nil {
		return s, err
	}
	images.Missing, s.there = e.asks().Spare(images.Missing, there, e.choices.MissingInstances)
	s.source.ListSignatures = listSignatures
	s.source = withOriginal(e, s.source.WithSignatures(read), original)
	if s.source, err = e.reader().With(s.source, images); err != nil {
		return s, err
	}
	if slices.ContainsFunc(wanted, s.source.IsList) {
		return loadMore(ctx, e, s)
	}
	if s.source, err = e.reader().Judge(ctx, s.source, s.plan.Judged()); err != nil {
		return s, err
	}
	if s.source, err = e.reader().Lost(ctx, s.source, work.Entries(s.plan), wanted, e.dst); err != nil {
		return s, err
	}
	return replannedGuarding(ctx, e, s)
}

// replannedGuarding is replanned, and notes that signatures are to be looked for of lists that
// change by what has been read: images that they name are transformed. A guard does that at once.
func replannedGuarding(ctx context.Context, e *ends, s survey) (survey, error) {
	asked := s.plan.Changing()
	s, err := e.replanned(s)
	if err != nil || !slices.ContainsFunc(s.plan.Changing(), func(d digest.Digest) bool { return !slices.Contains(asked, d) }) {
		return s, err
	}
	if s.unasked = true; e.o.ListSignatures != GuardListSignatures {
		return s, nil
	}
	return askUnasked(ctx, e, s)
}

// askUnasked looks for signatures of lists that change, if that is still to be done.
func askUnasked(ctx context.Context, e *ends, s survey) (survey, error) {
	if !s.unasked {
		return s, nil
	}
	var err error
	if s.source.ListSignatures, err = findListSignatures(ctx, e, s); err != nil {
		return s, err
	}
	s.unasked = false
	return e.replanned(s)
}

// loadMore goes on after what an entry took for an image has turned out to be a list: there is more
// to select from. It ends, since lists are nested in each other only so deep.
func loadMore(ctx context.Context, e *ends, s survey) (survey, error) {
	read := loadLists
	if s.plan.List == nil {
		read = loadSystem
	}
	var err error
	if s.source, err = read(ctx, e, s.source); err != nil {
		return s, err
	}
	if s, err = e.replanned(s); err != nil {
		return s, err
	}
	if s, err = loadAttachments(ctx, e, s); err != nil {
		return s, err
	}
	return loadImages(ctx, e, s)
}
